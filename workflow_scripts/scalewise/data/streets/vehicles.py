"""The shapes of cars, trucks, buses and trains."""

from collections.abc import Sequence

import numpy as np

from scalewise.data.streets.shapes import Shape, Shaper, disc, rectangle


def _add_wheels(s: Shaper, half_width: float, positions: Sequence[float], radius: float) -> None:
    for forward in positions:
        s.sides(half_width, disc(forward, radius, radius), "tyre")
        s.sides(half_width, disc(forward, radius, radius * 0.5), "metal")


def car(tail: float, roof_back: float, roof_front: float, bonnet: float, top: float) -> Shape:
    """Return a car; the arguments say where its cabin begins, its roof, and how high it is."""
    s = Shaper("car")
    s.box(0.8, (0.04, 0.4), (-1.95, 1.95), "tyre")
    body = [
        (-2.15, 0.28),
        (2.15, 0.28),
        (2.15, 0.68),
        (2.0, 0.82),
        (bonnet, 0.95),
        (tail, 0.97),
        (-2.15, 0.85),
    ]
    s.prism(body, 0.9, "paint")
    _add_wheels(s, 0.91, (-1.35, 1.35), 0.33)
    s.end(-2.16, (-0.88, 0.88), (0.28, 0.42), "trim")
    s.end(-2.16, (-0.27, 0.27), (0.5, 0.62), "plate")
    s.end(2.16, (-0.5, 0.5), (0.36, 0.6), "trim")
    s.end(2.16, (-0.24, 0.24), (0.42, 0.52), "plate")
    for right in (-0.86, 0.52):
        s.end(-2.16, (right, right + 0.34), (0.64, 0.82), "tail light")
        s.end(2.16, (right, right + 0.34), (0.52, 0.66), "headlight")
    s.prism([(tail, 0.95), (bonnet, 0.95), (roof_front, top), (roof_back, top)], 0.8, "paint")
    sill, head = 1.0, top - 0.07
    back, front = roof_back + 0.05, roof_front - 0.02
    s.sides(0.81, [(tail + 0.25, sill), (-0.25, sill), (-0.25, head), (back, head)], "glass")
    s.sides(0.81, [(-0.15, sill), (bonnet - 0.25, sill), (front, head), (-0.15, head)], "glass")
    for low, high, sign in ((tail, roof_back, -1), (bonnet, roof_front, 1)):
        slope = np.array([high - low, top - 0.95])
        (f0, u0), (f1, u1) = (
            np.array([low, 0.95]) + np.outer([0.1, 0.88], slope) + [sign * 0.02, 0.01]
        )
        pane = [(-0.7, u0, f0), (0.7, u0, f0), (0.62, u1, f1), (-0.62, u1, f1)]
        s.face(pane, "glass", (0, 0.5, sign))
    return s.shape()


def truck() -> Shape:
    """Return a truck of a box and a cab."""
    s = Shaper("truck")
    s.group = -1.2
    s.box(1.0, (0.35, 0.95), (-3.6, 3.0), "trim")
    _add_wheels(s, 1.12, (-2.7, -1.6), 0.5)
    s.box(1.25, (0.95, 3.4), (-3.7, 1.1), "truck box", 1)
    s.sides(1.26, rectangle(-3.2, 0.6, 1.7, 2.6), "paint", 2)
    s.end(-3.71, (-0.04, 0.04), (1.0, 3.3), "trim")
    s.end(-3.71, (-1.2, 1.2), (0.95, 1.05), "trim")
    for right in (-1.1, 0.75):
        s.end(-3.71, (right, right + 0.35), (0.7, 0.88), "tail light")
    s.group = 2.2
    s.prism([(1.3, 0.5), (3.2, 0.5), (3.2, 1.5), (2.95, 2.75), (1.3, 2.75)], 1.18, "paint")
    _add_wheels(s, 1.19, (2.35,), 0.5)
    s.sides(1.19, [(1.9, 1.6), (3.0, 1.6), (2.85, 2.4), (1.9, 2.4)], "glass")
    s.face(
        [(-1.05, 1.55, 3.22), (1.05, 1.55, 3.22), (1.0, 2.5, 3.02), (-1.0, 2.5, 3.02)],
        "glass",
        (0, 0, 1),
    )
    s.end(3.21, (-0.75, 0.75), (0.75, 1.25), "trim")
    for right in (-1.1, 0.8):
        s.end(3.21, (right, right + 0.3), (0.65, 0.9), "headlight")
    return s.shape()


def bus() -> Shape:
    """Return a bus."""
    s = Shaper("bus")
    s.box(1.1, (0.1, 0.5), (-5.2, 5.2), "tyre")
    s.box(1.27, (0.32, 3.05), (-5.5, 5.5), "bus paint")
    s.sides(1.28, rectangle(-5.5, 5.5, 0.32, 0.75), "paint", 1)
    for forward in np.arange(-5.2, 4.0, 1.75):
        s.sides(1.28, rectangle(forward, forward + 1.6, 1.3, 2.45), "glass")
    s.sides(1.28, rectangle(4.0, 5.0, 0.5, 2.5), "glass", 1)
    _add_wheels(s, 1.29, (-3.4, 3.0), 0.5)
    s.end(5.51, (-1.15, 1.15), (1.05, 2.45), "glass")
    s.end(5.51, (-0.8, 0.8), (2.6, 2.9), "display")
    s.end(-5.51, (-0.95, 0.95), (1.6, 2.45), "glass")
    s.end(-5.51, (-0.7, 0.7), (0.55, 1.2), "trim")
    for right in (-1.15, 0.85):
        s.end(5.51, (right, right + 0.3), (0.6, 0.8), "headlight")
        s.end(-5.51, (right, right + 0.3), (0.7, 1.3), "tail light")
    return s.shape()


def train() -> Shape:
    """Return a tram of two carriages."""
    s = Shaper("train")
    for middle, outer in ((-4.7, -9.3), (4.7, 9.3)):
        s.group = middle
        ends = sorted((outer, 0.15 * np.sign(outer)))
        s.box(0.9, (3.3, 3.75), (ends[0] + 1, ends[1] - 1), "metal")
        s.box(1.25, (0.15, 3.35), ends, "train paint")
        s.sides(1.26, rectangle(*ends, 0.15, 0.5), "trim")
        s.sides(1.26, rectangle(*ends, 1.0, 1.5), "train band", 1)
        for forward in np.arange(ends[0] + 0.5, ends[1] - 1.2, 1.9):
            s.sides(1.26, rectangle(forward, forward + 1.5, 1.65, 2.75), "glass")
        tip = outer * 1.001
        s.end(tip, (-1.15, 1.15), (1.55, 2.8), "glass")
        s.end(tip, (-1.25, 1.25), (0.9, 1.45), "train band", 1)
        s.end(tip, (-0.5, 0.5), (2.95, 3.2), "display")
        for right in (-0.95, 0.65):
            s.end(tip, (right, right + 0.3), (0.6, 0.8), "headlight" if outer > 0 else "tail light")
        s.end(tip, (-1.2, 1.2), (0.15, 0.45), "trim")
        # The bow that takes the current from the wire.
        s.bar((-0.6, 3.75), (0.0, 4.6), 0.1, "trim")
        s.bar((0.6, 3.75), (0.0, 4.6), 0.1, "trim")
        s.bar((-0.8, 4.6), (0.8, 4.6), 0.1, "trim")
    return s.shape()
