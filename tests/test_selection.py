"""The ranking of images and the selection, against hand-made tables and the released program."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalewise.selftraining.selection import (
    counts_to_take,
    images_to_process,
    rank_images,
    select_images,
)

DATA = Path(__file__).parent / "data"


def scored(source):
    return np.load(DATA / f"official_selftraining_{source}.npz", allow_pickle=False)


def test_counts_are_cut_and_not_rounded():
    assert counts_to_take([0, 1, 9, 10, 19, 20, 100], 0.2, 2, 0).tolist() == [0, 0, 0, 1, 1, 2, 10]


def test_counts_keep_the_rounding_of_the_released_program():
    summed = 0.1
    for _ in range(6):
        summed += 0.05
    assert counts_to_take([285], 0.4, 19, 0).tolist() == [6]
    assert counts_to_take([285], summed, 19, 0).tolist() == [5]


def test_a_minimum_per_class_takes_no_more_than_there_are():
    assert counts_to_take([0, 1, 2, 3, 500], 0.1, 10, 2).tolist() == [0, 1, 2, 2, 5]


def test_a_portion_above_the_divisor_takes_everything_once():
    assert counts_to_take([3, 0], 5.0, 2, 0).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], -0.1, 19, 0), "portion"),
        (([1], float("nan"), 19, 0), "portion"),
        (([1], 0.1, 0, 0), "divisor"),
        (([1], 0.1, 19, -1), "minimum"),
        (([-1], 0.1, 19, 0), "fewer than 0"),
    ],
)
def test_impossible_counts_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        counts_to_take(*arguments)


@given(images=st.integers(0, 10**6), portion=st.floats(0, 1), divisor=st.integers(1, 255))
def test_counts_equal_the_formula_in_plain_python(images, portion, divisor):
    assert counts_to_take([images], portion, divisor, 0)[0] == int(images * portion / divisor)


PIXELS = np.array([[5, 1, 0], [5, 9, 0], [5, 0, 0], [5, 3, 2]])
SCORES = np.array([[0.5, 0.99, np.nan], [0.9, 0.6, np.nan], [0.5, np.nan, np.nan], [0.7, 0.8, 0.4]])
ALL = np.ones(3, dtype=bool)


def rankings(**changes):
    settings = {"classes_in_source": ALL, "min_pixels": 1, **changes}
    return [r.tolist() for r in rank_images(PIXELS, SCORES, **settings)]


def test_images_are_ranked_by_score_and_ties_keep_their_order():
    assert rankings() == [[1, 3, 0, 2], [0, 3, 1], [3]]


def test_an_image_with_few_pixels_of_a_class_is_not_ranked_for_it():
    assert rankings(min_pixels=3) == [[1, 3, 0, 2], [3, 1], []]


def test_an_image_without_the_class_is_never_ranked_for_it():
    assert rankings(min_pixels=0) == rankings(min_pixels=1)


def test_a_class_that_the_source_lacks_ranks_nothing():
    assert rankings(classes_in_source=np.array([True, False, True]))[1] == []


def test_a_score_that_is_not_finite_is_refused():
    scores = SCORES.copy()
    scores[3, 1] = np.nan
    with pytest.raises(ValueError, match="image 3 has pixels of class 1"):
        rank_images(PIXELS, scores, classes_in_source=ALL, min_pixels=1)


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must both be"):
        rank_images(PIXELS, SCORES[:2], classes_in_source=ALL, min_pixels=1)
    with pytest.raises(ValueError, match="3 booleans"):
        rank_images(PIXELS, SCORES, classes_in_source=np.array([0, 1, 2]), min_pixels=1)


def test_an_image_is_selected_once_and_remembers_each_class():
    ranked = rank_images(PIXELS, SCORES, classes_in_source=ALL, min_pixels=1)
    selection = select_images(ranked, np.array([2, 2, 1]), SCORES)
    assert selection.images.tolist() == [1, 3, 0]
    assert selection.classes == ((0,), (0, 1, 2), (1,))
    assert selection.score.tolist() == [0.9, 0.7, 0.99]


def test_nothing_taken_is_an_empty_selection():
    ranked = rank_images(PIXELS, SCORES, classes_in_source=ALL, min_pixels=1)
    selection = select_images(ranked, np.zeros(3, dtype=int), SCORES)
    assert selection.images.shape == selection.score.shape == (0,)
    assert selection.classes == ()


def test_taking_more_images_than_are_ranked_is_refused():
    ranked = rank_images(PIXELS, SCORES, classes_in_source=ALL, min_pixels=1)
    with pytest.raises(ValueError, match="cannot take 2 of 1 images for class 2"):
        select_images(ranked, np.array([0, 0, 2]), SCORES)
    with pytest.raises(ValueError, match="2 counts for 3 rankings"):
        select_images(ranked, np.array([0, 0]), SCORES)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(0, 12),
    classes=st.integers(1, 5),
    portion=st.floats(0, 3),
    minimum=st.integers(0, 3),
    min_pixels=st.integers(0, 3),
)
def test_selection_equals_sorting_one_class_at_a_time(
    seed, images, classes, portion, minimum, min_pixels
):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 5, (images, classes))
    scores = np.where(pixels > 0, rng.integers(1, 5, pixels.shape) / 4, np.nan)  # many ties
    in_source = rng.random(classes) < 0.8

    order: dict[int, list[int]] = {}
    for index in range(classes):
        able = [i for i in range(images) if pixels[i, index] > 0]
        able = [i for i in able if pixels[i, index] >= min_pixels and in_source[index]]
        able = sorted(able, key=lambda i: -scores[i, index])
        count = int(len(able) * portion / classes)
        for image in able[: max(count, minimum)]:
            order.setdefault(image, []).append(index)

    ranked = rank_images(pixels, scores, classes_in_source=in_source, min_pixels=min_pixels)
    take = counts_to_take([len(r) for r in ranked], portion, classes, minimum)
    selection = select_images(ranked, take, scores)
    assert selection.images.tolist() == list(order)
    assert [list(c) for c in selection.classes] == list(order.values())
    assert selection.score.tolist() == [scores[i, c[0]] for i, c in order.items()]


@pytest.mark.parametrize(("source", "missing"), [("gta5", []), ("synthia", [9, 14, 16])])
def test_the_released_programs_selection_is_reproduced_in_order(source, missing):
    data = scored(source)
    in_source = ~np.isin(np.arange(19), missing)
    ranked = rank_images(
        data["pixels"], data["mean_probability"], classes_in_source=in_source, min_pixels=1
    )
    take = counts_to_take([len(r) for r in ranked], float(data["portion"]), 19, 0)
    selection = select_images(ranked, take, data["mean_probability"])
    assert selection.images.tolist() == data["selected"].tolist()


PROCESSING = {"round_number": 2, "seed": 3, "resample": False, "extra_images": 0}


def processed(selected, **changes):
    return images_to_process(selected, **{**PROCESSING, **changes})


def test_each_selected_image_is_used_once_in_its_order():
    assert processed(["c", "a", "b"]) == [("c", 0), ("a", 0), ("b", 0)]


def test_extra_images_go_on_from_the_start_as_further_occurrences():
    assert processed(["c", "a"], extra_images=1) == [("c", 0), ("a", 0), ("c", 1)]
    assert processed(["c"], extra_images=2) == [("c", 0), ("c", 1), ("c", 2)]


def test_of_nothing_nothing_is_processed():
    assert processed([], extra_images=1, resample=True) == []


def test_the_first_round_is_not_resampled():
    images = [f"image {k}" for k in range(50)]
    assert processed(images, round_number=1, resample=True) == [(name, 0) for name in images]


def test_resampling_leaves_about_a_third_out_and_counts_what_comes_again():
    images = [f"image {k}" for k in range(2000)]
    drawn = processed(images, resample=True)
    assert len(drawn) == 2000
    assert len(set(drawn)) == 2000  # an image that comes again has another occurrence
    left_out = 1 - len({name for name, _ in drawn}) / 2000
    assert left_out == pytest.approx(1 / np.e, abs=0.03)  # four standard deviations
    for name in {name for name, _ in drawn}:
        occurrences = [k for other, k in drawn if other == name]
        assert occurrences == list(range(len(occurrences)))


def test_what_is_drawn_follows_from_seed_and_round():
    images = [f"image {k}" for k in range(40)]
    drawn = processed(images, resample=True)
    assert drawn == processed(images, resample=True)
    assert drawn != processed(images, resample=True, seed=4)
    assert drawn != processed(images, resample=True, round_number=3)
    on_every_machine = [("b", 0), ("c", 0), ("b", 1), ("e", 0), ("f", 0), ("b", 2)]
    assert processed(list("abcdef"), resample=True) == on_every_machine


def test_an_extra_image_after_resampling_is_the_first_that_was_drawn():
    images = [f"image {k}" for k in range(40)]
    drawn = processed(images, resample=True)
    more = processed(images, resample=True, extra_images=1)
    assert more[:-1] == drawn
    assert more[-1][0] == drawn[0][0]
