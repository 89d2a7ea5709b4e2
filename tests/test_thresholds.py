"""The threshold of each class: ranks, edges, pooling and the released program's values."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scalewise
from scalewise.selftraining.selection import counts_to_take, rank_images
from scalewise.selftraining.thresholds import (
    class_thresholds,
    count_entropy,
    count_kept,
    rate_thresholds,
)
from scalewise.taxonomy import IGNORE

DATA = Path(__file__).parent / "data"

RANKINGS = [np.array([2, 0, 3, 1]), np.array([1, 0]), np.array([], dtype=int)]
ENTROPY = np.array(
    [[0.1, 0.5, np.nan], [0.2, 0.6, np.nan], [0.3, np.nan, np.nan], [0.4, np.nan, np.nan]]
)


def thresholds(take, previous=None, **options):
    tau, images = class_thresholds(RANKINGS, np.array(take), ENTROPY, previous, **options)
    return tau.tolist(), images.tolist()


def test_the_first_image_that_is_not_taken_decides():
    assert thresholds([2, 1, 0]) == ([0.4, 0.5, 1.0], [3, 0, -1])


def test_a_class_of_which_nothing_is_taken_is_decided_by_its_best_image():
    assert thresholds([0, 0, 0]) == ([0.3, 0.6, 1.0], [2, 1, -1])


def test_when_every_image_is_taken_the_last_decides():
    assert thresholds([4, 2, 0]) == ([0.2, 0.5, 1.0], [1, 0, -1])


def test_a_class_that_ranks_nothing_keeps_its_threshold():
    previous = np.array([0.9, 0.9, 0.7])
    assert thresholds([2, 1, 0], previous) == ([0.4, 0.5, 0.7], [3, 0, -1])
    assert previous.tolist() == [0.9, 0.9, 0.7]


def test_pooled_is_the_mean_over_the_images_around_the_rank():
    tau, images = thresholds([1, 0, 0], estimator="pooled", pool=1)
    assert tau == pytest.approx([(0.3 + 0.1 + 0.4) / 3, (0.6 + 0.5) / 2, 1.0])
    assert images == [0, 1, -1]


def test_pooled_over_no_neighbours_is_the_image_at_the_rank():
    assert thresholds([2, 1, 0], estimator="pooled", pool=0) == thresholds([2, 1, 0])


def test_pool_is_not_read_at_rank():
    assert thresholds([2, 1, 0], estimator="at_rank", pool=3) == thresholds([2, 1, 0])


def test_without_thresholds_every_tau_is_infinite_and_no_image_decides():
    previous = np.array([0.9, np.nan, 0.7])
    assert thresholds([2, 1, 0], previous, estimator="none") == ([np.inf] * 3, [-1] * 3)


def test_a_threshold_that_is_not_finite_is_an_error_that_names_its_class():
    entropy = ENTROPY.copy()
    entropy[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"classes \[1\] are not finite"):
        class_thresholds(RANKINGS, np.array([2, 1, 0]), entropy, None)
    tau, _ = class_thresholds(RANKINGS, np.array([2, 1, 0]), entropy, None, finite=False)
    assert np.isnan(tau).tolist() == [False, True, False]


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="known are at_rank, pooled, none"):
        thresholds([2, 1, 0], estimator="median")
    with pytest.raises(ValueError, match="pool"):
        thresholds([2, 1, 0], estimator="pooled", pool=-1)
    with pytest.raises(ValueError, match="cannot take 3 of 2"):
        thresholds([2, 3, 0])
    with pytest.raises(ValueError, match="previous"):
        thresholds([2, 1, 0], np.ones(2))
    with pytest.raises(ValueError, match="mean entropy"):
        class_thresholds(RANKINGS, np.array([2, 1, 0]), ENTROPY[:, :2], None)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(0, 9),
    classes=st.integers(1, 4),
    pool=st.integers(0, 4),
)
def test_thresholds_equal_a_walk_along_each_ranking(seed, images, classes, pool):
    rng = np.random.default_rng(seed)
    entropy = rng.random((images, classes))
    previous = rng.random(classes)
    rankings = [rng.permutation(images)[: rng.integers(0, images + 1)] for _ in range(classes)]
    take = np.array([rng.integers(0, len(r) + 1) for r in rankings])

    expected, deciding = [], []
    for index, ranking in enumerate(rankings):
        if len(ranking) == 0:
            expected.append(previous[index])
            deciding.append(-1)
            continue
        rank = take[index] if take[index] < len(ranking) else len(ranking) - 1
        near = [entropy[i, index] for k, i in enumerate(ranking) if abs(k - rank) <= pool]
        expected.append(sum(near) / len(near))
        deciding.append(ranking[rank])

    tau, image_index = class_thresholds(
        rankings, take, entropy, previous, estimator="pooled", pool=pool
    )
    np.testing.assert_allclose(tau, expected, rtol=1e-12)
    assert image_index.tolist() == deciding
    assert tau.dtype == np.float64


@pytest.mark.parametrize(("source", "missing"), [("gta5", []), ("synthia", [9, 14, 16])])
def test_the_released_programs_thresholds_are_reproduced_with_their_nans(source, missing):
    data = np.load(DATA / f"official_selftraining_{source}.npz", allow_pickle=False)
    in_source = ~np.isin(np.arange(19), missing)
    rankings = rank_images(
        data["pixels"], data["mean_probability"], classes_in_source=in_source, min_pixels=1
    )
    take = counts_to_take([len(r) for r in rankings], float(data["portion"]), 19, 0)
    tau, _ = class_thresholds(rankings, take, data["mean_entropy"], None, finite=False)
    assert np.isnan(tau).any()
    np.testing.assert_allclose(tau, data["thresholds"], rtol=0, atol=1e-6)
    assert (tau[missing] == 1).all()


def test_kept_pixels_are_those_below_the_threshold_and_padding_counts_nowhere():
    predicted = np.array([[0, 0, 1, 1, 2, IGNORE]], np.uint8)
    entropy = np.array([[0.25, 0.5, np.nan, 0.5, 0.0, 0.0]], np.float16)
    tau = np.array([0.5, np.inf, 0.0, np.nan])
    seen, kept = count_kept(predicted, entropy, tau, nan_is_reliable=False)
    assert seen.tolist() == [2, 2, 1, 0]
    assert kept.tolist() == [1, 1, 0, 0]
    _, kept = count_kept(predicted, entropy, tau, nan_is_reliable=True)
    assert kept.tolist() == [1, 2, 0, 0]
    _, kept = count_kept(predicted, entropy, np.full(4, np.nan), nan_is_reliable=True)
    assert kept.tolist() == [2, 2, 1, 0]


def test_infinite_entropy_is_seen_and_never_kept():
    predicted, tau = np.array([0, 1, 2], np.uint8), np.array([0.5, np.inf, np.nan])
    for undefined in (False, True):
        entropy = np.full(3, np.inf, np.float16)
        seen, kept = count_kept(predicted, entropy, tau, nan_is_reliable=undefined)
        assert seen.tolist() == [1, 1, 1] and kept.tolist() == [0, 0, 0]


def rates(predicted, entropy, portion, classes=3, previous=None):
    """tau, and how many pixels of each class it keeps."""
    predicted, entropy = np.array(predicted, np.uint8), np.array(entropy, np.float16)
    tau = rate_thresholds(count_entropy(predicted, entropy, classes), portion, previous)
    _, kept = count_kept(predicted, entropy, tau, nan_is_reliable=False)
    return tau.tolist(), kept.tolist()


def test_each_class_keeps_the_same_share_of_its_pixels():
    predicted = [0] * 4 + [1] * 8 + [IGNORE] * 9
    entropy = [0.75, 0, 0.5, 0.25, *np.arange(8) / 8, *[0] * 9]
    tau, kept = rates(predicted, entropy, 0.5)
    # the next float16 above 0.25 and above 3/8: steps of 2**-12
    assert tau == [0.25 + 2**-12, 0.375 + 2**-12, 1.0] and kept == [2, 4, 0]


def test_pixels_as_sure_as_the_last_that_is_kept_are_kept_too():
    _, kept = rates([0] * 8, [0, 0.5, 0.5, 0.5, 0.5, 0.75, 1, 1], 0.25)
    assert kept == [5, 0, 0]
    tau, kept = rates([0] * 4, [0, 0, 0, 0], 0.25)
    assert tau[0] == 2**-24 and kept[0] == 4


def test_a_class_too_small_for_one_pixel_keeps_none_and_one_without_pixels_its_threshold():
    tau, kept = rates([0, 0, 0, 1, 1, 1, 1], [0] * 7, 0.25, previous=np.array([0.5, 0.5, 0.7]))
    assert tau == [0, 2**-24, 0.7] and kept == [0, 4, 0]


def test_all_pixels_are_kept_at_portion_1_but_those_of_infinite_entropy():
    tau, kept = rates([0, 0, 1, 1], [0.5, 1, 0.5, np.inf], 1)
    assert tau == [1 + 2**-10, np.inf, 1] and kept == [2, 1, 0]
    # a pixel on which views disagree counts among the others and comes last
    tau, kept = rates([0] * 4, [0.5, 0.25, np.inf, np.inf], 0.75)
    assert tau[0] == np.inf and kept[0] == 2


def test_undefined_entropy_is_the_lowest():
    counts = count_entropy(np.zeros(3, np.uint8), np.array([np.nan, 0.5, -0.0], np.float16), 1)
    assert counts.sum() == 3 and counts[0, 0] == 2


def test_rates_of_what_cannot_be_counted_are_refused():
    with pytest.raises(ValueError, match="float32"):
        count_entropy(np.zeros(1, np.uint8), np.zeros(1, np.float32), 1)
    with pytest.raises(ValueError, match="below 0"):
        count_entropy(np.zeros(1, np.uint8), np.array([-0.5], np.float16), 1)
    counts = count_entropy(np.zeros(1, np.uint8), np.zeros(1, np.float16), 1)
    with pytest.raises(ValueError, match=r"portion is 1\.5"):
        rate_thresholds(counts, 1.5, None)
    with pytest.raises(ValueError, match="previous"):
        rate_thresholds(counts, 0.5, np.ones(2))
    with pytest.raises(ValueError, match=r"counts are \(1, 9\)"):
        rate_thresholds(counts[:, :9], 0.5, None)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    pixels=st.integers(0, 60),
    levels=st.integers(1, 40),
    portion=st.floats(0, 1),
)
def test_rates_equal_a_sort_of_the_pixels_of_each_class(seed, pixels, levels, portion):
    rng = np.random.default_rng(seed)
    predicted = rng.choice([0, 1, 2, IGNORE], pixels).astype(np.uint8)
    entropy = (rng.integers(0, levels + 1, pixels) / levels).astype(np.float16)
    half = pixels // 2  # two blocks
    counts = sum(
        count_entropy(predicted[part], entropy[part], 3) for part in (np.s_[:half], np.s_[half:])
    )
    tau = rate_thresholds(counts, portion, None)
    for c in range(3):
        values = sorted(entropy[predicted == c].tolist())
        keep = int(len(values) * portion)
        below = [v for v in values if v < tau[c]]
        if not values:
            assert tau[c] == 1
        elif keep == 0:
            assert tau[c] == 0
        else:
            assert below == [v for v in values if v <= values[keep - 1]]


def test_selection_and_thresholds_do_not_import_torch():
    program = "import sys, scalewise.selftraining.ranking; sys.exit('torch' in sys.modules)"
    library = str(Path(scalewise.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": library}, check=True
    )
