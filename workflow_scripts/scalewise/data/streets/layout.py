"""Where the parts of a street are."""

from dataclasses import dataclass

import numpy as np

END = 75.0  # metres; the street ends here
CROSSING_WIDTH = 7.5  # metres
LANE = 3.2  # metres


@dataclass(frozen=True)
class Layout:
    """Where the parts of the street are, in metres; x of their edges, z of the crossing."""

    road: tuple[float, float]
    parking: tuple[bool, bool]
    walk: tuple[float, float]  # outer edges of the sidewalks
    front: tuple[float, float]  # where buildings begin
    crossing: float | None
    rails: bool


def lay_out(rng: np.random.Generator) -> Layout:
    """Return a random layout."""
    u = rng.random(12)
    parking = (bool(u[0] < 0.5), bool(u[1] < 0.6))
    left = -LANE * (1.5 if u[2] < 0.7 else 2.5) - 2.2 * parking[0]
    right = LANE * 0.5 + 0.3 + 2.2 * parking[1]
    walk = (left - 1.8 - 2.2 * u[3], right + 1.8 + 2.2 * u[4])
    verge = [1.0 + 4.0 * w if chance < 0.55 else 0.0 for w, chance in (u[5:7], u[7:9])]
    crossing = 16.0 + 26.0 * u[10] if u[9] < 0.5 else None
    return Layout(
        (left, right),
        parking,
        walk,
        (walk[0] - verge[0], walk[1] + verge[1]),
        crossing,
        bool(u[11] < 0.3),
    )
