"""The shapes of people on foot."""

from scalewise.data.streets.shapes import Shape, Shaper, disc


def person(stride: float, arm: float, coat: float) -> Shape:
    """Return a pedestrian; metres between the feet, of the arms, and of a coat below the hip."""
    s = Shaper("person")
    for side in (-1, 1):
        knee = (side * (0.09 + stride * 0.4), 0.48)
        s.bar((side * 0.09, 0.92), knee, 0.19, "clothes", 1)
        s.bar(knee, (side * (0.08 + stride), 0.06), 0.15, "clothes", 1)
        s.bar((side * (0.06 + stride), 0.04), (side * (0.18 + stride), 0.04), 0.09, "trim")
        s.bar((side * 0.22, 1.42), (side * (0.27 + arm), 0.86), 0.12, "clothes")
        s.flat(disc(side * (0.27 + arm), 0.83, 0.06), "skin", 2)
    s.flat(
        [
            (-0.2, 0.88 - coat),
            (0.2, 0.88 - coat),
            (0.26, 1.45),
            (0.12, 1.52),
            (-0.12, 1.52),
            (-0.26, 1.45),
        ],
        "clothes",
    )
    s.flat(disc(0.0, 1.64, 0.13), "skin", 2)
    s.flat(disc(0.0, 1.7, 0.12), "hair", 3)
    return s.shape()
