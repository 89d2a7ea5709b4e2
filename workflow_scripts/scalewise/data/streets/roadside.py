"""The two sides of a street, lot by lot: buildings, and gardens behind their barriers."""

import numpy as np

from scalewise.data.streets.barriers import draw_fence, draw_hedge, draw_wall
from scalewise.data.streets.buildings import draw_building
from scalewise.data.streets.camera import NEAR
from scalewise.data.streets.canvas import Canvas
from scalewise.data.streets.layout import END, Layout
from scalewise.data.streets.trees import draw_tree


def draw_roadside(
    canvas: Canvas, rng: np.random.Generator, layout: Layout, side: int, style: dict[str, float]
) -> None:
    """Paint one side of the street, lot by lot, from far to near."""
    x = layout.front[side > 0]
    lots = []
    start = 1.0 - 6 * rng.random()
    while start < END:
        u = rng.random(16)
        stop = start + 7 + 11 * u[0]
        lots.append((start, stop, u))
        start = stop
    gap = (
        (np.inf, np.inf)
        if layout.crossing is None
        else (layout.crossing - 2.6, layout.crossing + 10.1)
    )
    for start, stop, u in reversed(lots):
        for z0, z1 in ((max(start, gap[1]), stop), (start, min(stop, gap[0]))):
            if z1 - z0 > 2.5 and z1 > 2.0:
                _draw_lot(canvas, x, side, max(z0, NEAR), z1, u, style)


def _draw_lot(
    canvas: Canvas,
    x: float,
    side: int,
    z0: float,
    z1: float,
    u: np.ndarray,
    style: dict[str, float],
) -> None:
    """Paint a lot from z0 to z1 whose front is at x; `u` are its 16 random numbers."""
    green = style["greenery"]
    barrier = 0.33
    if u[1] > green + barrier * (1 - green):
        draw_building(canvas, x, side, z0, z1, u, style)
        return
    # A garden: trees behind, and in front of them a wall, a fence, a hedge or nothing.
    behind = x + side * (2.5 + 3 * u[2])
    if u[3] < 0.45:
        draw_building(canvas, x + side * 6.0, side, z0 + 1, z1 - 1, np.roll(u, 5), style)
    for k in range(2):
        if u[4 + k] < 0.45 + 0.5 * green:
            z = z1 - (z1 - z0) * (0.3 + 0.5 * k)
            draw_tree(canvas, behind, z, np.roll(u, k + 1))
    if u[6] < 0.38:
        draw_wall(canvas, x, side, z0, z1, u)
    elif u[6] < 0.8:
        draw_fence(canvas, x, side, z0, z1, u)
    elif u[6] < 0.9:
        draw_hedge(canvas, x, side, z0, z1, u)
