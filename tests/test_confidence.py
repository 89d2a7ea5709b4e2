"""Entropy per pixel and the statistics per image and class, against hand-made values."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scalewise.selftraining.confidence import (
    class_statistics,
    normalised_entropy,
    pixel_confidence,
)

DATA = Path(__file__).parent / "data"


def two_pixels(*distributions):
    """One image of one row, a pixel for each distribution."""
    return torch.tensor(distributions).T[None, :, None, :]


def test_a_uniform_pixel_has_entropy_ln_k_and_the_lowest_class():
    confidence = pixel_confidence(torch.full((1, 4, 1, 1), 0.25))
    assert confidence.entropy.item() == pytest.approx(math.log(4), abs=1e-6)
    assert confidence.maximum.item() == 0.25
    assert confidence.prediction.item() == 0


def test_a_certain_pixel_has_no_entropy_and_no_nan():
    confidence = pixel_confidence(two_pixels([0.0, 1.0, 0.0]))
    assert confidence.entropy.item() == pytest.approx(0, abs=1e-9)
    assert confidence.maximum.item() == 1
    assert confidence.prediction.item() == 1


@pytest.mark.parametrize("size", [(100, 300), (1, 20_000), (20_000, 1), (128, 256)])
def test_working_block_by_block_changes_no_bit(size):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(-3, 4, (2, 7, *size), generator=generator).float()  # many ties
    probabilities = logits.softmax(dim=1)
    found = pixel_confidence(probabilities)
    maximum, prediction = probabilities.max(dim=1)
    assert torch.equal(found.maximum, maximum)
    assert torch.equal(found.prediction.long(), prediction)
    entropy = -(probabilities * (probabilities + 1e-12).log()).sum(dim=1)
    assert torch.equal(found.entropy, entropy)


def test_255_classes_are_told_apart():
    probabilities = torch.eye(255)[None, :, :, None]
    assert pixel_confidence(probabilities).prediction.flatten().tolist() == list(range(255))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_confidence_is_float32_whatever_the_probabilities_are(dtype):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(2, 3, 4, 5, generator=generator).softmax(1).to(dtype)
    confidence = pixel_confidence(probabilities)
    expected = pixel_confidence(probabilities.float())
    assert confidence.probabilities.dtype == torch.float32
    assert confidence.maximum.dtype == torch.float32
    assert confidence.entropy.dtype == torch.float32
    assert confidence.prediction.dtype == torch.uint8
    assert torch.equal(confidence.entropy, expected.entropy)
    assert confidence.entropy.shape == (2, 4, 5)


def test_a_broken_network_is_an_error_and_not_a_confident_one():
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        pixel_confidence(logits.softmax(dim=1))


def test_more_classes_than_a_label_map_can_hold_are_refused():
    with pytest.raises(ValueError, match="256 classes"):
        pixel_confidence(torch.zeros(1, 256, 1, 1))


def test_probabilities_of_one_image_without_its_own_dimension_are_refused():
    with pytest.raises(ValueError, match="images, classes"):
        pixel_confidence(torch.zeros(3, 2, 2))


def test_normalised_entropy_runs_from_0_to_1_within_image_and_class():
    entropy = torch.tensor([[[1.0, 2.0, 3.0, 0.5, 0.9]], [[5.0, 7.0, 1.0, 1.5, 2.0]]])
    prediction = torch.tensor([[[0, 0, 0, 2, 2]], [[0, 0, 2, 2, 2]]], dtype=torch.uint8)
    expected = torch.tensor([[[0, 0.5, 1, 0, 1]], [[0, 1, 0, 0.5, 1]]])
    torch.testing.assert_close(normalised_entropy(entropy, prediction, 3), expected)


def test_constant_entropy_becomes_0_or_nan_where_that_is_asked_for():
    entropy = torch.tensor([[[0.3, 0.7, 0.7, 0.1, 0.2]]])
    prediction = torch.tensor([[[0, 1, 1, 2, 2]]], dtype=torch.uint8)
    ours = normalised_entropy(entropy, prediction, 3)
    assert ours.flatten().tolist() == [0, 0, 0, 0, 1]
    released = normalised_entropy(entropy, prediction, 3, constant_entropy="nan")
    assert released.isnan().flatten().tolist() == [True, True, True, False, False]
    with pytest.raises(ValueError, match="known are zero, nan"):
        normalised_entropy(entropy, prediction, 3, constant_entropy="one")


def test_a_nan_entropy_is_never_hidden_as_a_sure_one():
    entropy = torch.tensor([[[0.3, math.nan]]])
    prediction = torch.zeros(1, 1, 2, dtype=torch.uint8)
    assert normalised_entropy(entropy, prediction, 1).isnan().any()


def test_statistics_are_the_counts_and_means_of_each_class():
    prediction = torch.tensor([[[0, 0, 2]], [[1, 1, 1]]], dtype=torch.uint8)
    maximum = torch.tensor([[[0.5, 0.75, 0.25]], [[0.5, 0.5, 1.0]]])
    normalised = torch.tensor([[[0.0, 1.0, 0.0]], [[0.0, 0.5, 1.0]]])
    entropy = torch.tensor([[[0.5, 2.5, 0.125]], [[1.0, 0.0, 0.5]]])
    pixels, probability, scaled, nats = class_statistics(
        prediction, maximum, normalised, entropy, 3
    )
    nan = math.nan
    assert pixels.dtype == torch.int64
    assert probability.dtype == scaled.dtype == nats.dtype == torch.float64
    assert pixels.tolist() == [[2, 0, 1], [0, 3, 0]]
    np.testing.assert_allclose(probability, [[0.625, nan, 0.25], [nan, 2 / 3, nan]])
    np.testing.assert_allclose(scaled, [[0.5, nan, 0], [nan, 0.5, nan]])
    np.testing.assert_allclose(nats, [[1.5, nan, 0.125], [nan, 0.5, nan]])


def test_means_do_not_lose_digits_over_many_pixels():
    value = torch.tensor(0.1)  # not a float32 sum: that would be off in the third digit
    shape = (1, 1024, 2048)
    prediction = torch.zeros(shape, dtype=torch.uint8)
    _, mean, *_ = class_statistics(prediction, *[value.expand(shape)] * 3, 1)
    assert mean.item() == pytest.approx(value.double().item(), rel=1e-12)


def test_a_class_beyond_the_last_is_refused_and_not_counted_for_the_next_image():
    prediction = torch.tensor([[[3]]], dtype=torch.uint8)
    values = torch.zeros(1, 1, 1)
    with pytest.raises(ValueError, match="class 3 of 3"):
        class_statistics(prediction, values, values, values, 3)
    with pytest.raises(ValueError, match="class 3 of 3"):
        normalised_entropy(values, prediction, 3)


def test_maps_of_different_sizes_are_refused():
    prediction = torch.zeros(1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="entropy is"):
        normalised_entropy(torch.zeros(1, 2, 3), prediction, 1)
    with pytest.raises(ValueError, match="normalised is"):
        class_statistics(prediction, torch.zeros(1, 2, 2), *[torch.zeros(1, 4, 1)] * 2, 1)


def test_no_images_give_empty_results():
    prediction = torch.zeros(0, 2, 2, dtype=torch.uint8)
    values = torch.zeros(0, 2, 2)
    assert normalised_entropy(values, prediction, 3).shape == (0, 2, 2)
    found = class_statistics(prediction, values, values, values, 3)
    assert [tuple(t.shape) for t in found] == [(0, 3)] * 4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 3),
    classes=st.integers(1, 5),
    levels=st.integers(1, 6),
    constant_entropy=st.sampled_from(["zero", "nan"]),
)
def test_entropy_and_statistics_equal_a_loop_over_images_and_classes(
    seed, images, classes, levels, constant_entropy
):
    rng = np.random.default_rng(seed)
    shape = (images, 4, 5)
    constant = {"zero": 0.0, "nan": math.nan}[constant_entropy]
    prediction = rng.integers(0, classes, shape).astype(np.uint8)
    entropy = (rng.integers(0, levels, shape) / 3).astype(np.float32)
    maximum = rng.random(shape, dtype=np.float32)

    expected = np.empty(shape, np.float32)
    means = np.full((3, images, classes), np.nan)
    counts = np.zeros((images, classes), np.int64)
    for image in range(images):
        for index in range(classes):
            mine = prediction[image] == index
            counts[image, index] = mine.sum()
            if not mine.any():
                continue
            values = entropy[image][mine]
            low, high = values.min(), values.max()
            expected[image][mine] = constant if low == high else (values - low) / (high - low)
            means[0, image, index] = maximum[image][mine].astype(np.float64).mean()
            means[1, image, index] = expected[image][mine].astype(np.float64).mean()
            means[2, image, index] = values.astype(np.float64).mean()

    prediction, entropy = torch.from_numpy(prediction), torch.from_numpy(entropy)
    found = normalised_entropy(entropy, prediction, classes, constant_entropy=constant_entropy)
    np.testing.assert_array_equal(found, expected)
    pixels, *found_means = class_statistics(
        prediction, torch.from_numpy(maximum), found, entropy, classes
    )
    np.testing.assert_array_equal(pixels, counts)
    for mean, right in zip(found_means, means, strict=True):
        np.testing.assert_allclose(mean, right, rtol=1e-12)


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_stored_scores_follow_from_the_stored_probabilities(source):
    data = np.load(DATA / f"official_selftraining_{source}.npz", allow_pickle=False)
    confidence = pixel_confidence(torch.from_numpy(data["probabilities"]))
    normalised = normalised_entropy(
        confidence.entropy, confidence.prediction, 19, constant_entropy="nan"
    )
    found = class_statistics(
        confidence.prediction, confidence.maximum, normalised, confidence.entropy, 19
    )
    rows = data["image_index"]
    np.testing.assert_array_equal(found[0], data["pixels"][rows])
    np.testing.assert_allclose(found[1], data["mean_probability"][rows], rtol=1e-6)
    np.testing.assert_allclose(found[2], data["mean_entropy"][rows], rtol=1e-5, atol=1e-6)
