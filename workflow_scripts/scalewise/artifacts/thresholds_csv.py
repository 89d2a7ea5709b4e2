"""`thresholds.csv`: per class the entropy threshold tau, where it came from, what it keeps."""

from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {
    "class": str,
    "tau": float,
    "image": str,
    "taken": int,
    "ranked": int,
    "kept": float,
    "seen": int,
}


@dataclass(frozen=True)
class ThresholdRow:
    """Class name, tau (normalised entropy, 0..1), the image it came from (empty: no single one, or
    none at all and the last finite value stays), images taken and ranked for the class, the share
    (0..1) of the patches' pixels of this predicted class that tau keeps (NaN where there are none),
    and how many pixels of this predicted class the patches have."""

    name: str
    tau: float
    image: str
    taken: int
    ranked: int
    kept: float
    seen: int


def write(path: str | Path, rows: list[ThresholdRow]) -> None:
    table.write_rows(path, _TYPES, rows)


def read(path: str | Path) -> list[ThresholdRow]:
    return table.read_rows(path, _TYPES, ThresholdRow)
