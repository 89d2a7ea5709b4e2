"""Trees and other foliage."""

import numpy as np

from scalewise.data.streets.canvas import TO_CAMERA, Canvas, surface_row
from scalewise.data.streets.shapes import CIRCLE, CIRCLE_TURN, CORNERS

_BLOBS = 7  # six around and one in the middle make the crown of a tree
_BLOB_TURN = 2 * np.pi * np.arange(_BLOBS) / (_BLOBS - 1)
_BLOB_SPREAD = np.where(np.arange(_BLOBS) < _BLOBS - 1, 0.27, 0.0)
_BLOB_SHADE = np.linspace(0.75, 1.2, _BLOBS)


def draw_foliage(
    canvas: Canvas,
    place: tuple[float, float],
    size: tuple[float, float],
    bottom: float,
    variant: float,
    u: np.ndarray,
) -> None:
    """Paint foliage `size` metres wide and high from `bottom` up, lighter towards its top."""
    (x, z), (wide, high) = place, size
    around = _BLOB_TURN + 2 * np.pi * u[0]
    a, b = _BLOB_SPREAD * np.cos(around), _BLOB_SPREAD * np.sin(around)
    upwards = np.argsort(b)
    radius = (0.2 + 0.09 * u[np.arange(_BLOBS) % len(u)])[:, None]
    radius = radius * (1 + 0.1 * np.sin(5 * CIRCLE_TURN + 7 * u[1]))
    points = np.full((_BLOBS, CORNERS, 3), z)
    points[..., 0] = x + wide * (a[upwards, None] + radius * CIRCLE[0])
    points[..., 1] = bottom + high * (0.5 + b[upwards, None] + radius * CIRCLE[1])
    np.maximum(points[..., 1], 0.0, out=points[..., 1])
    row = surface_row("vegetation", "leaves", variant, TO_CAMERA, (0, 0, 1, z))
    rows = np.repeat(row[None], _BLOBS, 0)
    rows[:, 3] = _BLOB_SHADE
    canvas.paint(points, rows)


def draw_tree(canvas: Canvas, x: float, z: float, u: np.ndarray) -> None:
    """Paint a tree that stands at (x, z); `u` are 12 random numbers."""
    wide, high, stem = 3.0 + 2.5 * u[7], 3.2 + 3.0 * u[8], 1.4 + 1.4 * u[9]
    if not canvas.sees(x, z, wide / 2):
        return
    trunk = np.array(
        [[(x - 0.17, 0, z), (x + 0.17, 0, z), (x + 0.12, stem + 1, z), (x - 0.12, stem + 1, z)]]
    )
    canvas.paint(trunk, surface_row("vegetation", "bark", u[10], TO_CAMERA, (0, 0, 1, z))[None])
    draw_foliage(canvas, (x, z), (wide, high), stem, u[11], u)
    half = wide * 0.35
    canvas.cast_shadow((x - half, x + half), (z - half, z + half), stem + high * 0.6)
