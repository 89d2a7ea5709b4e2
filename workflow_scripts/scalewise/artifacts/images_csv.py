"""`images.csv`: the readable images of a set, one row each, sorted by id."""

from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"id": str, "path": str, "width": int, "height": int, "hash": str}


@dataclass(frozen=True)
class ImageRow:
    """id, path relative to the set's root, size in pixels, hash of the file's bytes."""

    id: str
    path: str
    width: int
    height: int
    hash: str


def write(path: str | Path, rows: list[ImageRow]) -> None:
    table.write(path, list(_TYPES), ((r.id, r.path, r.width, r.height, r.hash) for r in rows))


def read(path: str | Path) -> list[ImageRow]:
    columns = table.read(path, _TYPES)
    return [ImageRow(*row) for row in zip(*columns.values(), strict=True)]
