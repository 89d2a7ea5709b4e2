"""`accepted.csv`: whose weights went on after each round so far, one row for each."""

from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"round": int, "weights_of": int, "alarms": str}


@dataclass(frozen=True)
class AcceptedRow:
    """What became of a round.

    Attributes:
        round: which one, from 1.
        weights_of: the round whose weights went on: itself, or the last accepted one; 0 is
            source-only.
        alarms: why it was not accepted, in words; empty where it was.
    """

    round: int
    weights_of: int
    alarms: str


def write(path: str | Path, rows: list[AcceptedRow]) -> None:
    table.write_rows(path, _TYPES, rows)


def read(path: str | Path) -> list[AcceptedRow]:
    return table.read_rows(path, _TYPES, AcceptedRow)
