"""`problems.csv`: what is wrong with which file of a data set, in words, and the verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts import table

_TYPES = {"file": str, "problem": str, "verdict": str}


@dataclass(frozen=True)
class Problem:
    """A file (path as a person finds it), its problem, and the verdict: `stop` (nothing is
    trained), `skip` (the file is left out) or `warn` (nothing is done about it)."""

    file: str
    problem: str
    verdict: str = "stop"


def write(path: str | Path, problems: Iterable[Problem]) -> None:
    table.write_rows(path, _TYPES, problems)


def read(path: str | Path) -> list[Problem]:
    return table.read_rows(path, _TYPES, Problem)
