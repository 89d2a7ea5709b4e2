"""Formats, label rules, maps of classes and subsets: what they mean, and what is refused."""

import pytest
import yaml

from scalewise import config
from scalewise.config import ConfigError
from scalewise.taxonomy import CAMVID as CAMVID_CLASSES
from scalewise.taxonomy import CITYSCAPES, IGNORE
from scalewise.workflow import DEFAULT_CONFIG

CITYSCAPES_TO_CAMVID = {
    "sidewalk": "pavement",
    "wall": "building",
    "traffic light": "sign",
    "traffic sign": "sign",
    "vegetation": "tree",
    "terrain": "tree",
    "person": "pedestrian",
    "rider": "bicyclist",
    "bicycle": "bicyclist",
    **dict.fromkeys(("truck", "bus", "train", "motorcycle"), "ignore"),
}
COARSE = [{"name": n, "color": [0, 0, i]} for i, n in enumerate(("flat", "vehicle", "other"))]
GTA5 = {"format": "gta5", "root": "gta"}
CITY = {"format": "cityscapes", "root": "city", "split": "val"}
SYNTHIA = {"format": "synthia", "root": "syn"}
CAMVID = {"format": "camvid", "root": "cam"}


def loaded(tmp_path, **data):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"data": data}))
    return config.load([DEFAULT_CONFIG, path]).settings.data


def laid(tmp_path, dataset, **data):
    """Layout of a set that is source and validation."""
    settings = loaded(tmp_path, source=dataset, validation=dataset, **data)
    return config.layout(settings, settings.source)


def refused(tmp_path, **data):
    with pytest.raises(ConfigError) as failed:
        loaded(tmp_path, **data)
    return str(failed.value).removeprefix("mine.yaml: data")


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "images", "labels"),
    [
        (GTA5, "images/*.png", "labels/{id}.png"),
        (SYNTHIA, "RGB/*.png", "GT/LABELS/{id}.png"),
        ({**SYNTHIA, "labels": "mapped/"}, "RGB/*.png", "mapped/{id}.png"),
        (
            CITY,
            "leftImg8bit/val/**/*_leftImg8bit.png",
            "gtFine/val/{id}_gtFine_labelIds.png",
        ),
        (
            {**CITY, "labels": "labelTrainIds"},
            "leftImg8bit/val/**/*_leftImg8bit.png",
            "gtFine/val/{id}_gtFine_labelTrainIds.png",
        ),
    ],
)
def test_each_format_has_its_layout(tmp_path, dataset, images, labels):
    found = laid(tmp_path, dataset)
    assert (found.images, found.labels) == (images, labels)
    assert found.format == dataset["format"] and found.root.name == dataset["root"]


def test_ids_of_gta5_are_those_of_cityscapes_with_34_ignored(tmp_path):
    ids = laid(tmp_path, GTA5).label_ids
    assert ids == laid(tmp_path, CITY).label_ids
    assert sorted(ids) == list(range(35))
    assert {i: c for i, c in ids.items() if c != IGNORE} == {
        7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
        26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
    }  # fmt: skip


def test_ids_of_synthia_are_its_own_and_three_classes_are_not_promised(tmp_path):
    found = laid(tmp_path, SYNTHIA)
    assert found.label_ids == {
        0: 255, 1: 10, 2: 2, 3: 0, 4: 1, 5: 4, 6: 8, 7: 5, 8: 13, 9: 7, 10: 11, 11: 18, 12: 17,
        13: 255, 14: 255, 15: 6, 16: 9, 17: 12, 18: 14, 19: 15, 20: 16, 21: 3, 22: 255,
    }  # fmt: skip
    assert set(CITYSCAPES.names) - found.classes == {"terrain", "truck", "train"}


def test_train_ids_are_the_indices_of_the_classes(tmp_path):
    ids = laid(tmp_path, {**CITY, "labels": "labelTrainIds"}).label_ids
    assert ids == {**{i: i for i in range(19)}, 255: IGNORE}


# --- maps -----------------------------------------------------------------------------------------


def test_a_map_joins_classes_and_ignores_others(tmp_path):
    found = laid(tmp_path, {**CITY, "map": {"terrain": "vegetation", "rider": "ignore"}})
    names = CITYSCAPES.names
    assert found.label_ids[22] == found.label_ids[21] == names.index("vegetation")
    assert found.label_ids[25] == IGNORE and found.label_ids[7] == 0
    assert set(names) - found.classes == {"terrain", "rider"}


def test_two_sets_with_other_classes_share_those_of_one_of_them(tmp_path):
    data = loaded(
        tmp_path,
        classes="camvid",
        source={**GTA5, "map": CITYSCAPES_TO_CAMVID},
        target=CAMVID,
        validation=CAMVID,
    )
    source, validation = config.layout(data, data.source), config.layout(data, data.validation)
    assert source.classes == validation.classes
    names = config.taxonomy(data).names
    for label_id, name in {7: "road", 8: "pavement", 12: "building", 33: "bicyclist"}.items():
        assert names[source.label_ids[label_id]] == name
    assert validation.label_ids[8] == names.index("car") and source.label_ids[27] == IGNORE
    assert config.class_warnings(data) == []


def test_two_sets_with_other_classes_share_coarse_ones_of_ones_own(tmp_path):
    def coarse(names):
        flat = dict.fromkeys(("road", "sidewalk", "pavement"), "flat")
        vehicle = dict.fromkeys(("car", "truck", "bus"), "vehicle")
        return {n: {**flat, **vehicle}.get(n, "other") for n in names}

    data = loaded(
        tmp_path,
        classes=COARSE,
        source={**GTA5, "map": coarse(CITYSCAPES.names)},
        target=CAMVID,
        validation={**CAMVID, "map": coarse(CAMVID_CLASSES.names)},
    )
    source, validation = config.layout(data, data.source), config.layout(data, data.validation)
    assert source.classes == validation.classes == {"flat", "vehicle", "other"}
    assert (source.label_ids[7], source.label_ids[27], source.label_ids[23]) == (0, 1, 2)
    assert (validation.label_ids[4], validation.label_ids[8], validation.label_ids[11]) == (
        0, 1, IGNORE,
    )  # fmt: skip


def test_the_classes_of_a_folder_are_mapped_too_and_255_may_be_a_class(tmp_path):
    folder = {
        "format": "folder", "root": "x", "images": "*.png", "labels": "l/{id}.png",
        "id_to_class": {0: "background", 255: "thing", 7: "odd"}, "map": {"odd": "thing"},
    }  # fmt: skip
    classes = [{"name": n, "color": [0, 0, 0]} for n in ("background", "thing")]
    data = loaded(tmp_path, classes=classes, source=folder, target=folder, validation=folder)
    assert config.layout(data, data.source).label_ids == {0: 0, 255: 1, 7: 1}


def test_a_map_is_replaced_whole_by_a_later_file(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(yaml.safe_dump({"data": {"source": {"map": {"terrain": "vegetation"}}}}))
    second.write_text(yaml.safe_dump({"data": {"source": {"map": {"rider": "person"}}}}))
    data = config.load([DEFAULT_CONFIG, first, second]).settings.data
    assert data.source.map == {"rider": "person"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"source": {**GTA5, "map": {"terain": "ignore"}}},
            ".source.map: 'terain' is no class of this set; did you mean 'terrain'?",
        ),
        (
            {"source": {**GTA5, "map": {"terrain": "vegetatoin"}}},
            ".source.map.terrain: 'vegetatoin' is not in data.classes; did you mean 'vegetation'?",
        ),
        (
            {"source": CAMVID},
            ".source: its class 'pavement' is not among data.classes",
        ),
        (
            {"source": {**GTA5, "map": dict.fromkeys(CITYSCAPES.names, "ignore")}},
            ".source.map: no label id stands for a class: say which does",
        ),
    ],
)
def test_a_class_that_means_nothing_is_named_with_the_nearest_one(tmp_path, data, said):
    assert refused(tmp_path, **data).startswith(said)


def test_a_class_to_be_mapped_is_told_how(tmp_path):
    message = refused(tmp_path, source=CAMVID)
    assert message.endswith(". Say what it is, as in map: {pavement: ignore}")


# --- source and validation ------------------------------------------------------------------------


def test_classes_that_one_of_the_sets_lacks_are_told_and_allowed(tmp_path):
    data = loaded(tmp_path, source=SYNTHIA, validation={**CITY, "map": {"rider": "person"}})
    assert config.class_warnings(data) == [
        "the source set has no terrain, truck, train: they are not learned",
        "the validation set has no rider: it is not measured",
    ]


def test_sets_without_a_class_in_common_are_refused(tmp_path):
    folder = {"format": "folder", "root": "x", "images": "*.png", "labels": "l/{id}.png"}
    message = refused(
        tmp_path,
        source={**folder, "id_to_class": {0: "road"}},
        validation={**folder, "id_to_class": {0: "sky", 1: "car"}},
    )
    assert message == (
        ": source and validation have no class in common (source has road; validation has car, "
        "sky). Map both to the same classes"
    )


# --- rules for labels -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ("*/rgb/*.png", "label/*.png", "its wildcards (*) do not correspond to those of images (*, "
         "*): give the same ones in the same order, or use {id}"),
        ("**/*.png", "*/**.png", "its wildcards (*, *) do not correspond to those of images (**/, "
         "*): give the same ones in the same order, or use {id}"),
        ("*.png", "*/{id}.png", "has both {id} and a star: {id} is all that the stars stand for"),
        ("*.png", "/l/*.png", "'/l/*.png' must be relative to root: leave out the leading slash"),
    ],
)  # fmt: skip
def test_a_rule_for_labels_that_does_not_fit_the_images_is_refused(tmp_path, images, labels, said):
    folder = {"format": "folder", "root": "x", "images": images, "labels": labels}
    assert refused(tmp_path, target=folder) == f".target.labels: {said}"


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("a/*/rgb/*.png", "a/*/label/*.png"),
        ("**/*_rgb.jpg", "**/*_mask.png"),
        ("*.png", "my [labels]/{id}.png"),
    ],
)
def test_a_rule_for_labels_that_fits_the_images_is_taken(tmp_path, images, labels):
    folder = {"format": "folder", "root": "x", "images": images, "labels": labels}
    assert loaded(tmp_path, target=folder).target.labels == labels


# --- subsets --------------------------------------------------------------------------------------


def test_own_subsets_stand_beside_those_of_the_classes(tmp_path):
    data = loaded(tmp_path, subsets={"2 classes": ["road", "car"]})
    subsets = config.taxonomy(data).subsets
    assert list(subsets) == ["16 classes", "13 classes", "2 classes"]
    assert subsets["2 classes"] == ("road", "car")
    assert len(subsets["16 classes"]) == 16 and len(subsets["13 classes"]) == 13
    assert set(subsets["16 classes"]) - set(subsets["13 classes"]) == {"wall", "fence", "pole"}


@pytest.mark.parametrize(
    ("subsets", "said"),
    [
        ({"all": ["road"]}, ".subsets: 'all' is no name for a subset: rename it"),
        ({"mine": []}, ".subsets.mine: must name classes, each of them once"),
        ({"mine": ["car", "car"]}, ".subsets.mine: must name classes, each of them once"),
        (
            {"mine": ["road", "caar"]},
            ".subsets.mine: 'caar' is not among data.classes; did you mean 'car'?",
        ),
    ],
)
def test_a_subset_that_is_none_is_refused(tmp_path, subsets, said):
    assert refused(tmp_path, subsets=subsets) == said


# --- at a problem ---------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"on_problem": "skip"}, {"subsets": {"x": ["car"]}}])
def test_what_decides_on_the_validation_images_is_the_same_for_all_experiments(tmp_path, change):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"experiments": [{"name": "a", "data": change}]}))
    with pytest.raises(ConfigError, match=f"data.{next(iter(change))}: must be the same for all"):
        config.load([DEFAULT_CONFIG, path])


def test_a_word_for_problems_that_is_none_is_refused(tmp_path):
    assert refused(tmp_path, on_problem="skipp") == (
        ".on_problem: must be one of stop, skip, not 'skipp'; did you mean 'skip'?"
    )
