"""The canvas of surface numbers, and the table that says what each surface is."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from scalewise.data.streets.camera import Camera
from scalewise.data.streets.materials import MATERIAL_NUMBER
from scalewise.taxonomy import CITYSCAPES, CITYSCAPES_LABEL_IDS

Pair = tuple[float, float]

OVERSAMPLING = 2  # canvas pixels per image pixel along each axis: smooth edges in the image
_SUBPIXEL_BITS = 4
LABEL_ID = dict(zip(CITYSCAPES.names, CITYSCAPES_LABEL_IDS, strict=True))
TO_CAMERA = (0.0, 0.0, -1.0)
UP = (0.0, 1.0, 0.0)


class Surfaces(NamedTuple):
    """The table of n surfaces."""

    label: np.ndarray  # uint8 (n,), Cityscapes label id
    material: np.ndarray  # int (n,)
    variant: np.ndarray  # float32 (n,), 0..1
    shade: np.ndarray  # float32 (n,), relative brightness
    normal: np.ndarray  # float32 (n, 3), towards the outside
    plane: np.ndarray  # float32 (4, n): points (x, y, z) with plane[:3, i] @ point == plane[3, i]


def surface_row(
    label: str,
    material: str,
    variant: float,
    normal: Sequence[float],
    plane: Sequence[float],
    shade: float = 1.0,
) -> np.ndarray:
    """Return float32 (11,): one row of the surface table, in the order of `Surfaces`."""
    head = (LABEL_ID[label], MATERIAL_NUMBER[material], variant, shade)
    return np.array((*head, *normal, *plane), np.float32)


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
        """Paint convex polygons (n, corners, 3) in their order, a `surface_row` for each."""
        count, corners = polygons.shape[:2]
        self.paint_mixed(polygons.reshape(-1, 3), [corners] * count, rows)

    def paint_mixed(self, points: np.ndarray, corners: list[int], rows: np.ndarray) -> None:
        """Paint convex polygons whose corners follow each other in `points` (sum(corners), 3)."""
        self._points.append(points)
        self._corners += corners
        self._numbers += range(self._used, self._used + len(corners))
        self._rows.append(rows)
        self._used += len(corners)

    def paint_alike(self, polygons: np.ndarray, row: np.ndarray) -> None:
        """Paint convex polygons (n, corners, 3) as one and the same surface."""
        count, corners = polygons.shape[:2]
        if count:
            self._points.append(polygons.reshape(-1, 3))
            self._corners += [corners] * count
            self._numbers += [self._used] * count
            self._rows.append(row[None])
            self._used += 1

    def cast_shadow(self, x: Pair, z: Pair, height: float) -> None:
        """Note that a block casts a shadow; `x` and `z` are (from, to)."""
        (x0, x1), (z0, z1) = x, z
        footprint = np.array([(x0, z0), (x0, z1), (x1, z1), (x1, z0)])
        self.casters.append((footprint, height))

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
