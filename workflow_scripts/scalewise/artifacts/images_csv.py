"""`images.csv`: the readable images of a set, one row each, sorted by id."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"id": str, "path": str, "width": int, "height": int, "hash": str, "mode": str}


@dataclass(frozen=True, slots=True)
class ImageRow:
    """id, path relative to the set's root, size in pixels, hash of the file's bytes, its mode."""

    id: str
    path: str
    width: int
    height: int
    hash: str
    mode: str = ""


def write(path: str | Path, rows: Iterable[ImageRow]) -> None:
    table.write_rows(path, _TYPES, rows)


def read(path: str | Path) -> list[ImageRow]:
    return table.read_rows(path, _TYPES, ImageRow)
