"""Procedurally drawn street scenes in the 19 classes of Cityscapes.

A scene is built in metres, seen through a pinhole camera and painted from far to near on one canvas
of surface numbers. A table then says for every surface which class it is, what it is made of and in
which plane it lies. Labels are looked up in that table before any light falls on it, so nothing
that concerns appearance can change them. A domain is a style: a flat dict of numbers, see `STYLE`.

World axes: x to the right, y up, z along the street; the camera stands at (0, camera_height, 0).
"""

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from scalewise.taxonomy import CITYSCAPES, CITYSCAPES_LABEL_IDS


class StyleParameter(NamedTuple):
    """One number of a style: its value in the source domain, its range, unit and meaning."""

    default: float
    low: float
    high: float
    unit: str
    meaning: str


STYLE: dict[str, StyleParameter] = {
    # Camera: changes where things are in the picture, and so the labels.
    "focal": StyleParameter(1.0, 0.3, 5.0, "0.55 image widths", "focal length; 2: objects x 2"),
    "camera_height": StyleParameter(1.5, 0.5, 6.0, "metres", "height above the road"),
    "camera_jitter": StyleParameter(1.0, 0.0, 5.0, "degrees at focal 1", "spread of pitch and yaw"),
    # Content: changes what stands in the street, and so the labels.
    "clutter": StyleParameter(1.0, 0.0, 2.0, "relative", "number of things in the street"),
    "greenery": StyleParameter(0.35, 0.0, 1.0, "share", "gardens and trees instead of buildings"),
    "building_height": StyleParameter(1.0, 0.4, 3.0, "relative", "height of the buildings"),
    # Appearance: changes colours alone.
    "palette": StyleParameter(0.0, 0.0, 1.0, "share", "0: first set of colours, 1: the other"),
    "illumination": StyleParameter(0.6, 0.0, 1.0, "share", "0: overcast sky, 1: low bright sun"),
    "exposure": StyleParameter(1.0, 0.2, 2.5, "relative", "amount of light"),
    "shadow": StyleParameter(0.5, 0.0, 1.0, "share", "darkness of shadows on the ground"),
    "warmth": StyleParameter(0.0, -0.5, 0.5, "share", "red against blue of the light"),
    "saturation": StyleParameter(1.0, 0.0, 2.0, "relative", "strength of colours; 0: grey"),
    "gamma": StyleParameter(1.0, 0.3, 3.0, "exponent", "tone curve; above 1: darker middle tones"),
    "fog": StyleParameter(0.1, 0.0, 5.0, "per 30 metres", "extinction; 1: haze hides 63 % at 30 m"),
    "texture": StyleParameter(1.0, 0.0, 3.0, "relative", "contrast of surface texture"),
    "variety": StyleParameter(1.0, 0.0, 2.0, "relative", "how much light differs between images"),
    "blur": StyleParameter(0.0, 0.0, 5.0, "pixels at 192 wide", "standard deviation of the lens"),
    "noise": StyleParameter(3.0, 0.0, 60.0, "grey levels", "standard deviation of the sensor"),
}
STYLE_DEFAULTS: dict[str, float] = {name: entry.default for name, entry in STYLE.items()}


def draw_street(
    seed: int, index: int, height: int, width: int, style: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw street scene `index` of the series `seed`.

    A pure function of its arguments. The scene itself depends on (seed, index) and on the content
    parameters alone: another camera sees the same street.

    Args:
        seed: number of the series, 0 or more.
        index: number of the scene within the series, 0 or more.
        height: pixels, 16 or more.
        width: pixels, 16 or more.
        style: values for some or all keys of `STYLE`; a missing one has its default.

    Returns:
        The image, uint8 (height, width, 3), RGB; and its labels, uint8 (height, width), in the
        label ids of Cityscapes' own files.

    Raises:
        ValueError: a key is unknown, a value is outside its range or the image is too small.
    """
    style = _complete(style)
    if min(height, width) < 16:
        raise ValueError(f"a street needs at least 16 x 16 pixels, got {height} x {width}")
    # Three streams, so that a change of camera or light leaves the street as it is.
    of_scene, of_camera, of_light = np.random.default_rng([seed, index]).spawn(3)
    camera = _camera(of_camera, height, width, style)
    canvas = Canvas(camera)
    _draw_scene(canvas, of_scene, style)
    surfaces = canvas.finish()
    surface_of_pixel = canvas.pixels[
        OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING
    ]
    labels = surfaces.label.take(surface_of_pixel)
    image = _render(canvas, surfaces, surface_of_pixel, of_light, style)
    return image, labels


def _complete(style: Mapping[str, float]) -> dict[str, float]:
    for key, value in style.items():
        if key not in STYLE:
            near = difflib.get_close_matches(key, STYLE, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown style parameter {key!r}; the nearest valid one is {near!r}")
        low, high = STYLE[key].low, STYLE[key].high
        if not low <= value <= high:
            raise ValueError(f"style parameter {key!r} must be in {low}..{high}, got {value}")
    return STYLE_DEFAULTS | dict(style)


# ------------------------------------------------------------------------------------- materials


class Material(NamedTuple):
    """What a surface is made of.

    `source` and `other` are the two palettes, a list of hex colours each; a surface's variant, a
    number in 0..1, picks one. `jitter` is the random change of its brightness, relative.
    """

    source: str
    other: str
    texture: str = "plain"
    contrast: float = 0.0
    jitter: float = 0.0
    glows: bool = False


PAINT = "e8e8e4 17191c 8a9096 b5bac0 9c2320 27457f 3c4146 5f6b4a c9b27a 2f6f75"
PAINT_OTHER = "f4efe0 2b2023 b79d83 6d7f8c 3a7a4a b5651d 54324f d8c34a 4c5f9a 8f3f3a"
CLOTHES = "23252e 6b3a35 3a4a6e 8d8a84 c8c4ba 7a2230 2f4a3a a5793c 4a4a4a 5c7fa8"
CLOTHES_OTHER = "402a20 a06a50 705a8a b8a890 e2d8b0 4a6a30 1f3a5a c98a5c 303a30 9a4a6a"
MATERIALS: dict[str, Material] = {
    "sky": Material("9fc0e2 b4c9de c6d0d8", "e6cfae cfc6c4 b9b0b8", "clouds", 0.1, 0.05, True),
    "road": Material("5d5c60 6a686a 545459", "86786c 7a7274 908379", "grain", 0.09, 0.12),
    "marking": Material("d8d6cf cfccc2", "e8dcaa d8cfae", "grain", 0.1, 0.06),
    "rail": Material("3a3a3e 48484c", "5a4c44 4c443e", "grain", 0.1),
    "sidewalk": Material("9a928c a39a90 8c8787", "9c8a86 b3a196 84838e", "slabs", 0.12, 0.12),
    "kerb": Material("b0aca6", "c2b8ae", "grain", 0.08, 0.05),
    "terrain": Material("6f8f46 7f9150 8c8a56", "a29358 8a8a48 b49a6a", "tufts", 0.24, 0.12),
    "leaves": Material(
        "3f6430 4f7236 35572f 5d7440", "6a6a2c 86682c 4c5a38 7c7a3a", "leaves", 0.42, 0.15
    ),
    "bark": Material("4c4036 574a3e", "6a5a52 4a4440", "planks", 0.2, 0.1),
    "plaster": Material(
        "b09a84 9a8a7c c2b6a4 8c7468 a8a49c b88c70",
        "7c8ea0 a8a0b0 d0c8c0 6a6e7c 96a89a b49a9a",
        "patches",
        0.14,
        0.12,
    ),
    "brick": Material("8a5a48 7c5244 96705a", "5c5a62 74605c 86807c", "bricks", 0.24, 0.12),
    "window": Material(
        "3c4854 2e3842 55636e 6e7c86", "54483e 3a3230 7a7468 8c9096", "plain", 0.0, 0.2
    ),
    "shop": Material(
        "5a3a34 2f4a44 3a3f5a 6a6258", "7a6a3a 4a2a4a 3a5a6a 8a4a3a", "plain", 0.0, 0.15
    ),
    "roof": Material("6e4238 5a4844 4a4a50", "46505a 5e5e60 7a5440", "slabs", 0.2, 0.12),
    "masonry": Material(
        "8e867c 7a746e 9c8c7c 86705f", "a89a8c 767882 8e7e86 b0a090", "blocks", 0.28, 0.12
    ),
    "coping": Material("a8a29a 6a645e", "c0b4a8 5c5a60", "grain", 0.1, 0.1),
    "fence gap": Material("5a6650 646458 505a4c", "7a7458 6e6a66 5e5a4a", "leaves", 0.3, 0.12),
    "fence bar": Material(
        "8a6a48 c8c4bc 3a4440 6e7072", "5a4436 a89c90 56606c 83523c", "plain", 0.0, 0.1
    ),
    "pole": Material("6c6e70 585a5c 84847e", "8a8078 50464a 9a9494", "plain", 0.0, 0.12),
    "lamp head": Material("c8c8c0", "b8b09a"),
    "light box": Material("1c1e1c 24262a 2a2a20", "2c2620 1e2428 4c4a1c"),
    "lamp off": Material("3a2a24 2a342a", "3c3430 2a2c30"),
    "red lamp": Material("ff3a28", "ff5a20", glows=True),
    "green lamp": Material("30f090", "60ffb0", glows=True),
    "sign rim": Material("c01f25 b82a2a", "a8382a c8503a", "plain", 0.0, 0.1),
    "sign face": Material("ecebe6 e2dcc8", "f0e4b0 dcd8cc", "plain", 0.0, 0.05),
    "sign board": Material(
        "1f4fa0 1d6a48 d8b018 2a58b0", "2a6a9a 3a5a2a d88a18 4a4a9a", "plain", 0.0, 0.1
    ),
    "skin": Material("c89a7c 8c5f46 e0b898", "b08468 7a5a48 d8a888", "plain", 0.0, 0.1),
    "hair": Material("2a201a 5a4028 8a7a6a", "1c1a20 6a3a20 a09080", "plain", 0.0, 0.1),
    "clothes": Material(CLOTHES, CLOTHES_OTHER, "patches", 0.1, 0.15),
    "paint": Material(PAINT, PAINT_OTHER, "plain", 0.0, 0.12),
    "truck box": Material(
        "d8d6d0 b8b4ac 7a8a9a a86a3a 4a6a8a",
        "b8a88a e0d4b8 6a5a4a 7a9a8a 9a5a5a",
        "planks",
        0.08,
        0.1,
    ),
    "bus paint": Material(
        "d8b430 b83a2c e0d8c4 3f7a4c", "4a8a9a d87a2a c8c8b0 8a3a5a", "plain", 0.0, 0.1
    ),
    "train paint": Material("c8ccd0 d8d2c0 b82028", "d8c8a0 a8b8b0 2f6a4a", "plain", 0.0, 0.1),
    "train band": Material("b01c28 1f4a8a 2a6a4a", "6a2a6a c87a1a 2a4a5a", "plain", 0.0, 0.1),
    "glass": Material("2a333c 38444e", "3c342e 484c52", "plain", 0.0, 0.2),
    "tyre": Material("18181a 222224", "241f1e 2c2a2c"),
    "metal": Material("a8aaac 8a8c90", "9a948c 7a7c84", "plain", 0.0, 0.1),
    "spokes": Material("6a6c6a 7a7874 58605c", "7a7064 64686c 8a7e70", "grain", 0.25, 0.1),
    "trim": Material("2c2d30 3a3b3e", "3a3230 2c3034"),
    "tail light": Material("c8201c", "d83a1c"),
    "headlight": Material("f4f2e4", "fff0c8"),
    "plate": Material("eeeee6", "e8d860"),
    "display": Material("f0a020", "e8e060", glows=True),
}
_MATERIAL_NUMBER = {name: number for number, name in enumerate(MATERIALS)}
_TEXTURES = (
    "plain",
    "grain",
    "patches",
    "leaves",
    "tufts",
    "slabs",
    "bricks",
    "blocks",
    "planks",
    "clouds",
)
# Metres of the world that one texel covers.
_TEXEL = {
    "clouds": 1.2,
    "leaves": 0.09,
    "tufts": 0.08,
    "patches": 0.12,
    "grain": 0.06,
    "slabs": 0.1,
}
_TEXEL |= {"bricks": 0.06, "blocks": 0.08, "planks": 0.06, "plain": 1.0}
_TILE = 64
_COLOURS = 8


@cache
def _textures() -> np.ndarray:
    """Return float32 (kind, 64, 64), periodic tiles with mean 0 and a standard deviation near 1."""
    rng = np.random.default_rng(2021)

    def smooth(sigma: float) -> np.ndarray:
        noise = np.tile(rng.standard_normal((_TILE, _TILE)).astype(np.float32), (3, 3))
        return cv2.GaussianBlur(noise, (0, 0), sigma)[_TILE : 2 * _TILE, _TILE : 2 * _TILE]

    def joints(rows: int, columns: int, shifted: bool) -> np.ndarray:
        y, x = np.mgrid[0:_TILE, 0:_TILE]
        shift = (y // rows % 2) * (columns // 2) if shifted else 0
        stone = rng.standard_normal((_TILE // rows, _TILE // columns))
        tone = stone[y // rows, (x + shift) % _TILE // columns] * 0.6
        return np.where((y % rows == 0) | ((x + shift) % columns == 0), -2.0, tone)

    grain, patches = rng.standard_normal((_TILE, _TILE)), smooth(4.0)
    tiles = {
        "plain": np.zeros((_TILE, _TILE)),
        "grain": grain + 6 * patches,
        "patches": patches,
        "leaves": smooth(0.7) + 1.5 * smooth(2.0) + 1.5 * smooth(5.0),
        "tufts": smooth(0.8) + 2 * smooth(5.0),
        "slabs": joints(8, 8, False) + 0.3 * grain,
        "bricks": joints(4, 8, True),
        "blocks": joints(8, 16, True) + 0.3 * grain,
        "planks": joints(64, 4, False) + 0.2 * grain,
        "clouds": smooth(5.0),
    }
    stacked = np.stack([tiles[name] for name in _TEXTURES])
    stacked = stacked - stacked.mean((1, 2), keepdims=True)
    return (stacked / np.maximum(stacked.std((1, 2), keepdims=True), 1e-6)).astype(np.float32)


@cache
def _palettes() -> np.ndarray:
    """Return float32 (2, material, 8, 3): the colours of both palettes, 0..1."""

    def colours(text: str) -> list[list[int]]:
        given = [list(bytes.fromhex(word)) for word in text.split()]
        return [given[i * len(given) // _COLOURS] for i in range(_COLOURS)]

    both = [
        [colours(m.source) for m in MATERIALS.values()],
        [colours(m.other) for m in MATERIALS.values()],
    ]
    return np.array(both, np.float32) / 255


# ---------------------------------------------------------------------------- camera and canvas

OVERSAMPLING = 2  # canvas pixels per image pixel along each axis: smooth edges in the image
_SUBPIXEL_BITS = 4
_NEAR = 0.8  # metres; nothing is drawn nearer
_FOCAL_UNIT = 0.55  # image widths; 82 degrees of view


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along z; `focal` and the principal point are in image pixels.

    Pitch and yaw of a few degrees are shifts of the principal point, so verticals stay vertical.
    """

    height: int
    width: int
    focal: float
    column: float
    row: float
    above_ground: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return (..., 2) columns and rows, in image pixels, of world points (..., 3)."""
        scale = self.focal / np.maximum(points[..., 2], _NEAR)
        columns = self.column + scale * points[..., 0]
        rows = self.row + scale * (self.above_ground - points[..., 1])
        return np.stack([columns, rows], -1)

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x (width,) and y (height,), float32, of the rays with z = 1 through the pixels."""
        x = (np.arange(self.width, dtype=np.float32) + 0.5 - self.column) / self.focal
        y = (self.row - 0.5 - np.arange(self.height, dtype=np.float32)) / self.focal
        return x.astype(np.float32), y.astype(np.float32)


def _camera(rng: np.random.Generator, height: int, width: int, style: dict[str, float]) -> Camera:
    # The jitter moves the picture by the same number of pixels at every focal length.
    pitch, yaw = rng.uniform(-1, 1, 2) * np.tan(np.deg2rad(style["camera_jitter"])) * 1.7
    focal = _FOCAL_UNIT * width
    return Camera(
        height=height,
        width=width,
        focal=focal * style["focal"],
        column=width / 2 + focal * yaw,
        row=0.44 * height + focal * pitch,
        above_ground=style["camera_height"] * (1 + 0.05 * rng.uniform(-1, 1)),
    )


class Surfaces(NamedTuple):
    """The table of n surfaces."""

    label: np.ndarray  # uint8 (n,), Cityscapes label id
    material: np.ndarray  # int (n,)
    variant: np.ndarray  # float32 (n,), 0..1
    shade: np.ndarray  # float32 (n,), relative brightness
    normal: np.ndarray  # float32 (n, 3), towards the outside
    plane: np.ndarray  # float32 (4, n): points (x, y, z) with plane[:3, i] @ point == plane[3, i]


class Canvas:
    """Surface numbers of all pixels, and the table in which they are looked up.

    Later polygons hide earlier ones, so whoever paints goes from far to near. Polygons are kept
    until `finish`, because projecting all of them at once is several times faster.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        shape = (camera.height * OVERSAMPLING, camera.width * OVERSAMPLING)
        self.pixels = np.zeros(shape, np.uint16)
        # Footprints (4 corners x, z) and heights of what casts a shadow, in metres.
        self.casters: list[tuple[np.ndarray, float]] = []
        self._rows: list[np.ndarray] = []
        self._points: list[np.ndarray] = []
        self._corners: list[int] = []  # of each polygon
        self._numbers: list[int] = []  # of each polygon's surface
        self._used = 0

    def paint(self, polygons: np.ndarray, rows: np.ndarray) -> None:
        """Paint convex polygons (n, corners, 3) in their order, one row of `_row` for each."""
        count, corners = polygons.shape[:2]
        self._points.append(polygons.reshape(-1, 3))
        self._corners += [corners] * count
        self._numbers += range(self._used, self._used + count)
        self._rows.append(rows)
        self._used += count

    def paint_alike(self, polygons: np.ndarray, row: np.ndarray) -> None:
        """Paint convex polygons (n, corners, 3) as one and the same surface."""
        count, corners = polygons.shape[:2]
        if count:
            self._points.append(polygons.reshape(-1, 3))
            self._corners += [corners] * count
            self._numbers += [self._used] * count
            self._rows.append(row[None])
            self._used += 1

    def sees(self, x: float, z: float, radius: float) -> bool:
        """Return whether something `radius` metres around (x, z) can be in the picture."""
        if z - radius < 2.5:
            return False
        column = self.camera.column + self.camera.focal * x / z
        reach = self.camera.focal * radius / (z - radius)
        return -reach < column < self.camera.width + reach

    def finish(self) -> Surfaces:
        """Fill `pixels` with all that was painted and return the table of its surfaces."""
        places = self.camera.project(np.concatenate(self._points)) * OVERSAMPLING - 0.5
        ends = np.cumsum(self._corners)
        starts = ends - self._corners
        low = np.minimum.reduceat(places, starts)
        high = np.maximum.reduceat(places, starts)
        size = (self.pixels.shape[1], self.pixels.shape[0])
        visible = ((high > -1) & (low < size)).all(1)
        # Fixed-point numbers with a few binary digits; clipped because 32 bits must hold them.
        places = np.rint(np.clip(places, -2e5, 2e5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        chosen = np.flatnonzero(visible)
        spans = zip(starts[chosen].tolist(), ends[chosen].tolist(), chosen.tolist(), strict=True)
        for start, end, which in spans:
            number = self._numbers[which]
            polygon = places[start:end]
            cv2.fillConvexPoly(self.pixels, polygon, number, cv2.LINE_8, _SUBPIXEL_BITS)
        rows = np.concatenate(self._rows)
        return Surfaces(
            rows[:, 0].astype(np.uint8),
            rows[:, 1].astype(np.intp),
            rows[:, 2],
            rows[:, 3],
            rows[:, 4:7],
            np.ascontiguousarray(rows[:, 7:11].T),
        )


_LABEL = dict(zip(CITYSCAPES.names, CITYSCAPES_LABEL_IDS, strict=True))
_TO_CAMERA = (0.0, 0.0, -1.0)
_UP = (0.0, 1.0, 0.0)


def _row(
    label: str,
    material: str,
    variant: float,
    normal: Sequence[float],
    plane: Sequence[float],
    shade: float = 1.0,
) -> np.ndarray:
    """Return float32 (11,): one row of the surface table, in the order of `Surfaces`."""
    head = (_LABEL[label], _MATERIAL_NUMBER[material], variant, shade)
    return np.array((*head, *normal, *plane), np.float32)


# ------------------------------------------------------------------------------- things as shapes
# A shape is a list of convex faces in its own axes: right, up, forward, metres. A solid's faces are
# hidden where they look away from the camera; flat ones, such as a sign, are seen from both sides.

_CORNERS = 12
_CIRCLE_TURN = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
_CIRCLE = np.stack([np.cos(_CIRCLE_TURN), np.sin(_CIRCLE_TURN)])


@dataclass(frozen=True)
class Shape:
    """n faces: points float64 (n, 12, 3), and for each face its normal and its surface."""

    points: np.ndarray
    normals: np.ndarray  # (n, 3); zero for flat ones
    labels: np.ndarray
    materials: np.ndarray
    slots: np.ndarray  # which of the thing's random variants picks the colour
    groups: np.ndarray  # (n,) forward position of the part; parts are drawn from far to near
    size: tuple[float, float, float]  # right, up, forward


Pair = tuple[float, float]
Points = Sequence[Pair]


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
        padded = points[np.minimum(np.arange(_CORNERS), len(points) - 1)]
        surface = (_LABEL[self.label], _MATERIAL_NUMBER[material], slot, self.group)
        self.faces.append((padded, normal, *surface))

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
        points, normals, labels, materials, slots, groups = map(np.array, columns)
        extent = np.abs(points).max((0, 1))
        size = (2 * extent[0], extent[1], 2 * extent[2])
        return Shape(points, normals.astype(float), labels, materials, slots, groups, size)


def _disc(a: float, b: float, radius: float) -> list[tuple[float, float]]:
    return [(a + radius * x, b + radius * y) for x, y in _CIRCLE.T]


def _rectangle(a0: float, a1: float, b0: float, b1: float) -> list[tuple[float, float]]:
    return [(a0, b0), (a1, b0), (a1, b1), (a0, b1)]


def _wheels(s: Shaper, half_width: float, positions: Sequence[float], radius: float) -> None:
    for forward in positions:
        s.sides(half_width, _disc(forward, radius, radius), "tyre")
        s.sides(half_width, _disc(forward, radius, radius * 0.5), "metal")


def _car(tail: float, roof_back: float, roof_front: float, bonnet: float, top: float) -> Shape:
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
    _wheels(s, 0.91, (-1.35, 1.35), 0.33)
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


def _truck() -> Shape:
    s = Shaper("truck")
    s.group = -1.2
    s.box(1.0, (0.35, 0.95), (-3.6, 3.0), "trim")
    _wheels(s, 1.12, (-2.7, -1.6), 0.5)
    s.box(1.25, (0.95, 3.4), (-3.7, 1.1), "truck box", 1)
    s.sides(1.26, _rectangle(-3.2, 0.6, 1.7, 2.6), "paint", 2)
    s.end(-3.71, (-0.04, 0.04), (1.0, 3.3), "trim")
    s.end(-3.71, (-1.2, 1.2), (0.95, 1.05), "trim")
    for right in (-1.1, 0.75):
        s.end(-3.71, (right, right + 0.35), (0.7, 0.88), "tail light")
    s.group = 2.2
    s.prism([(1.3, 0.5), (3.2, 0.5), (3.2, 1.5), (2.95, 2.75), (1.3, 2.75)], 1.18, "paint")
    _wheels(s, 1.19, (2.35,), 0.5)
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


def _bus() -> Shape:
    s = Shaper("bus")
    s.box(1.1, (0.1, 0.5), (-5.2, 5.2), "tyre")
    s.box(1.27, (0.32, 3.05), (-5.5, 5.5), "bus paint")
    s.sides(1.28, _rectangle(-5.5, 5.5, 0.32, 0.75), "paint", 1)
    for forward in np.arange(-5.2, 4.0, 1.75):
        s.sides(1.28, _rectangle(forward, forward + 1.6, 1.3, 2.45), "glass")
    s.sides(1.28, _rectangle(4.0, 5.0, 0.5, 2.5), "glass", 1)
    _wheels(s, 1.29, (-3.4, 3.0), 0.5)
    s.end(5.51, (-1.15, 1.15), (1.05, 2.45), "glass")
    s.end(5.51, (-0.8, 0.8), (2.6, 2.9), "display")
    s.end(-5.51, (-0.95, 0.95), (1.6, 2.45), "glass")
    s.end(-5.51, (-0.7, 0.7), (0.55, 1.2), "trim")
    for right in (-1.15, 0.85):
        s.end(5.51, (right, right + 0.3), (0.6, 0.8), "headlight")
        s.end(-5.51, (right, right + 0.3), (0.7, 1.3), "tail light")
    return s.shape()


def _train() -> Shape:
    """Return a tram of two carriages."""
    s = Shaper("train")
    for middle, outer in ((-4.7, -9.3), (4.7, 9.3)):
        s.group = middle
        ends = sorted((outer, 0.15 * np.sign(outer)))
        s.box(0.9, (3.3, 3.75), (ends[0] + 1, ends[1] - 1), "metal")
        s.box(1.25, (0.15, 3.35), ends, "train paint")
        s.sides(1.26, _rectangle(*ends, 0.15, 0.5), "trim")
        s.sides(1.26, _rectangle(*ends, 1.0, 1.5), "train band", 1)
        for forward in np.arange(ends[0] + 0.5, ends[1] - 1.2, 1.9):
            s.sides(1.26, _rectangle(forward, forward + 1.5, 1.65, 2.75), "glass")
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


def _bicycle(s: Shaper) -> None:
    s.label = "bicycle"
    for forward in (-0.53, 0.53):
        s.prism(_disc(forward, 0.36, 0.36)[::2], 0.04, "tyre")
        s.sides(0.041, _disc(forward, 0.36, 0.28), "spokes")
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


def _motorcycle(s: Shaper) -> None:
    s.label = "motorcycle"
    for forward in (-0.72, 0.75):
        s.prism(_disc(forward, 0.34, 0.34)[::2], 0.09, "tyre")
        s.sides(0.091, _disc(forward, 0.34, 0.18), "metal")
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


def _rider(s: Shaper, seat: float, helmet: bool) -> None:
    """Add somebody who sits `seat` metres high: seen from the side and, crosswise, from behind."""
    s.label = "rider"
    head = "paint" if helmet else "hair"
    hip, shoulder, hand = (-0.2, seat), (0.12, seat + 0.55), (0.4, seat + 0.12)
    s.bar(hip, (0.2, seat - 0.22), 0.2, "clothes", 1, across=True)
    s.bar((0.2, seat - 0.22), (0.04, seat - 0.62), 0.17, "clothes", 1, across=True)
    s.bar((-0.22, seat - 0.06), shoulder, 0.36, "clothes", across=True)
    s.bar(shoulder, hand, 0.13, "clothes", across=True)
    s.face([(0.0, u, f) for f, u in _disc(0.22, seat + 0.78, 0.16)], "skin", slot=2)
    s.face([(0.0, u, f) for f, u in _disc(0.19, seat + 0.83, 0.15)], head, slot=2)
    for side in (-1, 1):
        s.bar((side * 0.13, seat), (side * 0.19, seat - 0.32), 0.19, "clothes", 1)
        s.bar((side * 0.19, seat - 0.3), (side * 0.16, seat - 0.65), 0.16, "clothes", 1)
        s.bar((side * 0.24, seat + 0.5), (side * 0.33, seat + 0.14), 0.14, "clothes")
    torso = [(-0.19, seat - 0.08), (0.19, seat - 0.08), (0.27, seat + 0.52), (-0.27, seat + 0.52)]
    s.flat(torso, "clothes")
    s.flat(_disc(0.0, seat + 0.72, 0.16), "skin", 2)
    s.flat(_disc(0.0, seat + 0.78, 0.16), head, 2)


def _two_wheeler(kind: str, ridden: bool) -> Shape:
    s = Shaper(kind)
    if kind == "bicycle":
        _bicycle(s)
    else:
        _motorcycle(s)
    if ridden:
        _rider(s, 0.95 if kind == "bicycle" else 0.85, helmet=kind == "motorcycle")
    return s.shape()


def _person(stride: float, arm: float, coat: float) -> Shape:
    """Return a pedestrian; metres between the feet, of the arms, and of a coat below the hip."""
    s = Shaper("person")
    for side in (-1, 1):
        knee = (side * (0.09 + stride * 0.4), 0.48)
        s.bar((side * 0.09, 0.92), knee, 0.19, "clothes", 1)
        s.bar(knee, (side * (0.08 + stride), 0.06), 0.15, "clothes", 1)
        s.bar((side * (0.06 + stride), 0.04), (side * (0.18 + stride), 0.04), 0.09, "trim")
        s.bar((side * 0.22, 1.42), (side * (0.27 + arm), 0.86), 0.12, "clothes")
        s.flat(_disc(side * (0.27 + arm), 0.83, 0.06), "skin", 2)
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
    s.flat(_disc(0.0, 1.64, 0.13), "skin", 2)
    s.flat(_disc(0.0, 1.7, 0.12), "hair", 3)
    return s.shape()


def _lamp_post(height: float) -> Shape:
    s = Shaper("pole")
    s.bar((0, 0), (0, 1.0), 0.34, "pole")
    s.bar((0, 0), (0, height), 0.24, "pole")
    s.bar((0, height), (1.3, height + 0.3), 0.17, "pole")
    s.bar((1.0, height + 0.26), (1.7, height + 0.3), 0.2, "lamp head")
    return s.shape()


def _light_head(s: Shaper, right: float, up: float, lit: str) -> None:
    s.label = "traffic light"
    s.flat(_rectangle(right - 0.24, right + 0.24, up - 0.62, up + 0.62), "light box")
    for above, name in ((0.38, "red lamp"), (0.0, "lamp off"), (-0.38, "green lamp")):
        s.flat(_disc(right, up + above, 0.16), name if name == lit else "lamp off", 1)


def _traffic_light(lit: str, arm: float) -> Shape:
    """Return a light on a post, with a second one over the road on an arm of `arm` metres."""
    s = Shaper("pole")
    s.bar((0, 0), (0, 5.6 if arm else 2.9), 0.24, "pole")
    if arm:
        s.bar((0, 5.5), (-arm, 5.5), 0.2, "pole")
        _light_head(s, -arm, 5.2, lit)
    _light_head(s, 0.0, 3.1, lit)
    return s.shape()


def _sign(kind: str) -> Shape:
    s = Shaper("pole")
    s.bar((0, 0), (0, 2.6), 0.19, "pole")
    s.label = "traffic sign"
    if kind == "ban":
        s.flat(_disc(0, 2.7, 0.47), "sign rim")
        s.flat(_disc(0, 2.7, 0.33), "sign face")
    elif kind == "warning":
        s.flat([(-0.55, 2.3), (0.55, 2.3), (0, 3.2)], "sign rim")
        s.flat([(-0.33, 2.42), (0.33, 2.42), (0, 2.96)], "sign face")
    elif kind == "order":
        s.flat(_disc(0, 2.7, 0.47), "sign board")
        s.bar((0, 2.42), (0, 2.98), 0.14, "sign face")
    else:
        s.flat(_rectangle(-0.75, 0.75, 2.3, 3.3), "sign board", 1)
        for up in (2.55, 2.8, 3.05):
            s.bar((-0.55, up), (0.45, up), 0.1, "sign face")
    return s.shape()


@cache
def _shapes(kind: str) -> tuple[Shape, ...]:
    """Return the models of one kind of thing."""
    models = {
        "car": lambda: (
            _car(-1.75, -1.2, 0.35, 1.05, 1.45),
            _car(-2.1, -1.8, 0.3, 1.1, 1.5),
            _car(-2.12, -2.0, 0.75, 1.35, 1.75),
        ),
        "truck": lambda: (_truck(),),
        "bus": lambda: (_bus(),),
        "train": lambda: (_train(),),
        "bicycle": lambda: (_two_wheeler("bicycle", False),),
        "motorcycle": lambda: (_two_wheeler("motorcycle", False),),
        "cyclist": lambda: (_two_wheeler("bicycle", True),),
        "biker": lambda: (_two_wheeler("motorcycle", True),),
        "person": lambda: (
            _person(0.02, 0.03, 0.0),
            _person(0.16, 0.08, 0.0),
            _person(0.24, 0.14, 0.05),
            _person(0.06, 0.05, 0.45),
        ),
        "lamp post": lambda: (_lamp_post(6.5), _lamp_post(5.0)),
        "traffic light": lambda: (
            _traffic_light("red lamp", 0.0),
            _traffic_light("green lamp", 0.0),
            _traffic_light("red lamp", 3.2),
        ),
        "traffic sign": lambda: tuple(map(_sign, ("ban", "warning", "order", "board"))),
    }
    return models[kind]()


def _place(
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
    points = (shape.points * scale) @ turn + (x, 0.0, z)
    to_face = points[:, 0] - (0.0, canvas.camera.above_ground, 0.0)
    seen = np.flatnonzero((normals * to_face).sum(1) <= 0)
    # Carriages and cabs from far to near.
    seen = seen[np.argsort(-shape.groups[seen] * cosine, kind="stable")]
    rows = np.empty((len(seen), 11), np.float32)
    rows[:, 0] = shape.labels[seen]
    rows[:, 1] = shape.materials[seen]
    rows[:, 2] = variants[shape.slots[seen]]
    rows[:, 3] = 1.0
    rows[:, 4:7] = np.where(shape.normals[seen].any(1, keepdims=True), normals[seen], _TO_CAMERA)
    rows[:, 7:11] = (0, 0, 1, z)
    canvas.paint(points[seen], rows)
    half_width, half_length = shape.size[0] * scale[0] / 2, shape.size[2] * scale[2] / 2
    # A flat thing has no depth of its own; its shadow needs some.
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (half_width, max(half_length, 0.15))
    footprint = corners @ turn[::2, ::2] + (x, z)
    canvas.casters.append((footprint, shape.size[1] * scale[1] * 0.8))


# --------------------------------------------------------------------------------------- the scene


@dataclass(frozen=True)
class Layout:
    """Where the parts of the street are, in metres; x of their edges, z of the crossing."""

    road: tuple[float, float]
    parking: tuple[bool, bool]
    walk: tuple[float, float]  # outer edges of the sidewalks
    front: tuple[float, float]  # where buildings begin
    crossing: float | None
    rails: bool


_FAR = 140.0
_END = 75.0  # metres; the street ends here
_CROSSING_WIDTH = 7.5
_LANE = 3.2


def _layout(rng: np.random.Generator) -> Layout:
    u = rng.random(12)
    parking = (bool(u[0] < 0.5), bool(u[1] < 0.6))
    left = -_LANE * (1.5 if u[2] < 0.7 else 2.5) - 2.2 * parking[0]
    right = _LANE * 0.5 + 0.3 + 2.2 * parking[1]
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


def _draw_scene(canvas: Canvas, rng: np.random.Generator, style: dict[str, float]) -> None:
    layout = _layout(rng)
    _draw_sky(canvas, rng)
    _draw_ground(canvas, rng, layout)
    _draw_background(canvas, rng, style)
    for side in (-1, 1):
        _draw_roadside(canvas, rng, layout, side, style)
    things = _traffic(rng, layout, style["clutter"]) + _furniture(rng, layout, style)
    for thing in sorted(things, key=lambda thing: -thing.z):
        thing.draw(canvas)


def _draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    camera, variant = canvas.camera, rng.random()
    reach = 3 * _FAR * max(1.0, camera.width / camera.focal)
    # Paler towards the horizon.
    heights = np.array([0.0, 0.03, 0.08, 0.15, 0.26, 0.4, 3.0]) * reach
    quads = [
        [(-reach, a, _FAR), (reach, a, _FAR), (reach, b, _FAR), (-reach, b, _FAR)]
        for a, b in itertools.pairwise(heights)
    ]
    rows = [
        _row("sky", "sky", variant, _TO_CAMERA, (0, 0, 1, _FAR), shade)
        for shade in (1.1, 1.07, 1.03, 0.99, 0.95, 0.9)
    ]
    # Whatever no polygon covers is surface 0; below the horizon the ground hides it.
    canvas.paint(np.array(quads), np.array(rows))


def _strip(
    x0: float, x1: float, z0: float, z1: float, y: float = 0.0
) -> list[tuple[float, float, float]]:
    return [(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)]


def _draw_ground(canvas: Canvas, rng: np.random.Generator, layout: Layout) -> None:
    variants = dict(
        zip(("road", "sidewalk", "terrain", "marking", "rail", "kerb"), rng.random(6), strict=True)
    )
    kerb_side = rng.random() < 0.5
    plane = (0, 1, 0, -canvas.camera.above_ground)
    strips, rows = [], []

    def add(label: str, material: str, *edges: float) -> None:
        strips.append(_strip(*edges))
        rows.append(_row(label, material, variants[material], _UP, plane))

    (left, right), (out_left, out_right) = layout.road, layout.walk
    add("terrain", "terrain", -_FAR * 3, _FAR * 3, 0, _FAR)
    add("sidewalk", "sidewalk", out_left, out_right, 0, _END)
    if kerb_side:  # a strip of grass between road and sidewalk
        add("terrain", "terrain", left - 1.1, left, 0, _END)
    add("road", "road", left, right, 0, _END)
    add("sidewalk", "kerb", left - 0.18, left, 0, _END)
    add("sidewalk", "kerb", right, right + 0.18, 0, _END)
    if layout.crossing is not None:
        z0, z1 = layout.crossing, layout.crossing + _CROSSING_WIDTH
        add("sidewalk", "sidewalk", -90, 90, z0 - 2.6, z1 + 2.6)
        add("road", "road", -90, 90, z0, z1)
        add("road", "road", left, right, z0 - 3, z1 + 3)
    if layout.rails:
        for x in (-_LANE - 0.75, -_LANE + 0.65):
            add("road", "rail", x, x + 0.12, 0, _END)
    canvas.paint(np.array(strips), np.array(rows))

    middle = -_LANE / 2
    dashes = [_strip(middle - 0.08, middle + 0.08, z, z + 2.5) for z in np.arange(1.0, 60.0, 6.0)]
    edge = _END if layout.crossing is None else layout.crossing - 3.8
    lines = [_strip(x - 0.06, x + 0.06, 0.0, edge) for x in (left + 0.35, right - 0.35)]
    marks = np.array(dashes + lines)
    if layout.crossing is not None:
        marks = marks[
            ~((marks[:, 0, 2] > layout.crossing - 6) & (marks[:, 0, 2] < layout.crossing + 10))
        ]
        bars = np.arange(left + 0.5, right - 0.8, 1.0)
        zebra = [_strip(x, x + 0.5, layout.crossing - 3.6, layout.crossing - 0.9) for x in bars]
        marks = np.concatenate([marks, np.array(zebra)])
    canvas.paint_alike(marks, _row("road", "marking", variants["marking"], _UP, plane))


def _draw_background(canvas: Canvas, rng: np.random.Generator, style: dict[str, float]) -> None:
    """Paint what closes the street: a row of houses and trees 75 to 110 metres away."""
    for z in (105.0, _END):
        count = 10
        xs, u = np.sort(rng.uniform(-1.4, 1.4, count)) * z, rng.random((count, 4))
        for x, (kind, size, variant, wide) in zip(xs, u, strict=True):
            if not canvas.sees(x, z, 14):
                continue
            plane = (0, 0, 1, z)
            if kind < style["greenery"]:
                _blobs(canvas, (x, z), (6 + 5 * wide, 3 + 7 * size), 0.0, variant, u[:, 0])
            else:
                x1, top = x + 9 + 9 * wide, (5 + 11 * size) * style["building_height"]
                facade = np.array([[(x, 0, z), (x1, 0, z), (x1, top, z), (x, top, z)]])
                canvas.paint(facade, _row("building", "plaster", variant, _TO_CAMERA, plane)[None])
                panes = _window_grid(x, x1, 1.2, top, 2.4, 3.0)
                glass = _row("building", "window", variant, _TO_CAMERA, plane)
                canvas.paint_alike(_facing(z, panes), glass)


# Corners of a pane within its share of the wall.
_PANE_ALONG = np.array([0.25, 0.75, 0.75, 0.25])
_PANE_UP = np.array([0.3, 0.3, 0.8, 0.8])


def _window_grid(
    a0: float, a1: float, b0: float, b1: float, step: float, floor: float
) -> np.ndarray:
    """Return (n, 4, 2): panes on a wall that spans a0..a1 along and b0..b1 upwards, in metres."""
    columns, floors = int((a1 - a0 - 0.6) / step), int((b1 - b0 - 0.5) / floor)
    if columns < 1 or floors < 1:
        return np.zeros((0, 4, 2))
    pitch = (a1 - a0) / columns
    panes = np.empty((floors, columns, 4, 2))
    panes[..., 0] = a0 + pitch * (np.arange(columns)[:, None] + _PANE_ALONG)
    panes[..., 1] = b0 + floor * (np.arange(floors)[:, None, None] + _PANE_UP)
    return panes.reshape(-1, 4, 2)


def _along(x: float, panes: np.ndarray) -> np.ndarray:
    """Return (n, 4, 3): polygons of (z, y) points in the wall at x along the street."""
    placed = np.full((*panes.shape[:2], 3), x)
    placed[..., 2:0:-1] = panes
    return placed


def _facing(z: float, panes: np.ndarray) -> np.ndarray:
    """Return (n, 4, 3): polygons of (x, y) points in the wall at z across the street."""
    placed = np.full((*panes.shape[:2], 3), z)
    placed[..., :2] = panes
    return placed


def _draw_roadside(
    canvas: Canvas, rng: np.random.Generator, layout: Layout, side: int, style: dict[str, float]
) -> None:
    """Paint one side of the street, lot by lot, from far to near."""
    x = layout.front[side > 0]
    lots = []
    start = 1.0 - 6 * rng.random()
    while start < _END:
        u = rng.random(16)
        stop = start + 7 + 11 * u[0]
        lots.append((start, stop, u))
        start = stop
    gap = (
        (np.inf, np.inf)
        if layout.crossing is None
        else (layout.crossing - 2.6, layout.crossing + 10.1)
    )
    for start, stop, u in reversed(lots):
        for z0, z1 in ((max(start, gap[1]), stop), (start, min(stop, gap[0]))):
            if layout.crossing is None and z0 == np.inf:
                continue
            if z1 - z0 > 2.5 and z1 > 2.0:
                _draw_lot(canvas, x, side, max(z0, _NEAR), z1, u, style)


def _draw_lot(
    canvas: Canvas,
    x: float,
    side: int,
    z0: float,
    z1: float,
    u: np.ndarray,
    style: dict[str, float],
) -> None:
    """Paint a lot from z0 to z1 whose front is at x; `u` are its 16 random numbers."""
    green = style["greenery"]
    barrier = 0.33
    if u[1] > green + barrier * (1 - green):
        _draw_building(canvas, x, side, z0, z1, u, style)
        return
    # A garden: trees behind, and in front of them a wall, a fence, a hedge or nothing.
    behind = x + side * (2.5 + 3 * u[2])
    if u[3] < 0.45:
        _draw_building(canvas, x + side * 6.0, side, z0 + 1, z1 - 1, np.roll(u, 5), style)
    for k in range(2):
        if u[4 + k] < 0.45 + 0.5 * green:
            z = z1 - (z1 - z0) * (0.3 + 0.5 * k)
            _draw_tree(canvas, behind, z, np.roll(u, k + 1))
    if u[6] < 0.38:
        _draw_wall(canvas, x, side, z0, z1, u)
    elif u[6] < 0.8:
        _draw_fence(canvas, x, side, z0, z1, u)
    elif u[6] < 0.9:
        _draw_hedge(canvas, x, side, z0, z1, u)


def _wall_quads(
    x: float, side: int, z0: float, z1: float, low: float, high: float, deep: float
) -> np.ndarray:
    """Return (2, 4, 3): the face across the street and the face along it of a block at x."""
    back = x + side * deep
    across = [(x, low, z0), (back, low, z0), (back, high, z0), (x, high, z0)]
    along = [(x, low, z0), (x, low, z1), (x, high, z1), (x, high, z0)]
    return np.array([across, along])


def _block_rows(
    label: str, material: str, variant: float, x: float, side: int, z0: float
) -> np.ndarray:
    across = _row(label, material, variant, _TO_CAMERA, (0, 0, 1, z0))
    along = _row(label, material, variant, (-side, 0, 0), (1, 0, 0, x))
    return np.stack([across, along])


def _draw_building(
    canvas: Canvas,
    x: float,
    side: int,
    z0: float,
    z1: float,
    u: np.ndarray,
    style: dict[str, float],
) -> None:
    floors = 1 + int(u[7] * u[7] * 5 * style["building_height"] + 1.2 * style["building_height"])
    floor_height, deep = 3.0 + 0.5 * u[8], 9.0
    top = floors * floor_height + 0.6
    material = "brick" if u[9] < 0.3 else "plaster"

    def rows(what: str, variant: float) -> np.ndarray:
        return _block_rows("building", what, variant, x, side, z0)

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
            _row("building", "roof", u[11], (-side * 0.6, 0.8, 0), (1, 0, 0, x))[None],
        )
        canvas.paint(np.array([gable]), rows(material, u[9])[:1])
    canvas.paint(_wall_quads(x, side, z0, z1, 0, top, deep), rows(material, u[9]))
    canvas.casters.append(
        (np.array([(x, z0), (x, z1), (x + side * deep, z1), (x + side * deep, z0)]), top)
    )

    glass = rows("window", u[12])
    step = 1.7 + 1.1 * u[13]
    ground = floor_height if u[14] < 0.5 else 0.2
    along = _window_grid(z0, z1, ground, top, step, floor_height)
    near, far = sorted((x, x + side * deep))
    across = _window_grid(near, far, 0.2, top, step, floor_height)
    canvas.paint_alike(_facing(z0, across), glass[0])
    if u[13] > 0.5:  # bright frames around the panes
        centre = along.mean(1, keepdims=True)
        frame = _row("building", "coping", u[12], (-side, 0, 0), (1, 0, 0, x))
        canvas.paint_alike(_along(x, centre + (along - centre) * 1.35), frame)
    canvas.paint_alike(_along(x, along), glass[1])
    if u[14] < 0.5:  # a shop below, with windows of its own and an awning
        front = _wall_quads(x, side, z0, z1, 0.0, floor_height * 0.95, deep)[1:]
        canvas.paint(front, rows("shop", u[15])[1:])
        panes = _window_grid(z0, z1, 0.0, 3.2, 3.2, 2.6)
        canvas.paint_alike(_along(x, panes * (1, 1.1)), glass[1])
    cornice = _wall_quads(x, side, z0, z1, top - 0.35, top, deep)
    canvas.paint(cornice, rows("coping", u[9]))


def _draw_wall(canvas: Canvas, x: float, side: int, z0: float, z1: float, u: np.ndarray) -> None:
    top = 1.5 + 1.5 * u[8]
    canvas.paint(
        _wall_quads(x, side, z0, z1, 0, top, 0.4), _block_rows("wall", "masonry", u[9], x, side, z0)
    )
    rows = _block_rows("wall", "coping", u[10], x, side, z0)
    canvas.paint(_wall_quads(x, side, z0, z1, top - 0.2, top, 0.4), rows)
    piers = np.arange(z0 + 0.5, z1, 4.0)
    quads = [
        [(x, 0, z), (x, 0, z + 0.5), (x, top + 0.12, z + 0.5), (x, top + 0.12, z)] for z in piers
    ]
    canvas.paint_alike(
        np.array(quads), _row("wall", "masonry", u[10], (-side, 0, 0), (1, 0, 0, x), 0.85)
    )
    canvas.casters.append(
        (np.array([(x, z0), (x, z1), (x + side * 0.4, z1), (x + side * 0.4, z0)]), top)
    )


def _draw_fence(canvas: Canvas, x: float, side: int, z0: float, z1: float, u: np.ndarray) -> None:
    top = 1.2 + 0.9 * u[8]
    plane, normal = (1, 0, 0, x), (-side, 0, 0)
    canvas.paint(
        _wall_quads(x, side, z0, z1, 0, top, 0.05)[1:],
        _row("fence", "fence gap", u[9], normal, plane)[None],
    )
    bar = _row("fence", "fence bar", u[10], normal, plane)
    step = 0.35 if u[11] < 0.6 else 0.8
    z = np.arange(z0, z1, step)[:, None]
    pickets = np.stack(
        [
            z + step * 0.45 * np.array([0, 1, 1, 0]),
            np.tile(np.array([0.0, 0.0, top, top]), (len(z), 1)),
        ],
        -1,
    )
    canvas.paint_alike(_along(x, pickets), bar)
    rails = [[(z0, h), (z1, h), (z1, h + 0.12), (z0, h + 0.12)] for h in (0.25, top - 0.25)]
    for rail in rails:  # one by one: they cross the pickets
        canvas.paint_alike(_along(x, np.array([rail])), bar)
    canvas.casters.append(
        (np.array([(x, z0), (x, z1), (x + side * 0.1, z1), (x + side * 0.1, z0)]), top * 0.6)
    )


def _draw_hedge(canvas: Canvas, x: float, side: int, z0: float, z1: float, u: np.ndarray) -> None:
    rows = _block_rows("vegetation", "leaves", u[9], x, side, z0)
    canvas.paint(_wall_quads(x, side, z0, z1, 0, 0.9 + u[8], 1.0), rows)


_BLOBS = 7  # six around and one in the middle make the crown of a tree
_BLOB_TURN = 2 * np.pi * np.arange(_BLOBS) / (_BLOBS - 1)
_BLOB_SPREAD = np.where(np.arange(_BLOBS) < _BLOBS - 1, 0.27, 0.0)
_BLOB_SHADE = np.linspace(0.75, 1.2, _BLOBS)


def _blobs(
    canvas: Canvas,
    place: tuple[float, float],
    size: tuple[float, float],
    bottom: float,
    variant: float,
    u: np.ndarray,
) -> None:
    """Paint foliage `size` metres wide and high from `bottom` up, lighter towards its top."""
    (x, z), (wide, high) = place, size
    around = _BLOB_TURN + 2 * np.pi * u[0]
    a, b = _BLOB_SPREAD * np.cos(around), _BLOB_SPREAD * np.sin(around)
    upwards = np.argsort(b)
    radius = (0.2 + 0.09 * u[np.arange(_BLOBS) % len(u)])[:, None]
    radius = radius * (1 + 0.1 * np.sin(5 * _CIRCLE_TURN + 7 * u[1]))
    points = np.full((_BLOBS, _CORNERS, 3), z)
    points[..., 0] = x + wide * (a[upwards, None] + radius * _CIRCLE[0])
    points[..., 1] = bottom + high * (0.5 + b[upwards, None] + radius * _CIRCLE[1])
    np.maximum(points[..., 1], 0.0, out=points[..., 1])
    row = _row("vegetation", "leaves", variant, _TO_CAMERA, (0, 0, 1, z))
    rows = np.repeat(row[None], _BLOBS, 0)
    rows[:, 3] = _BLOB_SHADE
    canvas.paint(points, rows)


def _draw_tree(canvas: Canvas, x: float, z: float, u: np.ndarray) -> None:
    wide, high, stem = 3.0 + 2.5 * u[7], 3.2 + 3.0 * u[8], 1.4 + 1.4 * u[9]
    if not canvas.sees(x, z, wide / 2):
        return
    trunk = np.array(
        [[(x - 0.17, 0, z), (x + 0.17, 0, z), (x + 0.12, stem + 1, z), (x - 0.12, stem + 1, z)]]
    )
    canvas.paint(trunk, _row("vegetation", "bark", u[10], _TO_CAMERA, (0, 0, 1, z))[None])
    _blobs(canvas, (x, z), (wide, high), stem, u[11], u)
    half = wide * 0.35
    canvas.casters.append(
        (
            np.array(
                [
                    (x - half, z - half),
                    (x + half, z - half),
                    (x + half, z + half),
                    (x - half, z + half),
                ]
            ),
            stem + high * 0.6,
        )
    )


# ----------------------------------------------------------------------------- things in the street


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
            _draw_tree(canvas, self.x, self.z, np.tile(self.u, 2))
            return
        models = _shapes(self.kind)
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
        _place(canvas, shape, self.x, self.z, self.heading, scale, (self.u[4:8] * 7.31) % 1.0)


# Half of the room that a vehicle takes, across and along its way, in metres.
_ROOM = {
    "car": (1.0, 2.6),
    "truck": (1.3, 4.3),
    "bus": (1.35, 6.2),
    "train": (1.35, 10.0),
    "biker": (0.5, 1.5),
    "cyclist": (0.4, 1.3),
}


def _traffic(rng: np.random.Generator, layout: Layout, clutter: float) -> list[Thing]:
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
    lanes = {"own": 0.0, "oncoming": -_LANE, "across": 0.0}
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


def _furniture(rng: np.random.Generator, layout: Layout, style: dict[str, float]) -> list[Thing]:
    """Return the people, the parked two-wheelers, poles, lights, signs and trees at the road."""
    clutter = style["clutter"]
    things = []

    def spread(kind: str, mean: float, inner: float, outer: float, heading=None) -> None:
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


# ----------------------------------------------------------------------------------- light and lens


def _render(
    canvas: Canvas,
    surfaces: Surfaces,
    surface_of_pixel: np.ndarray,
    rng: np.random.Generator,
    style: dict[str, float],
) -> np.ndarray:
    """Return the image, uint8 (height, width, 3)."""
    camera = canvas.camera
    variety = style["variety"] * rng.uniform(-1, 1, 4)
    azimuth = rng.uniform(-1.2, 1.2) + np.pi * (rng.random() < 0.3)
    illumination = float(np.clip(style["illumination"] + 0.25 * variety[0], 0, 1))
    # The higher the illumination the lower the sun; with none there is only the sky's own light.
    elevation = np.deg2rad(65 - 35 * illumination)
    flat = np.cos(elevation)
    sun = np.array([np.sin(azimuth) * flat, np.sin(elevation), -np.cos(azimuth) * flat], np.float32)
    tint = np.array([1.0, 1.0, 1.0]) + (style["warmth"] + 0.04 * variety[1]) * np.array(
        [1.0, 0.1, -1.0]
    )
    exposure = style["exposure"] * (1 + 0.15 * variety[2])

    colours = _surface_colours(surfaces, sun, illumination, style)
    colours = (colours * (tint * exposure)).astype(np.float32)
    image = colours.take(canvas.pixels, axis=0)
    image = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)

    ray_x, ray_y = camera.rays()
    plane = surfaces.plane.take(surface_of_pixel, axis=1)
    slant = plane[0] * ray_x + plane[1] * ray_y[:, None] + plane[2]
    # Edges of a surface may look beyond its plane; such pixels count as far away.
    depth = np.clip(plane[3] / np.where(np.abs(slant) < 1e-4, 1e-4, slant), _NEAR, _FAR)
    brightness = 1 + style["texture"] * _texture(surfaces, surface_of_pixel, plane, depth, camera)
    on_ground = plane[1] > 0.5
    darkness = style["shadow"] * illumination * 0.8
    if darkness > 0:
        brightness *= 1 - darkness * _shadows(canvas, sun) * on_ground
    image *= brightness[..., None]

    fog = style["fog"] * (1 + 0.4 * variety[3])
    if fog > 0:
        clear = np.exp(depth * (-max(fog, 0.0) / 30))[..., None]
        haze = (np.array([0.74, 0.77, 0.8]) * tint * exposure).astype(np.float32)
        image -= haze
        image *= clear
        image += haze
    return _expose(image, rng, style)


def _surface_colours(
    surfaces: Surfaces, sun: np.ndarray, illumination: float, style: dict[str, float]
) -> np.ndarray:
    """Return (surface, 3): colours in the light of the day, 0..1 and above."""
    both = _palettes()
    palette = both[0] + style["palette"] * (both[1] - both[0])
    variant = surfaces.variant
    colours = palette[surfaces.material, (variant * _COLOURS).astype(np.intp) % _COLOURS]
    # Digits of the variant that the choice above did not use: the same for all faces of a thing.
    rest = (variant * 613.0) % 1.0 * 2 - 1
    jitter = np.array([m.jitter for m in MATERIALS.values()], np.float32)[surfaces.material]
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    colours = grey[:, None] + style["saturation"] * (colours - grey[:, None])
    facing = np.maximum(surfaces.normal @ sun, 0.0)
    # An upright sky light and a sun that add up to about 1 on the ground.
    sky_light = (0.85 - 0.3 * illumination) * (0.85 + 0.15 * surfaces.normal[:, 1])
    light = sky_light + 0.75 * illumination * facing + 0.12 * (1 - illumination)
    glows = np.array([m.glows for m in MATERIALS.values()])[surfaces.material]
    light = np.where(glows, 1.0, light) * surfaces.shade * (1 + jitter * rest)
    return np.clip(colours, 0, 1) * light[:, None]


def _texture(
    surfaces: Surfaces,
    surface_of_pixel: np.ndarray,
    plane: np.ndarray,
    depth: np.ndarray,
    camera: Camera,
) -> np.ndarray:
    """Return float32 (height, width): relative brightness, about 0, in the world's own scale."""
    materials = list(MATERIALS.values())
    kind = np.array([_TEXTURES.index(m.texture) for m in materials])[surfaces.material]
    texel = np.array([_TEXEL[m.texture] for m in materials], np.float32)[surfaces.material]
    contrast = np.array([m.contrast for m in materials], np.float32)[surfaces.material]
    ray_x, ray_y = camera.rays()
    per_texel = depth / texel.take(surface_of_pixel)
    along = np.where(plane[0] > 0.5, per_texel, per_texel * ray_x)
    up = np.where(plane[1] > 0.5, per_texel, per_texel * ray_y[:, None])
    tiles = _textures().reshape(-1)
    place = kind.take(surface_of_pixel) * (_TILE * _TILE)
    place += (np.floor(up).astype(np.intp) & (_TILE - 1)) * _TILE
    place += np.floor(along).astype(np.intp) & (_TILE - 1)
    # A pixel that covers many texels sees their mean: the contrast falls with distance.
    covered = per_texel / camera.focal
    return (
        tiles.take(place) * contrast.take(surface_of_pixel) / np.sqrt(1 + covered * covered * 0.3)
    )


def _shadows(canvas: Canvas, sun: np.ndarray) -> np.ndarray:
    """Return float32 (height, width), 0..1: how much the sun is hidden from the ground."""
    camera = canvas.camera
    mask = np.zeros((camera.height, camera.width), np.uint8)
    if not canvas.casters:
        return mask.astype(np.float32)
    feet = np.array([foot for foot, _ in canvas.casters])
    heights = np.minimum(np.array([high for _, high in canvas.casters]), 12.0)
    # A shadow reaches away from the sun; 0.6 m at least, so that things stand on the ground.
    away = -(sun[[0, 2]] / max(float(sun[1]), 0.2))[None, None] * heights[:, None, None]
    corners = np.concatenate([feet, feet + away], 1)
    points = np.stack(
        [corners[..., 0], np.zeros(corners.shape[:2]), np.maximum(corners[..., 1], _NEAR)], -1
    )
    pixels = np.rint(np.clip(camera.project(points) - 0.5, -4000, 8000) * 8).astype(np.int32)
    for outline in pixels:
        cv2.fillConvexPoly(mask, cv2.convexHull(outline), 255, cv2.LINE_8, 3)
    soft = cv2.GaussianBlur(mask, (0, 0), max(camera.width / 250, 0.3))
    return soft.astype(np.float32) / 255


def _expose(image: np.ndarray, rng: np.random.Generator, style: dict[str, float]) -> np.ndarray:
    """Return uint8: what lens and sensor make of the light."""
    height, width = image.shape[:2]
    sigma = style["blur"] * width / 192
    if sigma > 0:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    np.clip(image, 0, 1, out=image)
    if style["gamma"] != 1:
        image = image ** np.float32(style["gamma"])
    image *= 255
    if style["noise"] > 0:
        grain = rng.standard_normal((height, width, 3), np.float32)
        grain *= style["noise"]
        image += grain
    np.clip(image, 0, 255, out=image)
    return np.rint(image, out=image).astype(np.uint8)
