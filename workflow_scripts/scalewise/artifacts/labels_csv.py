"""`labels.csv`: the readable labels of a set, one row each: size, hash, ids, pixels per class."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
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


def write(path: str | Path, content: Iterable[LabelRow], classes: Sequence[str]) -> None:
    def cells(r: LabelRow) -> tuple:
        ids = " ".join(map(str, r.ids))
        return (r.id, r.path, r.width, r.height, r.hash, r.mode, ids, r.ignored, *r.pixels)

    table.write(path, [*_TYPES, *(f"pixels: {name}" for name in classes)], map(cells, content))


def rows(path: str | Path, classes: Sequence[str] = ()) -> Iterator[LabelRow]:
    """Yield the rows; `pixels` holds the counts of the named classes, in that order."""
    types = {**_TYPES, **{f"pixels: {name}": int for name in classes}}
    for id_, path_, width, height, hash_, mode, ids, ignored, *pixels in table.rows(path, types):
        raw = tuple(map(int, ids.split()))
        yield LabelRow(id_, path_, width, height, hash_, ignored, tuple(pixels), mode, raw)


def read(path: str | Path, classes: Sequence[str] = ()) -> list[LabelRow]:
    """As `rows`, all of them."""
    return list(rows(path, classes))
