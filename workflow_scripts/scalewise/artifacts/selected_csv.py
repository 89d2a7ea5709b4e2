"""`selected.csv`: the confident images of a round, in the order in which they were taken."""

from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"rank": int, "image": str, "classes": str, "score": float}


@dataclass(frozen=True)
class SelectedRow:
    """rank from 0, image id, names of the classes it was taken for, score for the first of them."""

    rank: int
    image: str
    classes: tuple[str, ...]
    score: float


def write(path: str | Path, rows: list[SelectedRow]) -> None:
    table.write(
        path, list(_TYPES), ((r.rank, r.image, "; ".join(r.classes), r.score) for r in rows)
    )


def read(path: str | Path) -> list[SelectedRow]:
    columns = table.read(path, _TYPES)
    return [
        SelectedRow(rank, image, tuple(classes.split("; ")) if classes else (), score)
        for rank, image, classes, score in zip(*columns.values(), strict=True)
    ]
