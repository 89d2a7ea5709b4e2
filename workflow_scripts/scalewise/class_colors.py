"""A colour for each class of a model, and the table that says which."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scalewise.artifacts import table
from scalewise.comparison import read_record
from scalewise.plan import SETTINGS_FILE
from scalewise.taxonomy import TAXONOMIES

_GOLDEN = 0.618033988749895  # of a turn: successive hues lie far apart, however many there are


def colors_for(classes: Sequence[str], model: str | Path) -> np.ndarray:
    """uint8 (K, 3): those of Cityscapes or CamVid where these are the classes; else those in the
    `settings.json` beside the model file; else hues that lie far apart."""
    for known in TAXONOMIES.values():
        if known.names == tuple(classes):
            return np.array(known.colors, np.uint8)
    record = read_record(Path(model).resolve().parent / SETTINGS_FILE) or {}
    own = ((record.get("config") or {}).get("data") or {}).get("classes")
    if isinstance(own, list) and [c["name"] for c in own] == list(classes):
        return np.array([c["color"] for c in own], np.uint8)
    places = range(len(classes))
    hues = [colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.7, 0.95 - 0.3 * (i % 2)) for i in places]
    return np.round(np.array(hues) * 255).astype(np.uint8)


def write(path: str | Path, classes: Sequence[str], ids: Sequence[int], colors: np.ndarray) -> None:
    """`classes.csv`: class, id (its value in the label maps), red, green, blue (0 to 255)."""
    rows = ([name, id_, *map(int, c)] for name, id_, c in zip(classes, ids, colors, strict=True))
    table.write(path, ["class", "id", "red", "green", "blue"], rows)
