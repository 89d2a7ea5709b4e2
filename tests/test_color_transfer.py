"""Source images in the colours of the target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scalewise.data.color_transfer import histograms, match_histograms
from scalewise.training.source_batches import SourceBatches

PLAIN = {
    "flip": False, "scale": [1, 1], "brightness": 0, "contrast": 0, "saturation": 0,
    "channel_gain": 0, "gamma": 0, "blur": 0,
}  # fmt: skip
IMAGES = arrays.arrays(np.uint8, (4, 6, 3))


def test_by_hand_the_darker_half_takes_the_darker_value():
    image = np.zeros((2, 4, 3), np.uint8)
    image[1] = 90
    other = np.full((4, 4, 3), 10, np.uint8)
    other[2:] = 200
    matched = match_histograms(image, histograms(other))
    # a quarter and three quarters of the way up; the other's first half is at 10, the rest at 200
    assert (matched[0] <= 10).all() and (matched[1] > 100).all() and (matched[1] <= 200).all()


def test_an_image_with_many_values_keeps_its_own_colours():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ramp = np.stack([values, values.T, values[::-1]], 2)
    assert np.abs(match_histograms(ramp, histograms(ramp)).astype(int) - ramp).max() <= 1


@settings(deadline=None)
@given(IMAGES, IMAGES)
def test_the_order_of_values_stays_and_nothing_is_brighter_than_the_brightest(image, other):
    before = image.copy()
    matched = match_histograms(image, histograms(other))
    assert np.array_equal(image, before) and matched.dtype == np.uint8
    for c in range(3):
        order = np.argsort(image[..., c].ravel(), kind="stable")
        assert (np.diff(matched[..., c].ravel()[order].astype(int)) >= 0).all()
        assert matched[..., c].max() <= other[..., c].max()


@settings(deadline=None)
@given(st.integers(0, 50))
def test_a_brighter_copy_of_an_image_is_matched_back(step):
    draws = np.random.default_rng(step)
    image = draws.integers(20, 120, (40, 50, 3)).astype(np.uint8)
    matched = match_histograms(image, histograms((image * 2).astype(np.uint8)))
    assert np.abs(matched.astype(int) - 2 * image.astype(int)).max() <= 2


class OneColor:
    """A set of images without a pattern."""

    def __init__(self, values):
        self.values, self.asked = values, []
        self.ids = [str(v) for v in values]

    def __len__(self):
        return len(self.values)

    def image(self, number):
        self.asked.append(number)
        return np.full((4, 5, 3), self.values[number], np.uint8)

    def pair(self, number):
        image = np.full((4, 5, 3), self.values[number], np.uint8)
        return image, np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_a_share_of_the_source_images_take_the_colours_of_a_target_image_drawn_by_step(share):
    source, target = OneColor(range(100, 120)), OneColor([200, 210, 220])
    batches = SourceBatches(source, 3, 4, PLAIN, target=target, target_colors=share)
    images = np.concatenate([batches.make(step)[0].numpy() for step in range(50)])
    taken = (images[:, 0, 0, 0] >= 190).mean()
    assert taken == pytest.approx(share, abs=0.11)  # three standard deviations
    again = SourceBatches(source, 3, 4, PLAIN, target=target, target_colors=share)
    assert np.array_equal(again.make(7)[0], batches.make(7)[0])
    # a target image is decoded once
    assert len(target.asked) <= 2 * 3 and (share == 0) == (not target.asked)
    # the others are as they would be without
    plain = SourceBatches(source, 3, 4, PLAIN).make(7)[0].numpy()
    mine = batches.make(7)[0].numpy()
    same = mine[:, 0, 0, 0] < 190
    assert np.array_equal(mine[same], plain[same])
