"""A whole scene, painted from far to near."""

import itertools

import numpy as np

from scalewise.data.streets.blocks import across_street, window_grid
from scalewise.data.streets.camera import FAR
from scalewise.data.streets.canvas import TO_CAMERA, Canvas, surface_row
from scalewise.data.streets.ground import draw_ground
from scalewise.data.streets.layout import END, lay_out
from scalewise.data.streets.roadside import draw_roadside
from scalewise.data.streets.things import furniture, traffic
from scalewise.data.streets.trees import draw_foliage


def draw_scene(canvas: Canvas, rng: np.random.Generator, style: dict[str, float]) -> None:
    """Paint a random street; of `style` only the content parameters matter."""
    layout = lay_out(rng)
    _draw_sky(canvas, rng)
    draw_ground(canvas, rng, layout)
    _draw_background(canvas, rng, style)
    for side in (-1, 1):
        draw_roadside(canvas, rng, layout, side, style)
    things = traffic(rng, layout, style["clutter"]) + furniture(rng, layout, style)
    for thing in sorted(things, key=lambda thing: -thing.z):
        thing.draw(canvas)


def _draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    camera, variant = canvas.camera, rng.random()
    reach = 3 * FAR * max(1.0, camera.width / camera.focal)
    # Paler towards the horizon.
    heights = np.array([0.0, 0.03, 0.08, 0.15, 0.26, 0.4, 3.0]) * reach
    quads = [
        [(-reach, a, FAR), (reach, a, FAR), (reach, b, FAR), (-reach, b, FAR)]
        for a, b in itertools.pairwise(heights)
    ]
    rows = [
        surface_row("sky", "sky", variant, TO_CAMERA, (0, 0, 1, FAR), shade)
        for shade in (1.1, 1.07, 1.03, 0.99, 0.95, 0.9)
    ]
    # Whatever no polygon covers is surface 0; below the horizon the ground hides it.
    canvas.paint(np.array(quads), np.array(rows))


def _draw_background(canvas: Canvas, rng: np.random.Generator, style: dict[str, float]) -> None:
    """Paint what closes the street: a row of houses and trees 75 to 110 metres away."""
    for z in (105.0, END):
        count = 10
        xs, u = np.sort(rng.uniform(-1.4, 1.4, count)) * z, rng.random((count, 4))
        for x, (kind, size, variant, wide) in zip(xs, u, strict=True):
            if not canvas.sees(x, z, 14):
                continue
            plane = (0, 0, 1, z)
            if kind < style["greenery"]:
                draw_foliage(canvas, (x, z), (6 + 5 * wide, 3 + 7 * size), 0.0, variant, u[:, 0])
            else:
                x1, top = x + 9 + 9 * wide, (5 + 11 * size) * style["building_height"]
                facade = np.array([[(x, 0, z), (x1, 0, z), (x1, top, z), (x, top, z)]])
                wall = surface_row("building", "plaster", variant, TO_CAMERA, plane)
                canvas.paint(facade, wall[None])
                panes = window_grid(x, x1, 1.2, top, 2.4, 3.0)
                glass = surface_row("building", "window", variant, TO_CAMERA, plane)
                canvas.paint_alike(across_street(z, panes), glass)
