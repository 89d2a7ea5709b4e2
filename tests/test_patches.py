"""Crops, scaled labels and the reliability filter, against torch and the released program."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scalewise.selftraining.confidence import normalised_entropy, pixel_confidence
from scalewise.selftraining.patches import (
    Box,
    Patch,
    crop_positions,
    cut_patches,
    filter_labels,
    image_patches,
    inner_size,
    patch_image,
    patch_scales,
    pseudo_labels,
    reliable,
    scale_images,
    scaled_labels,
)
from scalewise.taxonomy import IGNORE

DATA = Path(__file__).parent / "data"


def scaled(values, size):
    return F.interpolate(values, size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize(
    ("image", "scale", "crop"),
    [
        ((512, 1024), 2, (256, 512)),
        ((512, 1024), 1, (512, 1024)),
        ((96, 192), 1.5, (64, 128)),
        ((100, 101), 3, (33, 34)),
        ((2, 3), 10, (1, 1)),
    ],
)
def test_a_crop_is_the_image_divided_by_the_scale(image, scale, crop):
    assert inner_size(image, scale) == crop


@pytest.mark.parametrize(
    ("image", "scale", "place"),
    [
        ((512, 1024), 0.5, (256, 512)),
        ((96, 192), 0.75, (72, 144)),
        ((100, 101), 0.335, (34, 34)),
        ((10, 30), 0.01, (1, 1)),
    ],
)
def test_below_1_the_place_is_the_image_times_the_scale(image, scale, place):
    assert inner_size(image, scale) == place


@pytest.mark.parametrize("scale", [0.0, -2.0, math.nan, math.inf])
def test_a_scale_that_is_not_above_0_is_refused_by_its_number(scale):
    with pytest.raises(ValueError, match=f"is {scale};"):
        inner_size((10, 10), scale)


@given(
    seed=st.integers(-5, 2**40),
    count=st.integers(0, 6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    data=st.data(),
)
def test_crops_lie_inside_the_image_and_more_of_them_keep_the_first(
    seed, count, height, width, data
):
    crop = data.draw(st.tuples(st.integers(1, height), st.integers(1, width)))
    positions = crop_positions(seed, 1, "town/a.png", count, (height, width), crop)
    assert positions.shape == (count, 2)
    assert (positions >= 0).all()
    assert (positions + crop <= (height, width)).all()
    more = crop_positions(seed, 1, "town/a.png", count + 3, (height, width), crop)
    assert (more[:count] == positions).all()


def test_crops_are_the_same_on_every_machine():
    positions = crop_positions(3, 2, "aachen/ä_000001", 3, (512, 1024), (256, 512))
    assert positions.tolist() == [[193, 193], [239, 198], [136, 387]]


def test_seed_round_and_image_each_change_the_crops():
    sizes = (1000, 1000), (10, 10)
    calls = [(0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b"), (0, 11, "a"), (1, 0, "1a")]
    drawn = {crop_positions(*call, 4, *sizes).tobytes() for call in calls}
    assert len(drawn) == len(calls)


def test_crop_positions_are_uniform_and_reach_both_ends():
    positions = np.concatenate(
        [crop_positions(0, 1, f"image {i}", 4, (6, 12), (4, 8)) for i in range(1500)]
    )
    cells = np.zeros((3, 5))
    np.add.at(cells, tuple(positions.T), 1)
    assert cells.min() > 320  # 400 expected in each, standard deviation 19
    assert cells.max() < 480


def test_a_crop_larger_than_its_image_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        crop_positions(0, 1, "a", 1, (10, 10), (11, 5))
    with pytest.raises(ValueError, match="does not fit"):
        crop_positions(0, 1, "a", 1, (10, 10), (0, 5))
    with pytest.raises(ValueError, match="-1 crops"):
        crop_positions(0, 1, "a", -1, (10, 10), (5, 5))


def test_crops_may_begin_with_any_number():
    sizes = (100, 100), (10, 10)
    whole = crop_positions(0, 1, "a", 6, *sizes)
    assert (crop_positions(0, 1, "a", 4, *sizes, first=2) == whole[2:]).all()


def scales(scale, numbers, seed=0, round_number=1, image="a"):
    return patch_scales(scale, seed, round_number, image, numbers)


def test_one_scale_is_for_all_crops_and_several_take_turns():
    assert scales(2, range(3)) == [2, 2, 2]
    assert scales([1, 1.5, 2], range(4)) == [1, 1.5, 2, 1]
    assert scales([1, 1.5, 2], range(4, 6)) == [1.5, 2]


def test_numbers_and_ranges_may_take_turns():
    between = {"from": 0.5, "to": 2}
    drawn = scales([1, between], range(6))
    assert drawn[::2] == [1, 1, 1]
    assert drawn[1::2] == scales(between, [1, 3, 5])
    assert scales([1, between], range(4, 6)) == drawn[4:]


def test_a_scale_from_a_range_follows_from_seed_round_image_and_number():
    between = {"from": 1, "to": 4}
    drawn = scales(between, range(5))
    assert scales(between, range(3, 5)) == drawn[3:]
    others = [scales(between, range(5), *c) for c in [(1,), (0, 2), (0, 1, "b")]]
    assert len({tuple(drawn), *map(tuple, others)}) == 4
    assert len(set(drawn)) == 5
    assert drawn[:2] == pytest.approx([2.858327396561897, 1.5269559436402635], rel=1e-12)


def test_scales_of_a_range_are_uniform_in_their_logarithm():
    drawn = np.log2(scales({"from": 1, "to": 4}, range(4000)))
    assert drawn.min() >= 0 and drawn.max() <= 2
    cells, _ = np.histogram(drawn, 4, (0, 2))
    assert cells.min() > 870 and cells.max() < 1130  # 1000 each, standard deviation 27


@given(low=st.floats(1e-3, 1e3), factor=st.floats(1, 50), number=st.integers(0, 10**6))
def test_rounding_never_leaves_the_range_of_scales(low, factor, number):
    (drawn,) = scales({"from": low, "to": low * factor}, [number])
    assert low <= drawn <= low * factor


@pytest.mark.parametrize("scale", [[], {"from": 2, "to": 1}, {"from": 0, "to": 1}])
def test_scales_that_are_none_are_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        scales(scale, range(2))


def test_crops_of_one_scale_are_those_of_their_positions():
    patches = image_patches(3, 2, "a", 4, (512, 1024), 2)
    positions = crop_positions(3, 2, "a", 4, (512, 1024), (256, 512))
    assert [crop for crop, _ in patches] == [(top, left, 256, 512) for top, left in positions]
    assert {place for _, place in patches} == {(0, 0, 512, 1024)}


def test_below_1_the_whole_image_comes_to_the_places_that_crops_of_that_size_would_have():
    patches = image_patches(3, 2, "a", 4, (512, 1024), 0.5)
    positions = crop_positions(3, 2, "a", 4, (512, 1024), (256, 512))
    assert [place for _, place in patches] == [(top, left, 256, 512) for top, left in positions]
    assert {crop for crop, _ in patches} == {(0, 0, 512, 1024)}
    mixed = image_patches(3, 2, "a", 4, (512, 1024), [0.5, 2])
    up = image_patches(3, 2, "a", 4, (512, 1024), 2)
    assert mixed == [patches[0], up[1], patches[2], up[3]]


def test_a_repeated_image_gets_further_crops():
    for scale in (2, 0.5):
        first = image_patches(3, 2, "a", 4, (512, 1024), scale)
        second = image_patches(3, 2, "a", 4, (512, 1024), scale, occurrence=1)
        assert first + second == image_patches(3, 2, "a", 8, (512, 1024), scale)


def test_crops_of_several_scales_each_lie_inside_the_image():
    patches = image_patches(0, 1, "a", 6, (100, 200), [1, 2, 4])
    assert [(c.height, c.width) for c, _ in patches] == [(100, 200), (50, 100), (25, 50)] * 2
    found = image_patches(0, 1, "a", 50, (100, 200), {"from": 0.25, "to": 4})
    for crop, place in found:
        inner = min(crop, place, key=lambda box: box.height)
        assert (0, 0, 100, 200) in (crop, place)
        assert 25 <= inner.height <= 100 and 50 <= inner.width <= 200
        assert 0 <= inner.top <= 100 - inner.height and 0 <= inner.left <= 200 - inner.width
    assert 15 < sum(place != (0, 0, 100, 200) for _, place in found) < 35


@pytest.mark.parametrize("scale", [1, [1, 1.001, 0.999], {"from": 1, "to": 1}])
def test_the_whole_image_is_cut_once(scale):
    whole = (0, 0, 100, 200)
    assert image_patches(0, 1, "a", 4, (100, 200), scale) == [(whole, whole)]


def random_maps(size=(6, 8), classes=5):
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (*size, 3), generator=generator).to(torch.uint8)
    probabilities = torch.rand(classes, *size, generator=generator)
    prediction = probabilities.argmax(0).to(torch.uint8)
    return image, probabilities, prediction, torch.rand(*size, generator=generator)


WHOLE = Box(0, 0, 12, 16)


def test_patches_of_several_sizes_are_cut_from_the_same_place_of_every_map():
    image, probabilities, prediction, entropy = random_maps()
    crops = [Box(0, 0, 6, 8), Box(2, 3, 3, 4), Box(5, 7, 1, 1)]
    patches = [Patch(crop, WHOLE) for crop in crops]
    cut = cut_patches(image, probabilities, prediction, entropy, patches, (12, 16))
    assert cut.labels.shape == (3, 12, 16)
    for k, (top, left, height, width) in enumerate(crops):
        part = np.s_[top : top + height, left : left + width]
        assert torch.equal(cut.image[k], image[part]) and cut.image[k].is_contiguous()
        assert torch.equal(cut.predicted[k], prediction[part])
        assert torch.equal(cut.entropy[k], entropy[part])
        alone = scaled_labels(probabilities[(slice(None), *part)][None], (12, 16))
        assert torch.equal(cut.labels[k], alone[0])


@pytest.mark.parametrize("crop", [(4, 0, 3, 4), (0, 5, 3, 4), (-1, 0, 3, 4), (0, 0, 0, 4)])
def test_a_crop_beyond_its_image_is_refused(crop):
    with pytest.raises(ValueError, match="not inside an image"):
        cut_patches(*random_maps(), [Patch(Box(*crop), WHOLE)], (12, 16))
    with pytest.raises(ValueError, match="not inside a patch"):
        cut_patches(*random_maps(), [Patch(Box(0, 0, 6, 8), Box(*crop))], (6, 8))


def test_labels_of_an_image_that_is_scaled_down_stand_at_its_place_and_nowhere_else():
    maps = random_maps()
    cut = cut_patches(*maps, [Patch(Box(0, 0, 6, 8), Box(2, 1, 3, 4))], (6, 8))
    assert torch.equal(cut.image[0], maps[0]) and torch.equal(cut.predicted[0], maps[2])
    assert torch.equal(cut.entropy[0], maps[3])
    inside = cut.labels[0, 2:5, 1:5]
    expected = scaled(maps[1][None], (3, 4)).argmax(1)[0]
    assert torch.equal(inside.long(), expected)
    assert (cut.labels == IGNORE).sum() == 6 * 8 - 3 * 4


def test_the_image_of_a_patch_stands_at_its_place_in_its_mean_colour():
    crop = torch.tensor([[[0, 9, 255]] * 2 + [[20, 9, 254]] * 2] * 2, dtype=torch.uint8)
    image = patch_image(crop, Box(1, 0, 1, 4), (2, 5))
    assert image[1, :4].tolist() == crop[0].tolist()
    mean = [10, 9, 254]  # 254.5 goes to the even number
    assert image[0].tolist() == [mean] * 5 and image[1, 4].tolist() == mean
    up = patch_image(crop, Box(0, 0, 4, 8), (4, 8))
    assert torch.equal(up, scale_images(crop[None], (4, 8))[0])
    with pytest.raises(ValueError, match="not inside a patch"):
        patch_image(crop, Box(1, 0, 2, 4), (2, 5))


def test_labels_change_halfway_between_two_sure_pixels():
    probabilities = torch.tensor([[0.9, 0.1], [0.1, 0.9]])[None, :, None, :]
    assert scaled_labels(probabilities, (1, 6)).tolist() == [[[0, 0, 0, 1, 1, 1]]]


def test_a_class_second_everywhere_can_win_between_two_others():
    probabilities = torch.tensor([[0.6, 0.0], [0.4, 0.4], [0.0, 0.6]])[None, :, None, :]
    assert scaled_labels(probabilities, (1, 3)).tolist() == [[[0, 1, 2]]]


def test_labels_at_the_same_size_are_the_prediction():
    probabilities = torch.rand(2, 5, 7, 6, generator=torch.Generator().manual_seed(0))
    labels = scaled_labels(probabilities, (7, 6))
    assert labels.dtype == torch.uint8
    assert torch.equal(labels, probabilities.argmax(dim=1).to(torch.uint8))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(0, 2),
    classes=st.integers(1, 19),
    small=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    sharpness=st.floats(0.1, 10),
    corners=st.booleans(),
)
def test_labels_equal_scaling_all_probabilities_but_for_rounded_ties(
    seed, images, classes, small, size, sharpness, corners
):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, *small, generator=generator)
    probabilities = (logits * sharpness).softmax(dim=1)
    labels = scaled_labels(probabilities, size, align_corners=corners)
    assert labels.shape == (images, *size)
    if images:
        everything = F.interpolate(probabilities, size, mode="bilinear", align_corners=corners)
        chosen = everything.gather(1, labels.long()[:, None])[:, 0]
        assert (everything.max(dim=1).values - chosen).max() <= 1e-6


@pytest.mark.parametrize("factor", [4, 8])
def test_labels_of_logits_at_a_network_s_stride_equal_scaling_them_all(factor):
    # as evaluation does it: on the grid of coinciding edges, to the labels' own size
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(1, 19, 5, 9, generator=generator) * 4
    logits = scaled(coarse, (32, 64)) + 0.1 * torch.randn(1, 19, 32, 64, generator=generator)
    size = (32 * factor, 64 * factor)
    expected = F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(dim=1)
    found = scaled_labels(logits, size, align_corners=False)
    assert torch.equal(found.long(), expected)
    # the corners' grid gives other labels: the argument has a say
    assert not torch.equal(scaled_labels(logits, size).long(), expected)


def test_labels_of_smooth_maps_equal_scaling_all_probabilities_exactly():
    generator = torch.Generator().manual_seed(4)
    coarse = torch.randn(2, 19, 6, 10, generator=generator) * 4
    probabilities = scaled(coarse, (48, 80)).softmax(dim=1)
    expected = scaled(probabilities, (96, 160)).argmax(dim=1)
    assert torch.equal(scaled_labels(probabilities, (96, 160)).long(), expected)
    expected = scaled(probabilities, (31, 50)).argmax(dim=1)
    assert torch.equal(scaled_labels(probabilities, (31, 50)).long(), expected)


def test_labels_are_the_same_block_by_block_and_where_the_highest_class_is_known(monkeypatch):
    probabilities = torch.rand(2, 5, 20, 30, generator=torch.Generator().manual_seed(6))
    expected = scaled(probabilities, (50, 70)).argmax(dim=1)
    highest = probabilities.argmax(dim=1).to(torch.uint8)
    assert torch.equal(scaled_labels(probabilities, (50, 70), highest=highest).long(), expected)
    monkeypatch.setattr("scalewise.scaled_labels._BLOCK", 1000)
    assert torch.equal(scaled_labels(probabilities, (50, 70)).long(), expected)
    # it is believed where it agrees with its neighbours
    zero = torch.zeros_like(highest)
    assert not scaled_labels(probabilities, (50, 70), highest=zero).any()


def test_labels_scaled_down_are_of_what_lies_below_them():
    probabilities = torch.tensor([[0.9, 0.9, 0.2, 0.2, 0.2], [0.1, 0.1, 0.8, 0.8, 0.8]])
    found = scaled_labels(probabilities[None, :, None, :], (1, 3))  # pixels 0, 2 and 4
    assert found.tolist() == [[[0, 1, 1]]]
    found = scaled_labels(probabilities[None, :, None, :], (1, 4))  # 0, 4/3, 8/3 and 4
    assert found.tolist() == [[[0, 0, 1, 1]]]  # 2/3 of 0.9 and 1/3 of 0.2 is 0.67


def test_images_scaled_down_are_means_of_what_each_pixel_covers():
    row = torch.tensor([0, 255, 0, 255, 100, 100, 100, 100], dtype=torch.uint8)
    found = scale_images(row[None, None, :, None].expand(1, 4, 8, 3), (2, 4))[0, :, :, 0]
    assert found.shape == (2, 4)
    assert found[0].tolist() == found[1].tolist()
    # weights 1/8 3/8 3/8 1/8; at the edge what is left of them: 3/7 3/7 1/7
    assert found[0].tolist() == [109, 140, 119, 100]


def test_images_keep_their_corners_and_are_rounded():
    row = torch.tensor([[0, 0, 0], [10, 255, 1]], dtype=torch.uint8)
    found = scale_images(row[None, None], (2, 5))
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    assert found[0, 0].tolist() == found[0, 1].tolist()
    assert found[0, 0, :, 0].tolist() == [0, 2, 5, 8, 10]  # 2.5 and 7.5 go to the even number
    assert found[0, 0, :, 1].tolist() == [0, 64, 128, 191, 255]
    assert found[0, 0, :, 2].tolist() == [0, 0, 0, 1, 1]


def test_images_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        scale_images(torch.zeros(1, 4, 4, 3), (8, 8))
    with pytest.raises(ValueError, match="uint8"):
        scale_images(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), (8, 8))


PREDICTION = torch.tensor([[[0, 0, 1, 1, 2]]], dtype=torch.uint8)
ENTROPY = torch.tensor([[[0.2, 0.5, 0.5, math.nan, 0.0]]])


def reliable_list(tau, **options):
    return reliable(PREDICTION, ENTROPY, tau, **options).flatten().tolist()


def test_a_pixel_is_reliable_below_the_threshold_of_its_class():
    tau = torch.tensor([0.5, 0.6, 0.0], dtype=torch.float64)
    assert reliable_list(tau) == [True, False, True, False, False]


def test_nan_is_reliable_only_where_the_released_program_is_asked_for():
    tau = torch.tensor([math.nan, 0.1, 0.5])
    assert reliable_list(tau) == [False, False, False, False, True]
    assert reliable_list(tau, nan_is_reliable=True) == [True, True, False, True, True]


def test_nothing_is_reliable_below_a_threshold_of_0_and_everything_below_infinity():
    tau = np.array([0.0, math.inf, math.inf])
    assert reliable_list(tau) == [False, False, True, False, True]
    assert reliable_list(tau, nan_is_reliable=True) == [False, False, True, True, True]


def test_infinite_entropy_is_above_every_threshold_and_above_none_at_all():
    prediction = torch.tensor([[[0, 1, 2]]], dtype=torch.uint8)
    entropy, tau = torch.full((1, 1, 3), math.inf), [0.5, math.inf, math.nan]
    for undefined in (False, True):
        sure = reliable(prediction, entropy, torch.tensor(tau), nan_is_reliable=undefined)
        assert not sure.any()


def test_reliability_of_maps_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="differ"):
        reliable(PREDICTION, ENTROPY[:, :, :2], torch.ones(3))


def kept(sure, width, **options):
    labels = torch.full((1, 1, width), 7, dtype=torch.uint8)
    found = filter_labels(labels, torch.tensor([[sure]]), **options).flatten()
    assert set(found.tolist()) <= {7, IGNORE}
    return (found == 7).tolist()


def test_a_label_follows_its_nearest_prediction():
    assert kept([True, False, True], 6) == [True, True, False, False, True, True]


def test_of_two_equally_near_predictions_the_right_one_counts():
    assert kept([True, False], 3) == [True, False, False]
    assert kept([False, True], 3) == [False, True, True]


def test_bilinear_filtering_keeps_a_label_with_any_reliable_neighbour():
    assert kept([True, False, False], 5, upscaling="bilinear") == [True, True, False, False, False]
    assert kept([True, False, True], 5, upscaling="bilinear") == [True, True, False, True, True]


def test_filtering_leaves_the_labels_it_was_given_alone():
    labels = torch.full((1, 2, 2), 7, dtype=torch.uint8)
    filter_labels(labels, torch.zeros(1, 1, 1, dtype=torch.bool))
    assert (labels == 7).all()


def test_filters_that_do_not_fit_are_refused():
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="known are nearest, bilinear"):
        filter_labels(labels, torch.ones(1, 2, 2, dtype=torch.bool), upscaling="cubic")
    with pytest.raises(ValueError, match="expected labels"):
        filter_labels(labels, torch.ones(2, 2, 2, dtype=torch.bool))


def test_a_label_of_an_image_that_is_scaled_down_follows_the_nearest_of_its_pixels():
    assert kept([True, False, True, False, True], 3) == [True, True, True]
    assert kept([True, False, True, False, True], 2) == [True, True]
    assert kept([True, False, True, False], 3) == [True, True, False]  # 1.5 goes to 2
    # any reliable neighbour: 1.5 has two
    assert kept([True, False, True, False], 3, upscaling="bilinear") == [True, True, False]


def test_a_third_class_of_threshold_0_between_two_reliable_ones_is_no_label():
    labels = torch.tensor([[[0, 2, 1]]], dtype=torch.uint8)
    prediction = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    entropy = torch.zeros(1, 1, 2)
    found = pseudo_labels(labels, prediction, entropy, np.array([0.5, 0.5, 0.0]))
    assert found.tolist() == [[[0, IGNORE, 1]]]
    found = pseudo_labels(labels, prediction, entropy, np.array([0.5, 0.5, 1.0]))
    assert found.tolist() == [[[0, 2, 1]]]


def test_the_filter_follows_both_of_its_settings():
    labels = torch.zeros(1, 1, 5, dtype=torch.uint8)
    prediction = torch.zeros(1, 1, 3, dtype=torch.uint8)
    entropy = torch.tensor([[[math.nan, 1.0, 1.0]]])

    def kept_labels(**rules):
        found = pseudo_labels(labels, prediction, entropy, torch.tensor([0.5]), **rules)
        return (found != IGNORE).flatten().tolist()

    assert kept_labels() == [False] * 5
    assert kept_labels(constant_entropy="nan") == [True, False, False, False, False]
    both = kept_labels(constant_entropy="nan", reliability="bilinear")
    assert both == [True, True, False, False, False]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    small=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 16), st.integers(1, 16)),
)
def test_nearest_filtering_equals_a_search_for_the_nearest_pixel(seed, small, size):
    sure = torch.rand(1, *small, generator=torch.Generator().manual_seed(seed)) < 0.5
    keep = filter_labels(torch.zeros(1, *size, dtype=torch.uint8), sure)[0] != IGNORE

    def nearest(place, inner, outer):
        """Exact distances, times outer - 1; the last of the nearest."""
        return min(
            range(inner), key=lambda k: (abs(k * max(outer - 1, 1) - place * (inner - 1)), -k)
        )

    rows = [nearest(i, small[0], size[0]) for i in range(size[0])]
    columns = [nearest(j, small[1], size[1]) for j in range(size[1])]
    assert torch.equal(keep, sure[0][rows][:, columns])


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_the_released_programs_patches_are_reproduced(source):
    data = np.load(DATA / f"official_selftraining_{source}.npz", allow_pickle=False)
    probabilities = torch.from_numpy(data["probabilities"])
    confidence = pixel_confidence(probabilities)
    normalised = normalised_entropy(
        confidence.entropy, confidence.prediction, 19, constant_entropy="nan"
    )
    sure = reliable(confidence.prediction, normalised, data["thresholds"], nan_is_reliable=True)

    def patch(values, number):
        top, left = data["patch_top"][number], data["patch_left"][number]
        image = data["patch_image"][number]
        return values[image : image + 1, ..., top : top + 16, left : left + 32]

    images = torch.from_numpy(data["images"]).permute(0, 3, 1, 2)
    for number, expected in enumerate(data["patch_labels"]):
        labels = scaled_labels(patch(probabilities, number), (32, 64))
        found = filter_labels(labels, patch(sure, number), upscaling="bilinear")
        np.testing.assert_array_equal(found[0], expected)
        picture = scale_images(patch(images, number).permute(0, 2, 3, 1), (32, 64))
        difference = picture[0].int() - torch.from_numpy(data["patch_images"][number]).int()
        assert difference.abs().max() <= 1


def test_the_stored_patches_tell_the_released_program_from_ours():
    data = np.load(DATA / "official_selftraining_synthia.npz", allow_pickle=False)
    confidence = pixel_confidence(torch.from_numpy(data["probabilities"]))
    normalised = normalised_entropy(
        confidence.entropy, confidence.prediction, 19, constant_entropy="nan"
    )
    top, left = int(data["patch_top"][0]), int(data["patch_left"][0])
    window = np.s_[:1, top : top + 16, left : left + 32]

    def labels(nan_is_reliable, upscaling):
        sure = reliable(
            confidence.prediction,
            normalised,
            data["thresholds"],
            nan_is_reliable=nan_is_reliable,
        )
        crop = confidence.probabilities[:1, :, top : top + 16, left : left + 32]
        found = filter_labels(scaled_labels(crop, (32, 64)), sure[window], upscaling=upscaling)
        return (found[0].numpy() != data["patch_labels"][0]).sum()

    assert labels(True, "bilinear") == 0
    assert labels(False, "bilinear") > 0
    assert labels(True, "nearest") > 0
