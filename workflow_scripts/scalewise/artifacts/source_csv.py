"""`source.csv`: how well a network still does on the source, one row for each image looked at."""

from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"id": str, "pixels": int, "loss": float}


@dataclass(frozen=True)
class SourceRow:
    """A source image.

    Attributes:
        id: of the image.
        pixels: labelled ones, at the working size.
        loss: mean cross-entropy of these, in nats; NaN where there are none.
    """

    id: str
    pixels: int
    loss: float


def write(path: str | Path, rows: list[SourceRow]) -> None:
    table.write_rows(path, _TYPES, rows)


def read(path: str | Path) -> list[SourceRow]:
    return table.read_rows(path, _TYPES, SourceRow)
