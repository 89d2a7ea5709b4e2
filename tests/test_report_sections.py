"""The sections of the report: their tables against numbers worked out by hand, and their files."""

import base64
import io
import json
import math
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import report
from scalewise import publishing
from scalewise.artifacts import iou_csv, patches_h5, selected_csv, thresholds_csv
from scalewise.errors import UserError
from scalewise.reporting import (
    cells,
    claim,
    confusion,
    figures,
    gallery,
    losses,
    page,
    provenance,
    published,
    selection,
    thresholds,
)
from scalewise.reporting.rounds import RoundFiles, gone
from scalewise.taxonomy import CITYSCAPES, IGNORE
from test_reporting import LSE, evaluation, experiment, pictures, project

CLASSES = ["road", "car", "train"]
ZOOM = experiment("zoom", "control")


def text(value):
    return pytest.approx(value, nan_ok=True)


@pytest.fixture
def lse(tmp_path):
    """Round 1 of lse: 3 images are selected; of 1000 pixels predicted as road 250 teach."""
    folders = {
        name: str(tmp_path / name)
        for name in ("select_images", "compute_thresholds", "infer_patches", "retrain")
    }
    one = RoundFiles("lse", 0, 1, folders)
    Selected, Threshold = selected_csv.SelectedRow, thresholds_csv.ThresholdRow
    selected_csv.write(
        tmp_path / "select_images/selected.csv",
        [Selected(0, "a", ("road", "car"), 0.9), Selected(1, "b", ("road",), 0.8),
         Selected(2, "c", ("car",), 0.7)],
    )  # fmt: skip
    thresholds_csv.write(
        tmp_path / "compute_thresholds/thresholds.csv",
        [Threshold("road", 0.5, "b", 2, 3, 0.25, 1000),
         Threshold("car", 0.125, "c", 2, 2, 0.5, 200),
         Threshold("train", 1.0, "", 0, 0, math.nan, 0)],
    )  # fmt: skip
    return one


def write_patches(one, count=3, size=(4, 8)):
    """Crops of 2 x 4 pixels; the upper row is predicted as road, the lower as car."""
    h, w = size[0] // 2, size[1] // 2
    predicted = np.repeat(np.array([[0], [1]], np.uint8), w, axis=1)
    entropy = np.array([[0.1, 0.6, 0.4, np.inf], [0.1, 0.2, 0.3, 0.0]], np.float16)
    columns = {
        "pixels": [4.0, 4.0, 0.0], "entropy": [0.2, 0.4, math.nan],
        "scaled_pixels": [24.0, 8.0, 0.0], "scaled_entropy": [0.5, 0.3, math.nan],
        "agreement": [0.75, 1.0, math.nan],
    }  # fmt: skip
    path = Path(one.folders["infer_patches"], "patches.h5")
    with patches_h5.writing(path, count, (h, w), size) as file:
        file.append(
            patches_h5.Patches(
                [f"image{k}" for k in range(count)],
                np.zeros((count, 2), np.int32),
                [np.full((h, w, 3), 90, np.uint8)] * count,
                [predicted] * count,
                [entropy] * count,
                np.zeros((count, *size), np.uint8),
            )
        )
        file.claim({name: np.array(values) for name, values in columns.items()})


class TestRoundFiles:
    def test_a_file_that_is_gone_is_none_and_the_stage_is_named(self, lse):
        assert lse.find("retrain", "training.csv") is None
        assert lse.find("check_round", "health.csv") is None
        assert gone([lse, lse]) == [f"{name} (2)" for name in lse.folders]

    def test_a_file_that_is_not_what_was_written_is_refused(self, lse):
        folder = Path(lse.folders["select_images"])
        known = {"selected.csv": {"bytes": 3, "hash": "x"}}
        (folder / "settings.json").write_text(json.dumps({"files": known}))
        with pytest.raises(UserError, match="selected.csv: damaged"):
            lse.find("select_images", "selected.csv")


class TestSelection:
    def test_images_and_pixels_of_each_class_are_counted(self, lse):
        table = selection.read([lse], CLASSES)
        assert table["images"].tolist() == [2, 2, 0]
        assert table["selected"].tolist() == [3, 3, 3]
        assert table["seen"].tolist() == [1000, 200, 0]
        assert table["taught"].tolist() == [250, 100, 0]

    def test_without_patches_the_images_are_counted_all_the_same(self, lse):
        Path(lse.folders["compute_thresholds"], "thresholds.csv").unlink()
        table = selection.read([lse], CLASSES)
        assert table["images"].tolist() == [2, 2, 0] and table["seen"].isna().all()
        (shown,) = selection.tables(table, [LSE])
        assert [row["cells"][0]["kept"] for row in shown["rows"]] == ["", "", ""]

    def test_the_table_has_means_over_seeds_and_a_row_for_all_images(self, lse):
        table = selection.read([lse], CLASSES)
        other = table.assign(
            seed=1, images=[3, 2, 0], selected=5, seen=[3000, 0, 0], taught=[1750, 0, 0]
        )
        (shown,) = selection.tables(pd.concat([table, other]), [LSE, ZOOM])
        assert [row["name"] for row in shown["rows"]] == CLASSES
        # images (2 + 3) / 2; pixels (250 + 1750) / 2 = 1000; kept 2000 of 4000
        cell = shown["rows"][0]["cells"][0]
        assert (cell["images"], cell["taught"], cell["kept"]) == ("2.5", "1", "50.0")
        assert shown["total"][0]["images"] == "4"
        assert shown["total"][0]["kept"] == cells.share(2100 / 4200)

    def test_classes_that_select_nothing_are_named_with_their_rounds(self, lse):
        table = selection.read([lse], CLASSES)
        later = table.assign(round=2, images=[0, 2, 0])
        both = pd.concat([table, later])
        assert selection.selects_nothing(both) == ["road (round 2)", "train (every round)"]


def test_thresholds_are_means_over_seeds_and_none_are_told_from_off(lse):
    table = thresholds.read([lse])
    assert table["tau"].tolist() == [0.5, 0.125, 1.0]
    assert table["kept"].tolist() == text([25.0, 50.0, math.nan])
    other = table.assign(seed=1, tau=[0.75, math.inf, math.nan], kept=[35.0, 100.0, math.nan])
    (shown,) = thresholds.tables(pd.concat([table, other]), [ZOOM, LSE])
    assert [row["cells"][0]["tau"] for row in shown["rows"]] == ["0.625", "off", "1.000"]
    assert [row["cells"][0]["kept"] for row in shown["rows"]] == ["30.0", "75.0", "–"]


class TestClaim:
    def test_the_mean_entropy_of_a_round_is_over_all_its_pixels(self, lse):
        write_patches(lse)
        table = claim.read([lse], CLASSES)
        assert table["difference"].tolist() == text([0.3, -0.1, math.nan])
        # before (4 * 0.2 + 4 * 0.4) / 8; scaled (24 * 0.5 + 8 * 0.3) / 32; same (18 + 8) / 32
        (means,) = claim.overall(table).to_dict("records")
        assert means["entropy"] == pytest.approx(0.3)
        assert means["scaled_entropy"] == pytest.approx(0.45)
        assert means["agreement"] == pytest.approx(81.25)
        assert claim.sentence(claim.overall(table)).startswith(
            "The mean entropy is higher on the scaled-up crops in 1 of 1 round "
        )
        (shown,) = claim.tables(table, [LSE])
        cell = shown["rows"][0]["cells"][0]
        assert (cell["before"], cell["after"], cell["agreement"]) == ("0.200", "0.500", "75.0")
        assert shown["rows"][2]["cells"][0]["after"] == "–"
        assert shown["total"][0]["after"] == "0.450"

    def test_patches_that_are_not_scaled_up_make_no_claim(self, lse, monkeypatch):
        write_patches(lse)
        same = {**patches_h5.PatchReader(lse.find("infer_patches", "patches.h5")).claim()}
        same["scaled_pixels"] = same["pixels"]
        monkeypatch.setattr(patches_h5.PatchReader, "claim", lambda self: same)
        assert claim.read([lse], CLASSES).empty

    def test_damaged_patches_are_left_out_and_told(self, lse):
        path = Path(lse.folders["infer_patches"], "patches.h5")
        path.parent.mkdir()
        path.write_bytes(b"no HDF5")
        assert claim.read([lse], CLASSES).empty
        assert gallery.patches(project(LSE), [lse], 10**6) is None
        Path(path.parent, "settings.json").write_text("{}")
        told = "infer_patches, damaged or of another version (1)"
        assert told in gone([lse]) and not any("infer_patches (" in t for t in gone([lse]))


class TestLosses:
    def test_a_curve_has_the_means_of_equal_parts_at_their_middles(self):
        assert losses.curve(np.array([1.0, 3.0, 5.0, 7.0]), 2) == [(0.25, 2.0), (0.75, 6.0)]

    def test_what_is_not_finite_does_not_count(self):
        (first, second) = losses.curve(np.array([1.0, math.nan, math.nan, math.inf]), 2)
        assert first == (0.25, 1.0) and math.isnan(second[1])

    def test_terms_are_read_as_far_as_a_training_has_them(self, lse):
        path = Path(lse.folders["retrain"], "training.csv")
        path.parent.mkdir()
        path.write_text("step,learning_rate,loss,source\n0,0.1,3.0,2.0\n1,0.1,1.0,1.0\n")
        table = losses.read([lse])
        assert table[["term", "part", "value"]].to_numpy().tolist() == [
            ["loss", 0.25, 3.0], ["loss", 0.75, 1.0], ["source", 0.25, 2.0], ["source", 0.75, 1.0],
        ]  # fmt: skip


class TestConfusion:
    MATRIX = np.array([[8, 2, 0], [5, 15, 0], [0, 0, 0]])

    def test_shares_are_of_the_pixels_of_a_label(self):
        found = confusion.shares(self.MATRIX)
        assert found[:2].tolist() == [[80, 20, 0], [25, 75, 0]] and np.isnan(found[2]).all()

    def test_rows_are_labels_as_they_are_in_the_file(self, tmp_path):
        iou_csv.write_confusion(tmp_path / "confusion.csv", self.MATRIX, CLASSES)
        assert np.array_equal(confusion.read(tmp_path / "confusion.csv", CLASSES), self.MATRIX)

    def test_the_last_round_is_summed_over_seeds(self):
        given = [
            confusion.Confusion("lse", seed, r, self.MATRIX) for seed in (0, 1) for r in (0, 1)
        ]
        number, matrix = confusion.summed(given, "lse")
        assert number == 1 and matrix[1, 0] == 10
        assert confusion.summed(given, "zoom") is None

    def test_the_largest_mistakes_come_first_with_their_change(self):
        before = np.array([[10, 0, 0], [10, 10, 0], [0, 0, 0]])
        found = confusion.mistakes(self.MATRIX, before, CLASSES)
        assert [(r["label"], r["predicted"], r["pixels"]) for r in found] == [
            ("car", "road", 5), ("road", "car", 2),
        ]  # fmt: skip
        assert [(r["share"], r["change"]) for r in found] == [(25, -25), (20, 20)]
        assert confusion.mistakes(self.MATRIX, None, CLASSES, 1)[0]["change"] == text(math.nan)


class TestPublished:
    def test_the_classes_make_the_means_that_were_published(self):
        rows = published.read()
        assert len(rows) == 4
        for row in rows:
            for name in set(row.iou) - set(CITYSCAPES.names):
                members = CITYSCAPES.subsets.get(name, CITYSCAPES.names)
                mean = np.mean([row.iou[c] for c in members])
                assert mean == pytest.approx(row.iou[name], abs=0.1), (row.name, name)

    def test_they_stand_beside_equal_classes_and_sets_alone(self):
        sets = {"source": "synthia", "target": "cityscapes", "validation": "cityscapes"}
        found = published.fitting(sets, CITYSCAPES.names)
        assert [row.source for row in found] == ["synthia", "synthia"]
        sixteen = CITYSCAPES.subsets["16 classes"]
        assert published.fitting(sets, sixteen) == found
        assert published.fitting({**sets, "source": "gta5"}, sixteen) == []
        assert published.fitting({**sets, "validation": "camvid"}, CITYSCAPES.names) == []
        assert published.fitting(sets, [*CITYSCAPES.names, "tram"]) == []

    def test_a_page_of_such_a_project_has_them_and_says_where_they_are_from(self):
        sets = {"source": "gta5", "target": "cityscapes", "validation": "cityscapes"}
        described = project(LSE, classes=CITYSCAPES.names, colors=CITYSCAPES.colors)
        made = page.build(described, [], [], {}, parts=page.Parts(formats=sets), drawn={})
        assert "published:" not in made  # before anything is measured there is no table
        frame = pd.DataFrame({"class": CITYSCAPES.names, "iou": 50.0, "pixels": 1})
        one = page.Evaluation("lse", 0, 0, frame)
        made = page.build(described, [one], [], {}, parts=page.Parts(formats=sets), drawn={})
        assert made.count("published:") == 2 and "arXiv 2007.14449" in made
        row = made[made.index("mean of 19 classes") :].split("</tr>")[0]
        assert ">39.0<" in row and ">47.5<" in row


def decoded(tile):
    """The indices of a palette PNG."""
    content = base64.b64decode(tile["png"].removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)))


class TestGallery:
    def test_the_iou_of_a_picture_is_over_its_own_labelled_pixels(self):
        label = np.array([[0, 0], [1, IGNORE]], np.uint8)
        prediction = np.array([[0, 1], [1, 0]], np.uint8)
        assert gallery.picture_iou(label, prediction) == 50.0  # 1 of 2 for each of two classes
        nothing = np.full((2, 2), IGNORE, np.uint8)
        assert math.isnan(gallery.picture_iou(nothing, prediction))

    def test_best_worst_and_median_change_come_first_then_others_between(self):
        changes = {"a": 1.0, "b": -4.0, "c": 7.0, "d": 2.0, "e": 3.0, "f": math.nan}
        assert [name for name, _ in gallery.choose(changes, 6)] == ["c", "b", "d", "e", "a", "f"]
        said = dict(gallery.choose(changes, 3))
        assert said == {
            "c": "best change: +7.0 mIoU of this picture",
            "b": "worst change: −4.0 mIoU of this picture",
            "d": "median change: +2.0 mIoU of this picture",
        }

    def test_few_pictures_are_not_shown_twice(self):
        assert [name for name, _ in gallery.choose({"a": 1.0}, 4)] == ["a"]
        assert [name for name, _ in gallery.choose({"a": 1.0, "b": 2.0}, 4)] == ["b", "a"]

    def evaluations(self):
        def changed(round):
            content = pictures(0)
            prediction = content["prediction"].copy()
            for k in range(4):  # the fourth picture gets most wrong in round 1
                prediction[k, : round * k] = 1
            return {**content, "label": np.zeros_like(prediction), "prediction": prediction}

        return [evaluation("lse", 0, r, 20.0, changed(r)) for r in (0, 1)]

    def test_the_pictures_are_chosen_by_the_first_method(self):
        shown = gallery.build(project(LSE, rounds=1, gallery=2), self.evaluations(), [], 10**6)
        assert [picture["name"] for picture in shown["pictures"]] == ["a<b", "fourth"]
        assert shown["rule"] == "between source-only and round 1 of lse"

    def test_a_ceiling_has_a_row_of_its_own_and_is_no_source_only(self):
        top = experiment("top", "ceiling", rounds=0)
        (begun, ended) = self.evaluations()
        best = evaluation("top", 0, 0, 60.0, ended.pictures)
        described = project(top, LSE, rounds=1, gallery=1)
        shown = gallery.build(described, [begun, ended, best], [], 10**6)
        (picture,) = shown["pictures"]
        assert [tile["caption"] for tile in picture["tiles"]] == ["image", "label"]
        (view,) = picture["views"]
        assert [tile["caption"] for tile in view["tiles"]] == [
            "source-only",
            "entropy, source-only",
        ]
        captions = [[tile["caption"] for tile in row["tiles"]] for row in view["rows"]]
        assert captions == [["top", "entropy, top"], ["lse, round 1", "entropy, round 1"]]
        assert shown["rule"] == "between source-only and round 1 of lse"

    def test_what_the_thresholds_of_the_last_round_would_keep_is_shown(self, lse, tmp_path):
        begun, ended = self.evaluations()
        for one in (begun, ended):  # road below 0.5 is kept, car below 0.125
            one.pictures["prediction"][:] = np.array([0, 0, 0, 1, 1, 1, IGNORE, IGNORE])
            one.pictures["entropy"][:] = np.float16([0.4, 0.5, 0.6, 0.1, 0.2, np.nan, 0, 0])
        shown = gallery.build(project(LSE, rounds=1, gallery=1), [begun, ended], [lse], 10**6)
        (view,) = shown["pictures"][0]["views"]
        (before,) = [t for t in view["tiles"] if "entropy" in t["caption"]]
        assert before["caption"] == "entropy, source-only" and len(view["tiles"]) == 2
        _, entropy, kept = view["rows"][0]["tiles"]
        assert kept["caption"] == "would be kept to teach: 50.0 %" and shown["kept"]
        # of three columns of road one; of three of car one, and that whose entropy is no number
        assert np.unique(decoded(kept), axis=0).tolist() == [[0, 255, 255, 1, 255, 1, 255, 255]]
        # in 16 shades: of 15 steps 6, 7.5, 9, a little below 1.5, 3
        assert decoded(entropy)[0].tolist() == [6, 8, 9, 1, 3, 0, 0, 0]

    def test_each_seed_has_its_view_as_far_as_they_fit(self):
        described = project(LSE, rounds=1, gallery=2)
        evaluations = [replace(one, seed=seed) for seed in (3, 1, 2) for one in self.evaluations()]
        whole = gallery.build(described, evaluations, [], 10**6)
        assert (whole["seeds"], whole["seeds_wanted"]) == ([1, 2, 3], 3)
        for picture in whole["pictures"]:
            assert [view["seed"] for view in picture["views"]] == [1, 2, 3]
        one = gallery.build(described, self.evaluations(), [], 10**6)
        one_seed = sum(map(gallery._bytes, one["pictures"]))
        further = sum(gallery._bytes(p["views"][0]) for p in one["pictures"])
        few = gallery.build(described, evaluations, [], one_seed + further)
        assert (few["seeds"], few["seeds_wanted"], len(few["pictures"])) == ([1, 2], 3, 2)
        fewer = gallery.build(described, evaluations, [], one_seed + further - 1)
        assert (fewer["seeds"], len(fewer["pictures"])) == ([1], 2)
        made = page.build(described, evaluations, [], {}, drawn={})
        assert 'data-shows="seed"' in made and "of seeds 1, 2, 3." in made
        assert "a&lt;b, seed 3: lse, round 1" in made

    def test_what_does_not_fit_into_the_page_is_left_out(self):
        described = project(LSE, rounds=1, gallery=4)
        whole = gallery.build(described, self.evaluations(), [], 10**6)
        (first, *_) = whole["pictures"]
        room = gallery._bytes(first)
        assert len(whole["pictures"]) == 4
        few = gallery.build(described, self.evaluations(), [], room)
        assert (few["pictures"], few["wanted"]) == ([first], 4)
        assert gallery.build(described, self.evaluations(), [], 10) is None

    def test_patches_show_what_is_sure_enough_to_teach(self, lse):
        write_patches(lse, count=5)
        (shown,) = gallery.patches(project(LSE), [lse], 10**6)
        assert [image["name"] for image in shown["images"]] == ["image0", "image2", "image4"]
        captions = [tile["caption"] for tile in shown["images"][0]["tiles"]]
        # below 0.5: 0.1 and 0.4 of the road; below 0.125: 0.1 and 0 of the car
        assert captions == [
            "image",
            "predicted",
            "entropy, bright: unsure",
            "kept to teach: 50.0 %",
        ]

    def test_no_gallery_is_no_gallery(self, lse):
        write_patches(lse)
        assert gallery.patches(project(LSE, gallery=0), [lse], 10**6) is None
        assert gallery.build(project(LSE, gallery=0), self.evaluations(), [], 10**6) is None


class TestCosts:
    def record(self, tmp_path, stage, key, seconds, memory=None, device="none"):
        if memory is not None:
            path = tmp_path / "benchmarks" / stage / f"{key}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t-\t{memory}\n")
        folder = tmp_path / stage / key
        return {"stage": stage, "folder": folder, "seconds": seconds, "device": device}

    def test_time_and_memory_are_by_stage_the_longest_first(self, tmp_path):
        rows = provenance.costs(
            [
                self.record(tmp_path, "evaluate", "a", 10.0, "NA"),
                self.record(tmp_path, "retrain", "b", 30.0, 500.0, "cpu"),
                self.record(tmp_path, "retrain", "c", 45.0, 700.5, "cpu"),
                self.record(tmp_path, "retrain", "d", 5.0),
            ]
        )
        first, second = rows
        assert (first["stage"], first["jobs"], first["seconds"], first["longest"]) == (
            "retrain", 3, 80.0, 45.0,
        )  # fmt: skip
        assert (first["memory"], first["benchmarks"], first["devices"]) == (700.5, 2, ["cpu"])
        assert second["stage"] == "evaluate" and second["memory"] == text(math.nan)
        shown = provenance.cost_rows(rows)
        assert [row["time"] for row in shown] == ["1 min 20 s", "10 s"]
        assert [row["megabytes"] for row in shown] == ["700", "–"]
        assert [row["width"] for row in shown] == [100.0, 12.5]

    def test_durations_are_in_the_largest_unit_that_is_full(self):
        assert [cells.duration(s) for s in (0.4, 59.6, 3599, 7260)] == [
            "0 s", "1 min 0 s", "59 min 59 s", "2 h 1 min",
        ]  # fmt: skip


class TestFigureFiles:
    def test_the_same_files_make_the_same_archive(self, tmp_path):
        for name in ("one.zip", "two.zip"):
            publishing.pack(tmp_path / name, {"a.svg": b"<svg/>", "a.png": b"x" * 1000})
        assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()

    def test_each_main_figure_is_there_whatever_was_drawn(self):
        told = report.main_figures({"claim": figures.nothing("a drawing"), "other": None})
        assert tuple(told) == publishing.MAIN_FIGURE_FILES
        assert "a drawing: there are no numbers" in told["claim.svg"]
        assert "losses: there are no numbers to draw" in told["losses.svg"]
        for text in told.values():
            assert ElementTree.fromstring(text).tag.endswith("svg") and "color: #000" in text

    def test_main_figures_are_not_a_second_time_beside_the_page(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("index.html", "claim.svg"):
            Path(name).write_text("x")
        place = publishing.publish([Path("index.html"), Path("claim.svg")], "streets", "0123")
        assert sorted(p.name for p in place.iterdir()) == ["index.html", "report.json"]

    def test_they_are_unpacked_beside_the_page_and_old_ones_go(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for contents in ({"a.svg": b"1", "b.svg": b"2"}, {"b.svg": b"3"}):
            publishing.pack(Path("figures.zip"), contents)
            place = publishing.publish([Path("figures.zip")], "streets", "0123")
            found = {p.name: p.read_bytes() for p in (place / "figures").iterdir()}
            assert found == contents
        assert sorted(p.name for p in place.iterdir()) == ["figures", "report.json"]

    def test_a_damaged_archive_is_told_from_others(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("figures.zip").write_bytes(b"PK, and then nothing")
        with pytest.raises(UserError, match="figures.zip: damaged"):
            publishing.publish([Path("figures.zip")], "streets", "0123")
        assert publishing.published_key("streets") is None

    def test_a_name_in_an_archive_leads_to_no_other_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with zipfile.ZipFile("figures.zip", "w") as archive:
            archive.writestr("../../../../outside.svg", b"x")
        place = publishing.publish([Path("figures.zip")], "streets", "0123")
        (found,) = tmp_path.parent.rglob("outside.svg")
        assert found == tmp_path / place / "figures" / "outside.svg"


class TestWholePage:
    def test_an_experiment_without_rounds_shows_where_it_ends(self):
        longer = experiment("longer", "control", rounds=0)
        evaluations = [evaluation("lse", 0, r, 20.0 + r) for r in (0, 1)]
        evaluations.append(evaluation("longer", 0, 0, 25.0))
        made = page.build(project(LSE, longer, rounds=1), evaluations, [], {}, drawn={})
        table = made[made.index('id="iou-table"') :]
        row = table[table.index('"name">road<') :].split("</tr>")[0]
        assert [part.split("<")[0] for part in row.split('%">')[1:]] == ["20.0", "21.0", "25.0"]

    def test_a_ceiling_that_stands_first_is_not_where_the_others_begin(self):
        top = experiment("top", "ceiling", rounds=0)
        evaluations = [evaluation("lse", 0, r, 20.0 + r) for r in (0, 1)]
        evaluations.append(evaluation("top", 0, 0, 60.0))
        described = project(top, LSE, rounds=1)
        made = page.build(described, evaluations, [], {}, drawn={})
        table = made[made.index('id="iou-table"') :]
        row = table[table.index('"name">road<') :].split("</tr>")[0]
        assert [part.split("<")[0] for part in row.split('%">')[1:]] == ["20.0", "60.0", "21.0"]
        assert "Source-only is that of lse" in made
        own = [made.split(f'id="classes-title-{k}"')[1].split("</thead>")[0] for k in (0, 1)]
        assert [part.count("target labels") for part in own] == [1, 0]
        assert [part.count(">source-only<") for part in own] == [0, 1]
        eye = np.eye(len(described.classes), dtype=np.int64)
        counted = [("top", 0, 0), ("lse", 0, 0), ("lse", 0, 1)]
        found = page._matrices(described, [confusion.Confusion(*who, eye) for who in counted])
        assert [title for _, _, title, _ in found] == ["source-only of lse", "lse, round 1"]

    def test_it_stays_small_enough_to_mail_whatever_the_gallery_is(self, monkeypatch):
        described = project(LSE, rounds=1, gallery=4)
        evaluations = TestGallery().evaluations()
        whole = page.build(described, evaluations, [], {}, drawn={})
        assert whole.count(': image"') == 4
        pictures = sum(
            map(gallery._bytes, gallery.build(described, evaluations, [], 10**6)["pictures"])
        )
        monkeypatch.setattr(page, "MOST_BYTES", len(whole) + 100_000 - pictures // 2)
        made = page.build(described, evaluations, [], {}, drawn={})
        assert len(made.encode()) < page.MOST_BYTES
        shown = made.count(': image"')
        assert 0 < shown < 4 and f"{shown} of 4 are shown" in made

    def test_sections_without_numbers_are_not_there(self):
        made = page.build(project(LSE), [evaluation("lse", 0, 0, 20.0)], [], {}, drawn={})
        for at in ("selection", "thresholds", "claim", "losses", "confusion", "cost", "pictures"):
            assert f'id="{at}"' not in made and f'href="#{at}"' not in made
