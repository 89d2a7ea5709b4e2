"""Walls along the street: the faces of blocks, and what lies in them."""

import numpy as np

from scalewise.data.streets.canvas import TO_CAMERA, surface_row

# Corners of a pane within its share of the wall.
_PANE_ALONG = np.array([0.25, 0.75, 0.75, 0.25])
_PANE_UP = np.array([0.3, 0.3, 0.8, 0.8])


def window_grid(
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


def along_street(x: float, panes: np.ndarray) -> np.ndarray:
    """Return (n, 4, 3): polygons of (z, y) points in the wall at x along the street."""
    placed = np.full((*panes.shape[:2], 3), x)
    placed[..., 2:0:-1] = panes
    return placed


def across_street(z: float, panes: np.ndarray) -> np.ndarray:
    """Return (n, 4, 3): polygons of (x, y) points in the wall at z across the street."""
    placed = np.full((*panes.shape[:2], 3), z)
    placed[..., :2] = panes
    return placed


def block_faces(
    x: float, side: int, z0: float, z1: float, low: float, high: float, deep: float
) -> np.ndarray:
    """Return (2, 4, 3): the face across the street and the face along it of a block at x."""
    back = x + side * deep
    across = [(x, low, z0), (back, low, z0), (back, high, z0), (x, high, z0)]
    along = [(x, low, z0), (x, low, z1), (x, high, z1), (x, high, z0)]
    return np.array([across, along])


def block_rows(
    label: str, material: str, variant: float, x: float, side: int, z0: float
) -> np.ndarray:
    """Return float32 (2, 11): rows of the surface table for `block_faces`."""
    across = surface_row(label, material, variant, TO_CAMERA, (0, 0, 1, z0))
    along = surface_row(label, material, variant, (-side, 0, 0), (1, 0, 0, x))
    return np.stack([across, along])
