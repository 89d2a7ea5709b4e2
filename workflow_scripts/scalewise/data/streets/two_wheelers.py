"""The shapes of bicycles and motorcycles, alone and with a rider."""

from scalewise.data.streets.shapes import Shape, Shaper, disc


def _add_bicycle(s: Shaper) -> None:
    s.label = "bicycle"
    for forward in (-0.53, 0.53):
        s.prism(disc(forward, 0.36, 0.36)[::2], 0.04, "tyre")
        s.sides(0.041, disc(forward, 0.36, 0.28), "spokes")
    for start, stop in (
        ((-0.53, 0.35), (-0.05, 0.3)),
        ((-0.05, 0.3), (-0.18, 0.88)),
        ((-0.53, 0.35), (-0.16, 0.78)),
        ((-0.05, 0.3), (0.4, 0.8)),
        ((-0.16, 0.78), (0.4, 0.8)),
        ((0.53, 0.35), (0.38, 1.0)),
    ):
        s.bar(start, stop, 0.075, "paint", 3, across=True)
    s.bar((-0.32, 0.92), (-0.02, 0.92), 0.09, "trim", across=True)
    s.bar((-0.3, 1.02), (0.3, 1.02), 0.07, "trim")
    s.bar((-0.12, 0.9), (0.12, 0.9), 0.1, "trim")


def _add_motorcycle(s: Shaper) -> None:
    s.label = "motorcycle"
    for forward in (-0.72, 0.75):
        s.prism(disc(forward, 0.34, 0.34)[::2], 0.09, "tyre")
        s.sides(0.091, disc(forward, 0.34, 0.18), "metal")
    s.box(0.17, (0.3, 0.6), (-0.28, 0.3), "metal")
    s.prism(
        [(-0.95, 0.72), (-0.2, 0.55), (0.5, 0.6), (0.45, 0.98), (0.05, 0.98), (-0.9, 0.86)],
        0.19,
        "paint",
        3,
    )
    s.sides(0.2, [(-0.85, 0.8), (-0.05, 0.72), (-0.02, 0.88), (-0.8, 0.9)], "trim")
    s.bar((0.72, 0.35), (0.45, 1.08), 0.12, "metal", across=True)
    s.prism([(0.5, 0.75), (0.75, 0.8), (0.6, 1.12), (0.5, 1.1)], 0.17, "paint", 3)
    s.bar((-0.42, 1.06), (0.42, 1.06), 0.08, "trim")
    s.end(-0.97, (-0.14, 0.14), (0.7, 0.84), "tail light")
    s.end(0.77, (-0.13, 0.13), (0.82, 1.02), "headlight")


def _add_rider(s: Shaper, seat: float, helmet: bool) -> None:
    """Add somebody who sits `seat` metres high: seen from the side and, crosswise, from behind."""
    s.label = "rider"
    head = "paint" if helmet else "hair"
    hip, shoulder, hand = (-0.2, seat), (0.12, seat + 0.55), (0.4, seat + 0.12)
    s.bar(hip, (0.2, seat - 0.22), 0.2, "clothes", 1, across=True)
    s.bar((0.2, seat - 0.22), (0.04, seat - 0.62), 0.17, "clothes", 1, across=True)
    s.bar((-0.22, seat - 0.06), shoulder, 0.36, "clothes", across=True)
    s.bar(shoulder, hand, 0.13, "clothes", across=True)
    s.face([(0.0, u, f) for f, u in disc(0.22, seat + 0.78, 0.16)], "skin", slot=2)
    s.face([(0.0, u, f) for f, u in disc(0.19, seat + 0.83, 0.15)], head, slot=2)
    for side in (-1, 1):
        s.bar((side * 0.13, seat), (side * 0.19, seat - 0.32), 0.19, "clothes", 1)
        s.bar((side * 0.19, seat - 0.3), (side * 0.16, seat - 0.65), 0.16, "clothes", 1)
        s.bar((side * 0.24, seat + 0.5), (side * 0.33, seat + 0.14), 0.14, "clothes")
    torso = [(-0.19, seat - 0.08), (0.19, seat - 0.08), (0.27, seat + 0.52), (-0.27, seat + 0.52)]
    s.flat(torso, "clothes")
    s.flat(disc(0.0, seat + 0.72, 0.16), "skin", 2)
    s.flat(disc(0.0, seat + 0.78, 0.16), head, 2)


def two_wheeler(kind: str, ridden: bool) -> Shape:
    """Return a "bicycle" or a "motorcycle", with a rider on it if `ridden`."""
    s = Shaper(kind)
    if kind == "bicycle":
        _add_bicycle(s)
    else:
        _add_motorcycle(s)
    if ridden:
        _add_rider(s, 0.95 if kind == "bicycle" else 0.85, helmet=kind == "motorcycle")
    return s.shape()
