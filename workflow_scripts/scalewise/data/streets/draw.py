"""Draw one street scene."""

from collections.abc import Mapping

import numpy as np

from scalewise.data.streets.camera import camera_of
from scalewise.data.streets.canvas import OVERSAMPLING, Canvas
from scalewise.data.streets.render import render
from scalewise.data.streets.scene import draw_scene
from scalewise.data.streets.style import STYLE_DEFAULTS, check_style


def draw_street(
    seed: int, index: int, height: int, width: int, style: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw street scene `index` of the series `seed`.

    A pure function of its arguments. The scene itself depends on (seed, index) and on the content
    parameters alone: another camera sees the same street.

    Args:
        seed: number of the series, 0 or more.
        index: number of the scene within the series, 0 or more.
        height: pixels, 16 or more.
        width: pixels, 16 or more.
        style: values for some or all keys of `STYLE`; a missing one has its default.

    Returns:
        The image, uint8 (height, width, 3), RGB; and its labels, uint8 (height, width), in the
        label ids of Cityscapes' own files.

    Raises:
        ValueError: a key is unknown, a value is outside its range or the image is too small.
    """
    check_style(style)
    style = STYLE_DEFAULTS | dict(style)
    if min(height, width) < 16:
        raise ValueError(f"a street needs at least 16 x 16 pixels, got {height} x {width}")
    # Three streams, so that a change of camera or light leaves the street as it is.
    of_scene, of_camera, of_light = np.random.default_rng([seed, index]).spawn(3)
    camera = camera_of(of_camera, height, width, style)
    canvas = Canvas(camera)
    draw_scene(canvas, of_scene, style)
    surfaces = canvas.finish()
    surface_of_pixel = canvas.pixels[
        OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING
    ]
    labels = surfaces.label.take(surface_of_pixel)
    image = render(canvas, surfaces, surface_of_pixel, of_light, style)
    return image, labels
