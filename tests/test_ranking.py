"""Ranking and counting under every setting, and the released program's selection and thresholds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalewise.artifacts import labels_csv, scores_csv
from scalewise.artifacts.scores_csv import Scores
from scalewise.selftraining.ranking import rank_and_count, read_ranking, source_classes

DATA = Path(__file__).parent / "data"
PLAIN = {
    "portion": 1.0, "scope": "class", "minimum_per_class": 0, "min_pixels": 1,
    "missing_classes": "ignore", "estimator": "at_rank", "pool": 0, "constant_entropy": "zero",
}  # fmt: skip
RELEASED = {**PLAIN, "missing_classes": "trust", "constant_entropy": "nan"}
NAN = np.nan

# 4 images, 3 classes; overall scores: 0.5, 0.8, 0.8, 0.65
PIXELS = np.array([[10, 0, 0], [5, 5, 0], [0, 10, 0], [4, 2, 4]])
SCORES = np.array([[0.5, NAN, NAN], [0.9, 0.7, NAN], [NAN, 0.8, NAN], [0.4, 0.9, 0.775]])
ENTROPY = np.array([[0.1, NAN, NAN], [0.2, 0.3, NAN], [NAN, 0.4, NAN], [0.5, 0.6, 0.7]])


def ranked(in_source=(True, True, True), **changes):
    scores = Scores(["a", "b", "c", "d"], PIXELS, SCORES, ENTROPY, ENTROPY)
    return rank_and_count(scores, np.array(in_source), {**PLAIN, **changes})


def as_lists(ranking):
    return [r.tolist() for r in ranking.rankings]


def test_globally_the_first_of_one_order_are_taken_whatever_their_classes():
    ranking = ranked(scope="global", portion=0.5)
    assert ranking.taken.tolist() == [1, 2]  # equal scores keep their order
    selection = ranking.selection()
    assert selection.images.tolist() == [1, 2]
    assert selection.classes == ((0, 1), (1,))
    assert selection.score == pytest.approx([0.8, 0.8])


def test_globally_a_class_ranks_the_one_order_without_the_images_that_lack_it():
    ranking = ranked(scope="global", portion=0.5)
    assert as_lists(ranking) == [[1, 3, 0], [1, 2, 3], [3]]
    assert ranking.take.tolist() == [1, 2, 0]
    tau, image = ranking.thresholds(None, PLAIN)
    assert tau.tolist() == [0.5, 0.6, 0.7]  # each from the first image not taken that shows it
    assert image.tolist() == [3, 3, 3]


def test_globally_an_image_of_no_class_of_the_source_may_be_taken():
    ranking = ranked([True, False, False], scope="global", portion=0.5, min_pixels=6)
    assert ranking.selection().images.tolist() == [1, 2]
    assert ranking.selection().classes == ((), ())
    assert as_lists(ranking) == [[0], [], []]


def test_a_global_portion_above_1_takes_every_image_once():
    assert ranked(scope="global", portion=3.0).taken.tolist() == [1, 2, 3, 0]


def test_missing_classes_rank_nothing_and_trusted_ones_are_counted_in_the_divisor():
    in_source = [True, True, False]
    ignore = ranked(in_source)
    trust = ranked(in_source, missing_classes="trust")
    assert as_lists(ignore) == as_lists(trust) == [[1, 0, 3], [3, 2, 1], []]
    assert ignore.take.tolist() == [1, 1, 0]  # 3 * 1 / 2
    assert trust.take.tolist() == [1, 1, 0]  # 3 * 1 / 3
    assert ranked(in_source, portion=1.4).take.tolist() == [2, 2, 0]
    assert ranked(in_source, portion=1.4, missing_classes="trust").take.tolist() == [1, 1, 0]


@pytest.mark.parametrize("estimator, source_tau", [("at_rank", 0.1), ("none", np.inf)])
def test_a_missing_class_is_never_a_label_where_it_is_ignored(estimator, source_tau):
    ranking = ranked([True, True, False])
    tau, _ = ranking.thresholds(None, {**PLAIN, "estimator": estimator})
    assert tau[0] == source_tau
    assert tau[2] == 0


def test_a_trusted_missing_class_keeps_its_threshold():
    ranking = ranked([True, True, False], missing_classes="trust")
    settings = {**PLAIN, "missing_classes": "trust"}
    assert ranking.thresholds(None, settings)[0][2] == 1
    assert ranking.thresholds(np.array([0.3, 0.3, 0.6]), settings)[0][2] == 0.6


@pytest.mark.parametrize("name", ["scope", "missing_classes"])
def test_a_rule_that_is_not_known_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match=f"unknown {name} 'other'; known are "):
        ranked(**{name: "other"})


def test_an_image_without_pixels_has_no_place_in_the_one_order():
    scores = Scores(["a"], np.zeros((1, 2), int), *[np.full((1, 2), NAN)] * 3)
    with pytest.raises(ValueError, match="image 0 has no pixels"):
        rank_and_count(scores, np.ones(2, bool), {**PLAIN, "scope": "global"})


def test_a_ranking_is_read_from_scores_and_source_labels(tmp_path):
    classes = ["road", "sky", "car"]
    scores = Scores(["a", "b", "c", "d"], PIXELS, SCORES, ENTROPY, ENTROPY)
    scores_csv.write(tmp_path / "scores.csv", scores, classes)
    rows = [labels_csv.LabelRow(i, f"{i}.png", 2, 2, "x", 0, (3, k, 0)) for k, i in enumerate("ab")]
    labels_csv.write(tmp_path / "labels.csv", rows, classes)
    found = read_ranking(tmp_path / "scores.csv", tmp_path / "labels.csv", classes, PLAIN)
    assert found.in_source.tolist() == [True, True, False]
    assert as_lists(found) == as_lists(ranked([True, True, False]))
    assert found.scores.images == ["a", "b", "c", "d"]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 12),
    classes=st.integers(1, 4),
    portion=st.floats(0, 1.2),
    min_pixels=st.integers(1, 3),
)
def test_the_global_scope_equals_a_walk_down_one_list(seed, images, classes, portion, min_pixels):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 5, (images, classes))
    pixels[:, 0] += pixels.sum(1) == 0
    scores = np.where(pixels > 0, rng.integers(1, 5, pixels.shape) / 4, NAN)  # exact sums
    entropy = np.where(pixels > 0, rng.random(pixels.shape), NAN)
    in_source = rng.random(classes) < 0.8

    def overall(image):
        every_pixel = [scores[image, c] for c in range(classes) for _ in range(pixels[image, c])]
        return sum(every_pixel) / len(every_pixel)

    order = sorted(range(images), key=lambda i: -overall(i))
    taken = order[: int(images * portion)]
    expected = np.ones(classes)
    for c in range(classes):
        if in_source[c]:
            able = [i for i in order if pixels[i, c] >= min_pixels]
            left = [i for i in able if i not in taken] or able[-1:]
            expected[c] = entropy[left[0], c] if left else 1
        else:
            expected[c] = 0

    rules = {**PLAIN, "scope": "global", "portion": portion, "min_pixels": min_pixels}
    scored = Scores(list("x" * images), pixels, scores, entropy, entropy)
    ranking = rank_and_count(scored, in_source, rules)
    np.testing.assert_array_equal(ranking.thresholds(None, rules)[0], expected)
    assert ranking.selection().images.tolist() == taken


@pytest.mark.parametrize(("source", "missing"), [("gta5", []), ("synthia", [9, 14, 16])])
def test_the_released_programs_round_follows_from_its_scores(source, missing):
    data = np.load(DATA / f"official_selftraining_{source}.npz", allow_pickle=False)
    names = [f"image {k}" for k in range(40)]
    entropy = data["mean_entropy"]
    scores = Scores(names, data["pixels"], data["mean_probability"], entropy, entropy)
    in_source = ~np.isin(np.arange(19), missing)
    rules = {**RELEASED, "portion": float(data["portion"])}
    ranking = rank_and_count(scores, in_source, rules)
    assert ranking.selection().images.tolist() == data["selected"].tolist()
    tau, _ = ranking.thresholds(None, rules)
    assert np.isnan(tau).any()
    np.testing.assert_allclose(tau, data["thresholds"], rtol=0, atol=1e-6)
    ours = rank_and_count(scores, in_source, {**PLAIN, "min_pixels": 10})
    assert ours.selection().images.tolist() != data["selected"].tolist()


# three classes, of which class 2 is missing in the source where it is said
FOUR_PIXELS = np.array([[9, 0, 1], [9, 5, 0], [9, 5, 9], [3, 5, 9]])
FOUR_SCORES = np.array([[0.5, np.nan, 0.9], [0.7, 0.6, np.nan], [0.6, 0.9, 0.3], [0.9, 0.8, 0.4]])


def of_classes(in_source, **changes):
    scores = Scores(list("abcd"), FOUR_PIXELS, FOUR_SCORES, *[np.zeros((4, 3))] * 2)
    settings = {**PLAIN, "min_pixels": 5, "minimum_per_class": 1, **changes}
    return rank_and_count(scores, np.array(in_source), settings)


def test_the_source_has_the_classes_with_a_pixel_in_some_label():
    assert source_classes([(1, 0, 0), (0, 0, 2)], 3).tolist() == [True, False, True]
    assert source_classes([], 3).tolist() == [False, False, False]


def test_by_class_it_is_ranking_then_counting():
    ranking = of_classes([True, True, False])
    assert [r.tolist() for r in ranking.rankings] == [[1, 2, 0], [2, 3, 1], []]
    # int(3 * 1 / 2) of each of the two classes that the source has
    assert ranking.take.tolist() == [1, 1, 0]
    assert ranking.selection().images.tolist() == [1, 2]


def test_more_is_taken_with_a_larger_portion_and_never_more_than_there_is():
    every = [True, True, True]
    assert of_classes(every, portion=2.0, minimum_per_class=0).take.tolist() == [2, 2, 1]
    assert of_classes(every, portion=9.0, minimum_per_class=0).take.tolist() == [3, 3, 2]
