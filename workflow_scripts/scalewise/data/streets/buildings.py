"""Buildings beside the street."""

import numpy as np

from scalewise.data.streets.blocks import (
    across_street,
    along_street,
    block_faces,
    block_rows,
    window_grid,
)
from scalewise.data.streets.canvas import Canvas, surface_row


def draw_building(
    canvas: Canvas,
    x: float,
    side: int,
    z0: float,
    z1: float,
    u: np.ndarray,
    style: dict[str, float],
) -> None:
    """Paint a building from z0 to z1 whose front is at x; `u` are 16 random numbers."""
    floors = 1 + int(u[7] * u[7] * 5 * style["building_height"] + 1.2 * style["building_height"])
    floor_height, deep = 3.0 + 0.5 * u[8], 9.0
    top = floors * floor_height + 0.6
    material = "brick" if u[9] < 0.3 else "plaster"

    def rows(what: str, variant: float) -> np.ndarray:
        return block_rows("building", what, variant, x, side, z0)

    if u[10] < 0.45:  # a pitched roof, seen beyond the eaves
        ridge, half = top + 1.6 + 1.5 * u[11], deep / 2
        slope = [
            (x, top, z0),
            (x, top, z1),
            (x + side * half, ridge, z1),
            (x + side * half, ridge, z0),
        ]
        gable = [
            (x, top, z0),
            (x + side * deep, top, z0),
            (x + side * half, ridge, z0),
            (x, top, z0),
        ]
        canvas.paint(
            np.array([slope]),
            surface_row("building", "roof", u[11], (-side * 0.6, 0.8, 0), (1, 0, 0, x))[None],
        )
        canvas.paint(np.array([gable]), rows(material, u[9])[:1])
    canvas.paint(block_faces(x, side, z0, z1, 0, top, deep), rows(material, u[9]))
    canvas.cast_shadow((x, x + side * deep), (z0, z1), top)

    glass = rows("window", u[12])
    step = 1.7 + 1.1 * u[13]
    ground = floor_height if u[14] < 0.5 else 0.2
    along = window_grid(z0, z1, ground, top, step, floor_height)
    near, far = sorted((x, x + side * deep))
    across = window_grid(near, far, 0.2, top, step, floor_height)
    canvas.paint_alike(across_street(z0, across), glass[0])
    if u[13] > 0.5:  # bright frames around the panes
        centre = along.mean(1, keepdims=True)
        frame = surface_row("building", "coping", u[12], (-side, 0, 0), (1, 0, 0, x))
        canvas.paint_alike(along_street(x, centre + (along - centre) * 1.35), frame)
    canvas.paint_alike(along_street(x, along), glass[1])
    if u[14] < 0.5:  # a shop below, with windows of its own and an awning
        front = block_faces(x, side, z0, z1, 0.0, floor_height * 0.95, deep)[1:]
        canvas.paint(front, rows("shop", u[15])[1:])
        panes = window_grid(z0, z1, 0.0, 3.2, 3.2, 2.6)
        canvas.paint_alike(along_street(x, panes * (1, 1.1)), glass[1])
    cornice = block_faces(x, side, z0, z1, top - 0.35, top, deep)
    canvas.paint(cornice, rows("coping", u[9]))
