"""`labels.csv`: the readable labels of a set, one row each: size, hash, ids, pixels per class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {
    "id": str,
    "path": str,
    "width": int,
    "height": int,
    "hash": str,
    "mode": str,
    "ids": str,
    "ignored": int,
}


@dataclass(frozen=True)
class LabelRow:
    """id, path relative to the set's root, size in pixels, hash, ignored pixels, the pixels of
    every class in class order, the file's mode, and the raw ids that it holds."""

    id: str
    path: str
    width: int
    height: int
    hash: str
    ignored: int
    pixels: tuple[int, ...]
    mode: str = ""
    ids: tuple[int, ...] = ()


def write(path: str | Path, rows: Iterable[LabelRow], classes: Sequence[str]) -> None:
    def cells(r: LabelRow) -> tuple:
        ids = " ".join(map(str, r.ids))
        return (r.id, r.path, r.width, r.height, r.hash, r.mode, ids, r.ignored, *r.pixels)

    table.write(path, [*_TYPES, *(f"pixels: {name}" for name in classes)], map(cells, rows))


def read(path: str | Path, classes: Sequence[str] = ()) -> list[LabelRow]:
    """Read the rows; `pixels` holds the counts of the named classes, in that order."""
    pixel_columns = [f"pixels: {name}" for name in classes]
    columns = table.read(path, {**_TYPES, **dict.fromkeys(pixel_columns, int)})
    pixels = chain(zip(*(columns.pop(name) for name in pixel_columns), strict=True), repeat(()))
    columns["ids"] = [tuple(map(int, ids.split())) for ids in columns["ids"]]
    return [
        LabelRow(pixels=counts, **dict(zip(_TYPES, row, strict=True)))
        for row, counts in zip(zip(*columns.values(), strict=True), pixels, strict=False)
    ]
