"""Random views: image and label stay together, and a view is a function of its draws."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalewise.data.augmentation import augment, rescale, zoom
from scalewise.taxonomy import IGNORE

OFF = {
    "flip": False,
    "scale": [1.0, 1.0],
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "channel_gain": 0.0,
    "gamma": 0.0,
    "blur": 0.0,
}
COLOUR = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.5, "channel_gain": 0.2, "gamma": 0.5}
ALL = {**OFF, **COLOUR, "flip": True, "scale": [0.5, 2.0], "blur": 1.5}
HEIGHT, WIDTH = 40, 60


def rng(seed=0):
    return np.random.default_rng(seed)


def scene(seed=0, height=HEIGHT, width=WIDTH, block=10):
    """An image whose red says the label (20 x class) in blocks of so many pixels."""
    blocks = rng(seed).integers(0, 6, (height // block + 1, width // block + 1), dtype=np.uint8)
    label = np.kron(blocks, np.ones((block, block), np.uint8))[:height, :width]
    image = np.stack([20 * label, 100 + label, 200 - 20 * label], 2)
    return image, np.ascontiguousarray(label)


def disagreement(image, label):
    """Share of pixels, away from edges and from padding, whose red does not say their label."""
    flat = cv2.erode(label, np.ones((5, 5))) == cv2.dilate(label, np.ones((5, 5)))
    inner = flat & (label != IGNORE)
    inner[:2], inner[-2:], inner[:, :2], inner[:, -2:] = False, False, False, False
    assert inner.mean() > 0.02
    return (np.abs(image[..., 0].astype(int) - 20 * label.astype(int))[inner] > 2).mean()


def test_switched_off_nothing_changes():
    image, label = scene()
    for seed in range(5):
        view, mapped = augment(image, label, OFF, rng(seed))
        np.testing.assert_array_equal(view, image)
        np.testing.assert_array_equal(mapped, label)


def test_a_flip_turns_both_and_comes_every_other_time():
    image, label = scene()
    flipped = 0
    for seed in range(200):
        view, mapped = augment(image, label, {**OFF, "flip": True}, rng(seed))
        if np.array_equal(view, image[:, ::-1]):
            np.testing.assert_array_equal(mapped, label[:, ::-1])
            flipped += 1
        else:
            np.testing.assert_array_equal(view, image)
            np.testing.assert_array_equal(mapped, label)
    assert 70 < flipped < 130


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.3, 1), st.floats(1, 3))
def test_a_view_has_the_old_size_and_type_and_no_label_that_was_not_there(seed, low, high):
    image, label = scene(seed)
    before = image.copy(), label.copy()
    view, mapped = augment(image, label, {**ALL, "scale": [low, high]}, rng(seed))
    assert view.shape == image.shape and mapped.shape == label.shape
    assert view.dtype == mapped.dtype == np.uint8
    assert view.flags.c_contiguous and mapped.flags.c_contiguous
    assert set(np.unique(mapped)) <= set(np.unique(label)) | {IGNORE}
    # the data set keeps what it gave: it must stay as it was
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


@pytest.mark.parametrize("seed", range(5))
def test_the_same_draws_give_the_same_bits(seed):
    one, other = (augment(*scene(), ALL, rng(seed)) for _ in range(2))
    assert one[0].tobytes() == other[0].tobytes() and one[1].tobytes() == other[1].tobytes()
    third = augment(*scene(), ALL, rng(seed + 100))
    assert third[0].tobytes() != one[0].tobytes()


def test_the_number_of_draws_does_not_depend_on_the_settings():
    states = []
    for changed in (OFF, ALL, *({**OFF, key: value} for key, value in ALL.items())):
        generator = rng(3)
        augment(*scene(), changed, generator)
        states.append(generator.bit_generator.state["state"])
    assert all(state == states[0] for state in states)


def test_one_setting_does_not_change_what_another_draws():
    """The label of a flipped and scaled view is the same whatever is done to the colours."""
    geometric = {**OFF, "flip": True, "scale": [0.5, 2.0]}
    for seed in range(10):
        _, plain = augment(*scene(), geometric, rng(seed))
        _, coloured = augment(*scene(), {**geometric, **COLOUR, "blur": 2.0}, rng(seed))
        np.testing.assert_array_equal(plain, coloured)


@pytest.mark.parametrize("name", [*COLOUR, "blur"])
def test_colours_change_the_image_and_leave_the_label(name):
    image, label = scene()
    changed = 0
    for seed in range(10):
        view, mapped = augment(image, label, {**OFF, name: ALL[name]}, rng(seed))
        np.testing.assert_array_equal(mapped, label)
        changed += not np.array_equal(view, image)
    assert changed >= 5  # the weakest blur leaves every pixel


class Draws:
    """A generator of chosen numbers: flip, scale, place, colours (brightness, contrast,
    saturation, gamma, gain of red, green and blue), blur."""

    def __init__(self, scale=0.0, place=(0.0, 0.0), colours=(0,) * 7, blur=0.0):
        self._geometry, self._blur = np.array([0.9, scale, *place]), blur
        self._colours = np.array(colours, float)

    def random(self, count=None):
        return self._geometry if count else self._blur

    def uniform(self, low, high, count):
        assert (low, high, count) == (-1, 1, 7)
        return self._colours


@pytest.mark.parametrize(
    ("setting", "strength", "colours", "wanted"),
    [
        # of the pixels (100, 50, 0) and (200, 150, 100)
        ("brightness", 0.2, [1, 0, 0, 0, 0, 0, 0], [[151, 101, 51], [251, 201, 151]]),
        ("brightness", 0.4, [-1, 0, 0, 0, 0, 0, 0], [[0, 0, 0], [98, 48, 0]]),
        ("contrast", 0.5, [0, -1, 0, 0, 0, 0, 0], [[100, 75, 50], [150, 125, 100]]),
        ("saturation", 1.0, [0, 0, -1, 0, 0, 0, 0], [[50, 50, 50], [150, 150, 150]]),
        ("saturation", 0.5, [0, 0, 1, 0, 0, 0, 0], [[125, 50, 0], [225, 150, 75]]),
        ("channel_gain", 0.2, [0, 0, 0, 0, 1, -1, 0], [[120, 40, 0], [240, 120, 100]]),
        # 255 x (v / 255) ** 2
        ("gamma", 1.0, [0, 0, 0, 1, 0, 0, 0], [[39, 10, 0], [157, 88, 39]]),
    ],
)
def test_each_colour_setting_does_what_it_says(setting, strength, colours, wanted):
    image = np.array([[[100, 50, 0], [200, 150, 100]]], np.uint8)
    view, _ = augment(
        image, np.zeros((1, 2), np.uint8), {**OFF, setting: strength}, Draws(colours=colours)
    )
    assert np.abs(view[0].astype(int) - wanted).max() <= 1


def test_the_scale_is_drawn_evenly_in_its_logarithm():
    image, label = scene()
    for draw, factor in ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0)):
        _, view = augment(image, label, {**OFF, "scale": [0.5, 2.0]}, Draws(scale=draw))
        np.testing.assert_array_equal(view, rescale(image, (label,), factor, (0, 0))[1][0])


@pytest.mark.parametrize("factor", [0.4, 0.5, 0.77, 1.0, 1.3, 2.0, 3.1])
@pytest.mark.parametrize("at", [(0.0, 0.0), (0.5, 0.5), (0.999, 0.999), (0.3, 0.8)])
def test_image_and_label_stay_together_when_scaled(factor, at):
    image, label = scene(height=80, width=120, block=20)
    scaled, (mapped,) = rescale(image, (label,), factor, at)
    assert disagreement(scaled, mapped) == 0


def test_a_label_that_is_shifted_by_a_few_pixels_would_be_seen():
    image, label = scene(height=80, width=120)
    assert disagreement(image, label) == 0
    assert disagreement(image, np.roll(label, 4, 1)) > 0.1


def test_scaling_down_pads_with_ignored_pixels_of_the_mean_colour():
    image, label = scene()
    view, (mapped,) = rescale(image, (label,), 0.5, (0.0, 0.999))
    inside = np.s_[0:20, 30:60]
    assert (mapped[inside] != IGNORE).all()
    outside = np.ones(label.shape, bool)
    outside[inside] = False
    assert (mapped[outside] == IGNORE).all()
    assert len(np.unique(view[outside], axis=0)) == 1
    assert np.abs(view[outside][0] - image.mean((0, 1))).max() <= 1
    np.testing.assert_array_equal(mapped[inside][2::5, 2::5], label[4::10, 4::10])


def test_scaling_up_cuts_at_the_place_that_is_said():
    image, label = scene()
    for at, part in (((0.0, 0.0), np.s_[:20, :30]), ((0.999, 0.999), np.s_[20:, 30:])):
        _, (mapped,) = rescale(image, (label,), 2.0, at)
        np.testing.assert_array_equal(mapped, np.kron(label[part], np.ones((2, 2), np.uint8)))


@pytest.mark.parametrize("seed", range(6))
def test_a_zoom_is_a_crop_of_half_the_size_scaled_up_with_its_true_label(seed):
    image, label = scene(height=80, width=120)
    view, mapped = zoom(image, label, rng(seed))
    assert view.shape == image.shape and mapped.shape == label.shape
    assert disagreement(view, mapped) == 0
    crop = mapped[::2, ::2]
    np.testing.assert_array_equal(np.kron(crop, np.ones((2, 2), np.uint8)), mapped)
    places = [
        (top, left)
        for top in range(41)
        for left in range(61)
        if np.array_equal(label[top : top + 40, left : left + 60], crop)
    ]
    assert places


def test_zooms_reach_every_corner():
    label = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = np.zeros((4, 4, 3), np.uint8)
    seen = {int(zoom(image, label, rng(seed))[1][0, 0]) for seed in range(100)}
    assert seen == {4 * top + left for top in range(3) for left in range(3)}


def test_a_view_of_odd_size_and_a_single_pixel_work():
    for height, width in ((1, 1), (3, 5), (17, 31)):
        image, label = scene(height=height, width=width)
        for seed in range(5):
            view, mapped = augment(image, label, ALL, rng(seed))
            assert view.shape == (height, width, 3) and mapped.shape == (height, width)
