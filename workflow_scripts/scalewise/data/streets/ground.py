"""The ground of a street: road, sidewalks, grass, rails and markings."""

import numpy as np

from scalewise.data.streets.camera import FAR
from scalewise.data.streets.canvas import UP, Canvas, surface_row
from scalewise.data.streets.layout import CROSSING_WIDTH, END, LANE, Layout


def _strip(x0: float, x1: float, z0: float, z1: float) -> list[tuple[float, float, float]]:
    return [(x0, 0.0, z0), (x1, 0.0, z0), (x1, 0.0, z1), (x0, 0.0, z1)]


def draw_ground(canvas: Canvas, rng: np.random.Generator, layout: Layout) -> None:
    """Paint the ground up to the horizon and the markings on the road."""
    variants = dict(
        zip(("road", "sidewalk", "terrain", "marking", "rail", "kerb"), rng.random(6), strict=True)
    )
    kerb_side = rng.random() < 0.5
    plane = (0, 1, 0, -canvas.camera.above_ground)
    strips, rows = [], []

    def add(label: str, material: str, *edges: float) -> None:
        strips.append(_strip(*edges))
        rows.append(surface_row(label, material, variants[material], UP, plane))

    (left, right), (out_left, out_right) = layout.road, layout.walk
    add("terrain", "terrain", -FAR * 3, FAR * 3, 0, FAR)
    add("sidewalk", "sidewalk", out_left, out_right, 0, END)
    if kerb_side:  # a strip of grass between road and sidewalk
        add("terrain", "terrain", left - 1.1, left, 0, END)
    add("road", "road", left, right, 0, END)
    add("sidewalk", "kerb", left - 0.18, left, 0, END)
    add("sidewalk", "kerb", right, right + 0.18, 0, END)
    if layout.crossing is not None:
        z0, z1 = layout.crossing, layout.crossing + CROSSING_WIDTH
        add("sidewalk", "sidewalk", -90, 90, z0 - 2.6, z1 + 2.6)
        add("road", "road", -90, 90, z0, z1)
        add("road", "road", left, right, z0 - 3, z1 + 3)
    if layout.rails:
        for x in (-LANE - 0.75, -LANE + 0.65):
            add("road", "rail", x, x + 0.12, 0, END)
    canvas.paint(np.array(strips), np.array(rows))

    middle = -LANE / 2
    dashes = [_strip(middle - 0.08, middle + 0.08, z, z + 2.5) for z in np.arange(1.0, 60.0, 6.0)]
    edge = END if layout.crossing is None else layout.crossing - 3.8
    lines = [_strip(x - 0.06, x + 0.06, 0.0, edge) for x in (left + 0.35, right - 0.35)]
    marks = np.array(dashes + lines)
    if layout.crossing is not None:
        marks = marks[
            ~((marks[:, 0, 2] > layout.crossing - 6) & (marks[:, 0, 2] < layout.crossing + 10))
        ]
        bars = np.arange(left + 0.5, right - 0.8, 1.0)
        zebra = [_strip(x, x + 0.5, layout.crossing - 3.6, layout.crossing - 0.9) for x in bars]
        marks = np.concatenate([marks, np.array(zebra)])
    canvas.paint_alike(marks, surface_row("road", "marking", variants["marking"], UP, plane))
