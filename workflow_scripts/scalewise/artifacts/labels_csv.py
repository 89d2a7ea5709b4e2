"""`labels.csv`: the readable labels of a set, one row each: size, hash, pixels per class."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"id": str, "path": str, "width": int, "height": int, "hash": str, "ignored": int}


@dataclass(frozen=True)
class LabelRow:
    """id, path relative to the set's root, size in pixels, hash, ignored pixels, and the pixels of
    every class in class order."""

    id: str
    path: str
    width: int
    height: int
    hash: str
    ignored: int
    pixels: tuple[int, ...]


def write(path: str | Path, rows: list[LabelRow], classes: list[str]) -> None:
    header = [*_TYPES, *(f"pixels: {name}" for name in classes)]
    table.write(
        path,
        header,
        ((r.id, r.path, r.width, r.height, r.hash, r.ignored, *r.pixels) for r in rows),
    )


def read(path: str | Path, classes: Sequence[str] = ()) -> list[LabelRow]:
    """Read the rows; `pixels` holds the counts of the named classes, in that order."""
    pixel_columns = [f"pixels: {name}" for name in classes]
    columns = table.read(path, {**_TYPES, **dict.fromkeys(pixel_columns, int)})
    fixed = zip(*(columns[name] for name in _TYPES), strict=True)
    pixels = zip(*(columns[name] for name in pixel_columns), strict=True)
    return [
        LabelRow(*row, counts)
        for row, counts in zip(fixed, chain(pixels, repeat(())), strict=False)
    ]
