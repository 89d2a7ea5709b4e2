"""The shapes of lamp posts, traffic lights and traffic signs."""

from scalewise.data.streets.shapes import Shape, Shaper, disc, rectangle


def lamp_post(height: float) -> Shape:
    """Return a lamp on an arm of a post `height` metres high."""
    s = Shaper("pole")
    s.bar((0, 0), (0, 1.0), 0.34, "pole")
    s.bar((0, 0), (0, height), 0.24, "pole")
    s.bar((0, height), (1.3, height + 0.3), 0.17, "pole")
    s.bar((1.0, height + 0.26), (1.7, height + 0.3), 0.2, "lamp head")
    return s.shape()


def _add_light_head(s: Shaper, right: float, up: float, lit: str) -> None:
    s.label = "traffic light"
    s.flat(rectangle(right - 0.24, right + 0.24, up - 0.62, up + 0.62), "light box")
    for above, name in ((0.38, "red lamp"), (0.0, "lamp off"), (-0.38, "green lamp")):
        s.flat(disc(right, up + above, 0.16), name if name == lit else "lamp off", 1)


def traffic_light(lit: str, arm: float) -> Shape:
    """Return a light on a post, with a second one over the road on an arm of `arm` metres."""
    s = Shaper("pole")
    s.bar((0, 0), (0, 5.6 if arm else 2.9), 0.24, "pole")
    if arm:
        s.bar((0, 5.5), (-arm, 5.5), 0.2, "pole")
        _add_light_head(s, -arm, 5.2, lit)
    _add_light_head(s, 0.0, 3.1, lit)
    return s.shape()


def traffic_sign(kind: str) -> Shape:
    """Return a sign on a post: "ban", "warning", "order", or else a board."""
    s = Shaper("pole")
    s.bar((0, 0), (0, 2.6), 0.19, "pole")
    s.label = "traffic sign"
    if kind == "ban":
        s.flat(disc(0, 2.7, 0.47), "sign rim")
        s.flat(disc(0, 2.7, 0.33), "sign face")
    elif kind == "warning":
        s.flat([(-0.55, 2.3), (0.55, 2.3), (0, 3.2)], "sign rim")
        s.flat([(-0.33, 2.42), (0.33, 2.42), (0, 2.96)], "sign face")
    elif kind == "order":
        s.flat(disc(0, 2.7, 0.47), "sign board")
        s.bar((0, 2.42), (0, 2.98), 0.14, "sign face")
    else:
        s.flat(rectangle(-0.75, 0.75, 2.3, 3.3), "sign board", 1)
        for up in (2.55, 2.8, 3.05):
            s.bar((-0.55, up), (0.45, up), 0.1, "sign face")
    return s.shape()
