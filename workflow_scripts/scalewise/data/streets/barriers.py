"""Walls, fences and hedges in front of gardens."""

import numpy as np

from scalewise.data.streets.blocks import along_street, block_faces, block_rows
from scalewise.data.streets.canvas import Canvas, surface_row


def draw_wall(canvas: Canvas, x: float, side: int, z0: float, z1: float, u: np.ndarray) -> None:
    """Paint a stone wall with coping and piers; `u` are the lot's 16 random numbers."""
    top = 1.5 + 1.5 * u[8]
    canvas.paint(
        block_faces(x, side, z0, z1, 0, top, 0.4), block_rows("wall", "masonry", u[9], x, side, z0)
    )
    rows = block_rows("wall", "coping", u[10], x, side, z0)
    canvas.paint(block_faces(x, side, z0, z1, top - 0.2, top, 0.4), rows)
    piers = np.arange(z0 + 0.5, z1, 4.0)
    quads = [
        [(x, 0, z), (x, 0, z + 0.5), (x, top + 0.12, z + 0.5), (x, top + 0.12, z)] for z in piers
    ]
    canvas.paint_alike(
        np.array(quads), surface_row("wall", "masonry", u[10], (-side, 0, 0), (1, 0, 0, x), 0.85)
    )
    canvas.cast_shadow((x, x + side * 0.4), (z0, z1), top)


def draw_fence(canvas: Canvas, x: float, side: int, z0: float, z1: float, u: np.ndarray) -> None:
    """Paint a fence of pickets and two rails; `u` are the lot's 16 random numbers."""
    top = 1.2 + 0.9 * u[8]
    plane, normal = (1, 0, 0, x), (-side, 0, 0)
    canvas.paint(
        block_faces(x, side, z0, z1, 0, top, 0.05)[1:],
        surface_row("fence", "fence gap", u[9], normal, plane)[None],
    )
    bar = surface_row("fence", "fence bar", u[10], normal, plane)
    step = 0.35 if u[11] < 0.6 else 0.8
    z = np.arange(z0, z1, step)[:, None]
    pickets = np.stack(
        [
            z + step * 0.45 * np.array([0, 1, 1, 0]),
            np.tile(np.array([0.0, 0.0, top, top]), (len(z), 1)),
        ],
        -1,
    )
    canvas.paint_alike(along_street(x, pickets), bar)
    rails = [[(z0, h), (z1, h), (z1, h + 0.12), (z0, h + 0.12)] for h in (0.25, top - 0.25)]
    for rail in rails:  # one by one: they cross the pickets
        canvas.paint_alike(along_street(x, np.array([rail])), bar)
    canvas.cast_shadow((x, x + side * 0.1), (z0, z1), top * 0.6)


def draw_hedge(canvas: Canvas, x: float, side: int, z0: float, z1: float, u: np.ndarray) -> None:
    """Paint a hedge; `u` are the lot's 16 random numbers."""
    rows = block_rows("vegetation", "leaves", u[9], x, side, z0)
    canvas.paint(block_faces(x, side, z0, z1, 0, 0.9 + u[8], 1.0), rows)
