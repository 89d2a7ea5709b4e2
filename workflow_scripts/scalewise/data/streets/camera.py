"""The pinhole camera that looks along the street."""

from dataclasses import dataclass

import numpy as np

NEAR = 0.8  # metres; nothing is drawn nearer
FAR = 140.0  # metres; here the sky is painted, and nothing counts as farther
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
        scale = self.focal / np.maximum(points[..., 2], NEAR)
        columns = self.column + scale * points[..., 0]
        rows = self.row + scale * (self.above_ground - points[..., 1])
        return np.stack([columns, rows], -1)

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x (width,) and y (height,), float32, of the rays with z = 1 through the pixels."""
        x = (np.arange(self.width, dtype=np.float32) + 0.5 - self.column) / self.focal
        y = (self.row - 0.5 - np.arange(self.height, dtype=np.float32)) / self.focal
        return x.astype(np.float32), y.astype(np.float32)


def camera_of(rng: np.random.Generator, height: int, width: int, style: dict[str, float]) -> Camera:
    """Return the camera of one picture, `height` x `width` pixels, turned by a random jitter."""
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
