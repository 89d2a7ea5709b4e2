"""Things in the street: vehicles, people, posts and trees, and where they stand."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from scalewise.data.streets.canvas import Canvas
from scalewise.data.streets.layout import LANE, Layout
from scalewise.data.streets.pedestrians import person
from scalewise.data.streets.posts import lamp_post, traffic_light, traffic_sign
from scalewise.data.streets.shapes import Shape, place_shape
from scalewise.data.streets.trees import draw_tree
from scalewise.data.streets.two_wheelers import two_wheeler
from scalewise.data.streets.vehicles import bus, car, train, truck


@cache
def models_of(kind: str) -> tuple[Shape, ...]:
    """Return the models of one kind of thing."""
    models = {
        "car": lambda: (
            car(-1.75, -1.2, 0.35, 1.05, 1.45),
            car(-2.1, -1.8, 0.3, 1.1, 1.5),
            car(-2.12, -2.0, 0.75, 1.35, 1.75),
        ),
        "truck": lambda: (truck(),),
        "bus": lambda: (bus(),),
        "train": lambda: (train(),),
        "bicycle": lambda: (two_wheeler("bicycle", False),),
        "motorcycle": lambda: (two_wheeler("motorcycle", False),),
        "cyclist": lambda: (two_wheeler("bicycle", True),),
        "biker": lambda: (two_wheeler("motorcycle", True),),
        "person": lambda: (
            person(0.02, 0.03, 0.0),
            person(0.16, 0.08, 0.0),
            person(0.24, 0.14, 0.05),
            person(0.06, 0.05, 0.45),
        ),
        "lamp post": lambda: (lamp_post(6.5), lamp_post(5.0)),
        "traffic light": lambda: (
            traffic_light("red lamp", 0.0),
            traffic_light("green lamp", 0.0),
            traffic_light("red lamp", 3.2),
        ),
        "traffic sign": lambda: tuple(map(traffic_sign, ("ban", "warning", "order", "board"))),
    }
    return models[kind]()


@dataclass(frozen=True)
class Thing:
    """Something that stands in the street at (x, z), in metres; `u` are its 12 random numbers."""

    kind: str
    x: float
    z: float
    heading: float
    u: np.ndarray

    def draw(self, canvas: Canvas) -> None:
        """Paint it."""
        if self.kind == "tree":
            draw_tree(canvas, self.x, self.z, self.u)
            return
        models = models_of(self.kind)
        shape = models[int(self.u[0] * len(models))]
        # Things of a kind differ in size, mostly together along all axes.
        scale = (0.92 + 0.16 * self.u[1]) * (0.95 + 0.1 * self.u[2:5])
        if self.kind == "person" and self.u[1] < 0.15:
            scale = scale * 0.68  # a child
        mirrored = (
            self.u[5] < 0.5
            and self.kind in ("person", "lamp post")
            or self.x < 0
            and self.kind == "traffic light"
        )
        scale = scale * (-1.0 if mirrored else 1.0, 1.0, 1.0)
        place_shape(canvas, shape, self.x, self.z, self.heading, scale, (self.u[4:8] * 7.31) % 1.0)


# Half of the room that a vehicle takes, across and along its way, in metres.
_ROOM = {
    "car": (1.0, 2.6),
    "truck": (1.3, 4.3),
    "bus": (1.35, 6.2),
    "train": (1.35, 10.0),
    "biker": (0.5, 1.5),
    "cyclist": (0.4, 1.3),
}


def traffic(rng: np.random.Generator, layout: Layout, clutter: float) -> list[Thing]:
    """Return the vehicles on the road and at its edges."""
    # Large and rare ones first: they find room, the many cars fill what is left.
    kinds = [
        kind
        for kind, chance in (("train", 0.24), ("bus", 0.32), ("truck", 0.36))
        if rng.random() < chance * clutter
    ]
    kinds += ["biker"] * int(0.55 * clutter + rng.random())
    kinds += ["cyclist"] * int(1.5 * clutter + rng.random())
    kinds += ["car"] * int((3.0 + 5.0 * rng.random()) * clutter + rng.random())
    lanes = {"own": 0.0, "oncoming": -LANE, "across": 0.0}
    if layout.parking[0]:
        lanes["left"] = layout.road[0] + 1.1
    if layout.parking[1]:
        lanes["right"] = layout.road[1] - 1.1
    taken = np.empty((0, 4))  # x and z of centres, half widths along x and z
    things = []
    for kind in kinds:
        u = rng.random(12)
        choice = [lane for lane in lanes if _fits(kind, lane, layout)]
        lane = choice[int(u[8] * len(choice))]
        wide, long = _ROOM[kind]
        if lane == "across":
            x, near = (u[9] - 0.5) * 36, u[10] < 0.5
            z = layout.crossing + (2.0 if near else 5.4)
            heading = np.pi * (0.5 if near else 1.5)
            wide, long = long, wide
        else:
            away = lane in ("own", "right") or (lane == "left" and u[10] < 0.3)
            x = lanes[lane] + (u[11] - 0.5) * 0.5
            if kind in ("cyclist", "biker"):
                x += 1.2 if away else -1.0
            z = 6.5 + long + 28.0 * u[9] ** 1.3
            heading = (0.0 if away else np.pi) + (u[10] - 0.5) * 0.12
        room = np.array([x, z, wide, long])
        # Whoever finds the place taken stays away.
        if (np.abs(taken - room)[:, :2] >= (taken + room)[:, 2:]).any(1).all():
            taken = np.vstack([taken, room])
            things.append(Thing(kind, x, z, heading, u))
    return things


def _fits(kind: str, lane: str, layout: Layout) -> bool:
    if lane == "across":
        return layout.crossing is not None
    if kind == "train":
        return lane == "oncoming"
    if kind == "bus":
        return lane in ("own", "oncoming")
    return lane in ("own", "oncoming") or kind in ("car", "truck")


def furniture(rng: np.random.Generator, layout: Layout, style: dict[str, float]) -> list[Thing]:
    """Return the people, the parked two-wheelers, poles, lights, signs and trees at the road."""
    clutter = style["clutter"]
    things = []

    def spread(
        kind: str, mean: float, inner: float, outer: float, heading: float | None = None
    ) -> None:
        """Put things on the sidewalks, between two shares of their width."""
        for _ in range(int(mean * (0.4 + 1.2 * rng.random()) + rng.random())):
            u = rng.random(12)
            side = int(u[8] < 0.5)
            kerb, edge = layout.road[side], layout.walk[side]
            x = kerb + (edge - kerb) * (inner + (outer - inner) * u[9])
            z = 7.5 + 16.5 * u[10] ** 1.2
            turn = 2 * np.pi * u[11] if heading is None else heading
            things.append(Thing(kind, x, z, turn, u))

    spread("person", 4.5 * clutter, 0.15, 0.9, 0.0)
    spread("bicycle", 1.7 * clutter, 0.1, 0.95)
    spread("motorcycle", 1.2 * clutter, -0.1, 0.4)
    spread("lamp post", 1.8, 0.1, 0.16, 0.0)
    spread("traffic sign", 1.9 * clutter, 0.08, 0.2, 0.0)
    spread("traffic light", 1.0 * clutter, 0.06, 0.14, 0.0)
    spread("tree", 3.0 * style["greenery"], 0.2, 1.1, 0.0)
    for _ in range(int(1.2 * clutter * rng.random() + 0.5)):  # people who cross the road
        u = rng.random(12)
        x = layout.road[0] + (layout.road[1] - layout.road[0]) * u[9]
        things.append(Thing("person", x, 8.0 + 16.0 * u[10], 0.0, u))
    if layout.crossing is not None:
        for x in (layout.road[0] - 0.5, layout.road[1] + 0.5):
            u = rng.random(12)
            things.append(Thing("traffic light", x, layout.crossing - 3.8, 0.0, u))
    return things
