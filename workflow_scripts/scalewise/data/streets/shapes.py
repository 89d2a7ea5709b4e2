"""Things as shapes: lists of convex faces, how they are built and how they are painted.

A shape has its own axes: right, up, forward, in metres. A solid's faces are hidden where they look
away from the camera; flat ones, such as a sign, are seen from both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalewise.data.streets.canvas import LABEL_ID, TO_CAMERA, Canvas, Pair
from scalewise.data.streets.materials import MATERIAL_NUMBER

CORNERS = 12  # at most, of one face; a disc has them all
CIRCLE_TURN = np.arange(CORNERS) * (2 * np.pi / CORNERS)
CIRCLE = np.stack([np.cos(CIRCLE_TURN), np.sin(CIRCLE_TURN)])
Points = Sequence[Pair]


@dataclass(frozen=True)
class Shape:
    """n faces: points float64 (n, 12, 3), and for each face its normal and its surface."""

    points: np.ndarray
    corners: np.ndarray  # (n,) how many of the 12 points are corners; the rest repeat the last
    normals: np.ndarray  # (n, 3); zero for flat ones
    labels: np.ndarray
    materials: np.ndarray
    slots: np.ndarray  # which of the thing's random variants picks the colour
    groups: np.ndarray  # (n,) forward position of the part; parts are drawn from far to near
    size: tuple[float, float, float]  # right, up, forward


class Shaper:
    """Collects the faces of a shape."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.group = 0.0
        self.faces: list[tuple] = []

    def face(
        self,
        points: Sequence[tuple[float, float, float]],
        material: str,
        normal: Sequence[float] = (0.0, 0.0, 0.0),
        slot: int = 0,
    ) -> None:
        """Add one convex polygon of up to 12 points."""
        points = np.asarray(points, float)
        padded = points[np.minimum(np.arange(CORNERS), len(points) - 1)]
        surface = (LABEL_ID[self.label], MATERIAL_NUMBER[material], slot, self.group)
        self.faces.append((padded, len(points), normal, *surface))

    def prism(self, profile: Points, half_width: float, material: str, slot: int = 0) -> None:
        """Add a solid whose side is `profile`: (forward, up) points, anticlockwise."""
        for side in (-half_width, half_width):
            points = [(side, up, forward) for forward, up in profile]
            self.face(points, material, (np.sign(side), 0, 0), slot)
        for (f0, u0), (f1, u1) in zip(profile, [*profile[1:], profile[0]], strict=True):
            quad = [
                (-half_width, u0, f0),
                (half_width, u0, f0),
                (half_width, u1, f1),
                (-half_width, u1, f1),
            ]
            length = np.hypot(f1 - f0, u1 - u0)
            self.face(quad, material, (0, (f0 - f1) / length, (u1 - u0) / length), slot)

    def box(self, half_width: float, up: Pair, forward: Pair, material: str, slot: int = 0) -> None:
        """Add a box; `up` and `forward` are (from, to)."""
        (u0, u1), (f0, f1) = up, forward
        self.prism([(f0, u1), (f0, u0), (f1, u0), (f1, u1)], half_width, material, slot)

    def sides(self, half_width: float, polygon: Points, material: str, slot: int = 0) -> None:
        """Add a polygon of (forward, up) points to both sides of a solid."""
        for side in (-half_width, half_width):
            self.face([(side, u, f) for f, u in polygon], material, (np.sign(side), 0, 0), slot)

    def end(self, forward: float, right: Pair, up: Pair, material: str, slot: int = 0) -> None:
        """Add a rectangle to the front (forward > 0) or the back of a solid."""
        (r0, r1), (u0, u1) = right, up
        quad = [(r0, u0, forward), (r1, u0, forward), (r1, u1, forward), (r0, u1, forward)]
        self.face(quad, material, (0, 0, np.sign(forward)), slot)

    def flat(self, polygon: Points, material: str, slot: int = 0) -> None:
        """Add a flat polygon of (right, up) points."""
        self.face([(r, u, 0.0) for r, u in polygon], material, slot=slot)

    def bar(
        self,
        start: Pair,
        stop: Pair,
        width: float,
        material: str,
        slot: int = 0,
        across: bool = False,
    ) -> None:
        """Add a flat bar between two (right, up) points, or (forward, up) ones if `across`."""
        (a, b), (c, d) = start, stop
        half = width / 2 / max(np.hypot(c - a, d - b), 1e-6)
        along, up = (d - b) * half, (a - c) * half
        polygon = [
            (a - along, b - up),
            (a + along, b + up),
            (c + along, d + up),
            (c - along, d - up),
        ]
        if across:
            self.face([(0.0, u, f) for f, u in polygon], material, slot=slot)
        else:
            self.flat(polygon, material, slot)

    def shape(self) -> Shape:
        """Return what was added."""
        columns = zip(*self.faces, strict=True)
        points, corners, normals, labels, materials, slots, groups = map(np.array, columns)
        extent = np.abs(points).max((0, 1))
        size = (2 * extent[0], extent[1], 2 * extent[2])
        return Shape(points, corners, normals, labels, materials, slots, groups, size)


def disc(a: float, b: float, radius: float) -> list[tuple[float, float]]:
    """Return 12 points around (a, b)."""
    return [(a + radius * x, b + radius * y) for x, y in CIRCLE.T]


def rectangle(a0: float, a1: float, b0: float, b1: float) -> list[tuple[float, float]]:
    """Return the corners of a0..a1 by b0..b1."""
    return [(a0, b0), (a1, b0), (a1, b1), (a0, b1)]


def place_shape(
    canvas: Canvas,
    shape: Shape,
    x: float,
    z: float,
    heading: float,
    scale: np.ndarray,
    variants: np.ndarray,
) -> None:
    """Paint a shape that stands at (x, z) and looks along `heading`: 0 away from the camera."""
    radius = max(shape.size[0] * abs(scale[0]), shape.size[2] * scale[2]) / 2
    if not canvas.sees(x, z, radius):
        return
    sine, cosine = np.sin(heading), np.cos(heading)
    turn = np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
    normals = shape.normals @ turn
    to_face = (shape.points[:, 0] * scale) @ turn + (x, -canvas.camera.above_ground, z)
    seen = np.flatnonzero((normals * to_face).sum(1) <= 0)
    # Carriages and cabs from far to near.
    seen = seen[np.argsort(-shape.groups[seen] * cosine, kind="stable")]
    rows = np.empty((len(seen), 11), np.float32)
    rows[:, 0] = shape.labels[seen]
    rows[:, 1] = shape.materials[seen]
    rows[:, 2] = variants[shape.slots[seen]]
    rows[:, 3] = 1.0
    rows[:, 4:7] = np.where(shape.normals[seen].any(1, keepdims=True), normals[seen], TO_CAMERA)
    rows[:, 7:11] = (0, 0, 1, z)
    corners = shape.corners[seen]
    used = np.arange(CORNERS) < corners[:, None]
    points = (shape.points[seen][used] * scale) @ turn + (x, 0.0, z)
    canvas.paint_mixed(points, corners.tolist(), rows)
    half_width, half_length = shape.size[0] * scale[0] / 2, shape.size[2] * scale[2] / 2
    # A flat thing has no depth of its own; its shadow needs some.
    outline = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, max(half_length, 0.15))
    footprint = outline @ turn[::2, ::2] + (x, z)
    canvas.casters.append((footprint, shape.size[1] * scale[1] * 0.8))
