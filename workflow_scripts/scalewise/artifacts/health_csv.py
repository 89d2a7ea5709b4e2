"""`health.csv`: what a round was checked for, one row for each measure."""

from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

OK, WARN = "ok", "warn"
_TYPES = {
    "measure": str,
    "value": float,
    "previous": float,
    "limit": float,
    "verdict": str,
    "sentence": str,
}


@dataclass(frozen=True)
class HealthRow:
    """One measure of a round.

    Attributes:
        measure: kept, source, histogram, agreement, entropy or classes (see `selftraining.health`).
        value: what it is now; NaN where it could not be measured.
        previous: what it was in the round before, of source before the rounds; NaN where there is
            none, or where the measure compares two rounds itself.
        limit: what the value must not pass, in its unit; NaN where there is none.
        verdict: ok or warn.
        sentence: the same in words.
    """

    measure: str
    value: float
    previous: float
    limit: float
    verdict: str
    sentence: str


def write(path: str | Path, rows: list[HealthRow]) -> None:
    table.write_rows(path, _TYPES, rows)


def read(path: str | Path) -> list[HealthRow]:
    return table.read_rows(path, _TYPES, HealthRow)
