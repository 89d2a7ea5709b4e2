"""One round from given probabilities, against the released program; and the program around it."""

from pathlib import Path

import numpy as np
import pytest

import repeat_round as program
from scalewise.selftraining.one_round import make_patches, repeat_round, score_images

DATA = Path(__file__).parent / "data"
RELEASED = program.round_settings(True, 1.0)
OURS = program.round_settings(False, 1.0)


@pytest.fixture(params=["gta5", "synthia"])
def vectors(request):
    """40 x 19 scores, selection and thresholds of the released program, and two of its images."""
    name = DATA / f"official_selftraining_{request.param}.npz"
    return {**np.load(name, allow_pickle=False), "source": request.param}


def crops_of(vectors):
    place = [vectors[f"patch_{name}"] for name in ("image", "top", "left")]
    return np.stack([*place, np.full(4, 16), np.full(4, 32)], axis=1)


def patches_of(vectors, **changes):
    rules = {"reliability": "bilinear", "constant_entropy": "nan", **changes}
    return make_patches(
        vectors["probabilities"],
        vectors["images"],
        crops_of(vectors),
        (32, 64),
        vectors["thresholds"],
        **rules,
    )


def test_the_released_programs_patches_follow_from_its_thresholds(vectors):
    images, labels = patches_of(vectors)
    np.testing.assert_array_equal(labels, vectors["patch_labels"])
    assert np.abs(images.astype(int) - vectors["patch_images"]).max() <= 1


def test_our_reliability_gives_other_labels_and_the_same_images(vectors):
    images, labels = patches_of(vectors, reliability="nearest")
    kept, released = labels != 255, vectors["patch_labels"] != 255
    assert (kept & ~released).sum() == 0 and (released & ~kept).sum() > 0
    np.testing.assert_array_equal(labels[kept], vectors["patch_labels"][kept])
    assert np.abs(images.astype(int) - vectors["patch_images"]).max() <= 1


def test_the_released_programs_scores_follow_from_its_probabilities(vectors):
    scores = score_images(vectors["probabilities"], ["a", "b"], constant_entropy="nan")
    rows = vectors["image_index"]
    np.testing.assert_array_equal(scores.pixels, vectors["pixels"][rows])
    for name in ("mean_probability", "mean_entropy"):
        wanted = vectors[name][rows]
        np.testing.assert_allclose(getattr(scores, name), wanted, rtol=1e-5, atol=1e-6)


def test_more_images_than_a_batch_are_scored_one_by_one_alike(vectors):
    many = np.concatenate([vectors["probabilities"]] * 5)
    scores = score_images(many, [f"{k}" for k in range(10)], constant_entropy="zero")
    pair = score_images(vectors["probabilities"], ["a", "b"], constant_entropy="zero")
    np.testing.assert_array_equal(scores.pixels, np.concatenate([pair.pixels] * 5))
    np.testing.assert_array_equal(scores.mean_entropy, np.concatenate([pair.mean_entropy] * 5))


def small_round(vectors, **changes):
    arguments = {
        "in_source": program.source_classes({"source": np.array(vectors["source"])}, 19),
        "crops": crops_of(vectors),
        "size": (32, 64),
        "settings": {**RELEASED, "portion": 12.0},
        **changes,
    }
    return repeat_round(vectors["probabilities"], vectors["images"], ["a", "b"], **arguments)


def test_a_round_of_two_images_equals_a_walk_over_the_classes(vectors):
    """Of two images that show a class int(2 * 12 / 19) = 1 is taken, of one none."""
    result = small_round(vectors)
    scores, selected = result.scores, {}
    for c in range(19):
        able = [i for i in (0, 1) if scores.pixels[i, c] > 0]
        if vectors["source"] == "synthia" and c in (9, 14, 16):
            able = []
        able = sorted(able, key=lambda i: -scores.mean_probability[i, c])
        if len(able) == 2:
            selected["ab"[able[0]]] = True
        expected = scores.mean_entropy[able[-1], c] if able else 1.0
        np.testing.assert_equal(result.thresholds[c], expected)
    assert result.selected == list(selected)


def test_a_class_that_ranks_nothing_keeps_the_threshold_it_is_given(vectors):
    result = small_round(
        vectors,
        in_source=np.zeros(19, bool),
        previous=vectors["thresholds"],
        crops=crops_of(vectors),
    )
    assert result.selected == []
    np.testing.assert_array_equal(result.thresholds, vectors["thresholds"])
    np.testing.assert_array_equal(result.patch_labels, vectors["patch_labels"])


@pytest.mark.parametrize(
    "names, images, message",
    [
        (["a", "a"], (2, 32, 64, 3), "1 different names for 2 images"),
        (["a"], (2, 32, 64, 3), "1 different names for 2 images"),
        (["a", "b"], (2, 32, 32, 3), "images"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(vectors, names, images, message):
    with pytest.raises(ValueError, match=message):
        repeat_round(
            vectors["probabilities"], np.zeros(images, np.uint8), names,
            in_source=np.ones(19, bool), crops=crops_of(vectors), size=(32, 64), settings=OURS,
        )  # fmt: skip


def test_the_default_settings_are_the_left_side_of_the_documented_table():
    assert OURS == {
        "portion": 1.0, "scope": "class", "pool": 0, "resample": False, "extra_images": 0,
        "min_pixels": 10, "minimum_per_class": 0, "missing_classes": "ignore",
        "constant_entropy": "zero", "estimator": "at_rank", "reliability": "nearest",
    }  # fmt: skip
    assert {k for k in OURS if OURS[k] != RELEASED[k]} == {
        "resample", "extra_images", "min_pixels", "missing_classes", "constant_entropy",
        "reliability",
    }  # fmt: skip


@pytest.fixture
def given(vectors):
    """The input of the program, in the layout of its manual."""
    return {
        "probs": vectors["probabilities"],
        "images": vectors["images"],
        "names": np.array(["town/a.png", "town/b.png"]),
        "portion": np.float64(12.0),
        "source": np.array(vectors["source"]),
        "patch_source": np.array(["town/a.png", "town/b.png"])[vectors["patch_image"]],
        "patch_top": vectors["patch_top"],
        "patch_left": vectors["patch_left"],
        "patch_height": np.int64(16),
        "patch_width": np.full(4, 32),
    }


def run(folder, given, *options):
    np.savez(folder / "in.npz", **given)
    return program.main([str(folder / "in.npz"), str(folder / "out.npz"), *options])


RELEASED_MODE = ("--compatibility", "authors_code")


def test_the_program_writes_what_the_round_gives(tmp_path, given, vectors):
    assert run(tmp_path, given, *RELEASED_MODE) == 0
    expected = small_round(vectors)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as out:
        assert out["selected"].tolist() == [f"town/{name}.png" for name in expected.selected]
        np.testing.assert_array_equal(out["thresholds"], expected.thresholds)
        np.testing.assert_array_equal(out["patch_labels"], expected.patch_labels)
        np.testing.assert_array_equal(out["patch_images"], expected.patch_images)
        for name in ("pixels", "mean_probability", "mean_entropy"):
            np.testing.assert_array_equal(out[name], getattr(expected.scores, name))


def test_the_program_finds_its_own_results_equal(tmp_path, given, capsys):
    run(tmp_path, given)
    with np.load(tmp_path / "out.npz") as out:
        assert run(tmp_path, {**given, **out}) == 0
    said = capsys.readouterr().out
    assert "selected: equal, in order\n" in said
    assert "thresholds: largest difference 0.0e+00, 0 classes are NaN on one side alone" in said
    assert "patch_labels: 0 of 8192 differ\n" in said
    assert "patch_images: largest difference 0 grey levels\n" in said


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("selected", lambda a: a[::-1][:1], "selected: differs"),
        ("thresholds", lambda a: a + 2e-5, "thresholds: largest difference 2.0e-05"),
        ("thresholds", lambda a: np.where(np.arange(19) == 3, np.nan, a), "1 classes are NaN on"),
        ("patch_labels", lambda a: np.where(np.arange(64) == 5, 77, a), "patch_labels: 128 of"),
        ("patch_images", lambda a: a ^ 2, "patch_images: largest difference 2 grey levels"),
    ],
)
def test_each_result_beyond_its_bound_is_told(tmp_path, given, capsys, name, change, said):
    run(tmp_path, given)
    with np.load(tmp_path / "out.npz") as out:
        assert run(tmp_path, {**given, name: change(out[name])}) == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("thresholds", lambda a: a + 5e-6, "thresholds: largest difference 5.0e-06"),
        ("patch_images", lambda a: a ^ 1, "patch_images: largest difference 1 grey levels"),
    ],
)
def test_a_difference_within_its_bound_is_allowed(tmp_path, given, capsys, name, change, said):
    run(tmp_path, given)
    with np.load(tmp_path / "out.npz") as out:
        assert run(tmp_path, {**given, name: change(out[name])}) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"probs": None}, "holds no 'probs'"),
        ({"patch_top": None}, "holds no 'patch_top'"),
        ({"source": np.array("kitti")}, "give source_classes"),
        ({"source": None}, "give source_classes"),
        ({"patch_source": np.array(["town/c.png"] * 4)}, "no image is named town/c.png"),
        ({"patch_top": np.full(4, 20)}, "not inside an image of (32, 64)"),
        ({"names": np.array(["a", object()], dtype=object)}, "allow_pickle"),
    ],
)
def test_input_that_cannot_be_used_is_told_in_a_line(tmp_path, given, capsys, changes, said):
    given = {k: v for k, v in {**given, **changes}.items() if v is not None}
    assert run(tmp_path, given) == 2
    message = capsys.readouterr().err
    assert message.startswith(str(tmp_path / "in.npz")) and said in message
    assert not (tmp_path / "out.npz").exists()


def test_classes_of_the_source_may_be_given_one_by_one(tmp_path, given):
    run(tmp_path, {**given, "source_classes": np.arange(19) == 2})
    with np.load(tmp_path / "out.npz") as out:
        assert (np.delete(out["thresholds"], 2) == 0).all()  # never a label in our way
        assert set(np.unique(out["patch_labels"])) <= {2, 255}
