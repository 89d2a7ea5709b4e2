"""Procedural streets: pure, in all classes, and with camera and appearance apart."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from scalewise.data.streets.draw import draw_street
from scalewise.data.streets.style import STYLE, STYLE_DEFAULTS
from scalewise.taxonomy import CITYSCAPES, CITYSCAPES_LABEL_IDS, IGNORE

SEED = 100
SIZE = (96, 192)
CAMERA_AND_CONTENT = {
    "focal": 2.0,
    "camera_height": 3.0,
    "camera_jitter": 4.0,
    "clutter": 0.3,
    "greenery": 0.9,
    "building_height": 2.0,
}
APPEARANCE = {
    "palette": 1.0,
    "illumination": 0.0,
    "exposure": 0.6,
    "shadow": 0.0,
    "warmth": 0.2,
    "saturation": 0.3,
    "gamma": 1.6,
    "fog": 1.0,
    "texture": 0.0,
    "variety": 0.0,
    "blur": 1.0,
    "noise": 15.0,
}


def draw(index=0, size=SIZE, seed=SEED, **style):
    return draw_street(seed, index, *size, style)


@pytest.fixture(scope="module")
def source_labels():
    return np.stack([draw(index)[1] for index in range(60)])


@pytest.fixture(scope="module")
def doubled_labels():
    return np.stack([draw(index, focal=2.0)[1] for index in range(60)])


def car_heights(labels):
    """Heights in pixels of the connected cars that stand free of the picture's edge."""
    car = CITYSCAPES_LABEL_IDS[CITYSCAPES.names.index("car")]
    heights = []
    for label in labels:
        _, _, boxes, _ = cv2.connectedComponentsWithStats((label == car).astype(np.uint8))
        left, top, width, height, area = boxes[1:].T
        free = (left > 0) & (left + width < label.shape[1]) & (top + height < label.shape[0])
        heights += height[free & (area >= 12)].tolist()
    return np.array(heights)


def test_the_same_arguments_give_the_same_bits():
    draw(5)  # what was drawn before must not matter
    for first, second in zip(draw(3), draw(3), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_empty_style_is_the_source_domain():
    for first, second in zip(draw(3), draw(3, **STYLE_DEFAULTS), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("other", [{"index": 4}, {"seed": SEED + 1}])
def test_another_index_or_seed_gives_another_street(other):
    labels = draw(3)[1]
    assert (labels != draw(**({"index": 3} | other))[1]).mean() > 0.1


@pytest.mark.parametrize("size", [(48, 96), (96, 192), (97, 131), (192, 192), (512, 1024)])
def test_images_and_labels_have_the_size_and_type_promised(size):
    image, labels = draw(size=size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert labels.shape == size and labels.dtype == np.uint8
    assert len(np.unique(labels)) > 5


def test_a_larger_picture_shows_the_same_street_in_proportion():
    small, large = draw(size=(96, 192))[1], draw(size=(384, 768))[1]
    assert (small == large[2::4, 2::4]).mean() > 0.93


def test_all_labels_are_ids_of_cityscapes(source_labels):
    assert set(np.unique(source_labels)) <= set(CITYSCAPES.label_ids)
    assert all(CITYSCAPES.label_ids[i] != IGNORE for i in np.unique(source_labels))


@pytest.mark.parametrize("label_id", CITYSCAPES_LABEL_IDS, ids=CITYSCAPES.names)
def test_every_class_is_seen_in_a_tenth_of_the_images(label_id, source_labels, doubled_labels):
    for labels in (source_labels, doubled_labels):
        assert ((labels == label_id).sum((1, 2)) >= 15).mean() >= 0.1


def test_a_doubled_focal_length_shows_cars_about_twice_as_large(source_labels, doubled_labels):
    ratio = np.mean(car_heights(doubled_labels)) / np.mean(car_heights(source_labels))
    assert 1.6 < ratio < 2.4


def test_a_doubled_focal_length_magnifies_about_the_principal_point():
    one, two = (draw(7, focal=focal, camera_jitter=0.0)[1] for focal in (1.0, 2.0))
    row, column = round(0.44 * 96), 96
    half = one[row - 20 : row + 20, column - 40 : column + 40]
    magnified = half.repeat(2, 0).repeat(2, 1)
    assert (two[row - 40 : row + 40, column - 80 : column + 80] == magnified).mean() > 0.9


@pytest.mark.parametrize("name", list(STYLE))
def test_each_style_parameter_changes_the_image(name):
    value = (CAMERA_AND_CONTENT | APPEARANCE)[name]
    assert any(
        (draw(index)[0] != draw(index, **{name: value})[0]).mean() > 0.01 for index in (3, 4)
    )


@pytest.mark.parametrize("name", list(APPEARANCE))
def test_appearance_leaves_the_labels_as_they_are(name):
    np.testing.assert_array_equal(draw(3)[1], draw(3, **{name: APPEARANCE[name]})[1])


def test_all_of_appearance_together_leaves_the_labels_as_they_are():
    np.testing.assert_array_equal(draw(3)[1], draw(3, **APPEARANCE)[1])


@pytest.mark.parametrize("name", list(CAMERA_AND_CONTENT))
def test_camera_and_content_change_the_labels(name):
    changed = [
        (draw(i)[1] != draw(i, **{name: CAMERA_AND_CONTENT[name]})[1]).mean() for i in (3, 4)
    ]
    assert max(changed) > 0.005


def test_fog_hides_what_is_far_and_spares_what_is_near():
    clear, foggy = (draw(3, fog=fog, noise=0.0)[0].astype(float) for fog in (0.0, 1.0))
    change = np.abs(clear - foggy).mean((1, 2))
    horizon = round(0.44 * 96)
    assert change[-6:].mean() < 0.4 * change[horizon - 4 : horizon + 4].mean()


def test_style_parameters_are_described_and_their_defaults_lie_within_their_ranges():
    assert set(STYLE) == set(CAMERA_AND_CONTENT) | set(APPEARANCE) == set(STYLE_DEFAULTS)
    for entry in STYLE.values():
        assert entry.low <= entry.default <= entry.high
        assert entry.unit and entry.meaning


@pytest.mark.parametrize("bound", ["low", "high"])
@pytest.mark.parametrize("name", list(STYLE))
def test_every_parameter_can_be_drawn_at_the_ends_of_its_range(name, bound):
    image, labels = draw(3, size=(48, 96), **{name: getattr(STYLE[name], bound)})
    assert image.shape == (48, 96, 3) and labels.shape == (48, 96)


def test_an_unknown_style_parameter_is_refused_and_the_nearest_one_named():
    with pytest.raises(ValueError, match="'focl'.*'focal'"):
        draw(focl=2.0)


@pytest.mark.parametrize("value", [-1.0, 100.0, float("nan")])
def test_a_style_value_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match="'focal' must be in 0.3..5.0"):
        draw(focal=value)


def test_a_picture_too_small_for_a_street_is_refused():
    with pytest.raises(ValueError, match="16 x 16 pixels, got 8 x 64"):
        draw(size=(8, 64))


def test_styles_are_checked_without_importing_what_draws():
    program = (
        "import sys; from scalewise.data.streets.style import check_style; check_style({})\n"
        "assert not {'numpy', 'cv2'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
