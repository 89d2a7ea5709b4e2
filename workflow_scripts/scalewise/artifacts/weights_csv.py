"""`weights.csv`: what became of every tensor of a weights file and of the network."""

from collections.abc import Iterable
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"tensor": str, "verdict": str, "shapes": str}


def write(path: str | Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """rows: tensor, verdict (matched, missing, unexpected, of another shape), and for the last both
    shapes: the file's and the network's."""
    table.write(path, list(_TYPES), rows)


def read(path: str | Path) -> list[tuple[str, str, str]]:
    return list(zip(*table.read(path, _TYPES).values(), strict=True))
