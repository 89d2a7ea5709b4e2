"""`audit.csv`: how right the pseudo-labels of a round are, a row for each class and one for all."""

import math
from dataclasses import dataclass, fields
from pathlib import Path

from scalewise.artifacts import table
from scalewise.taxonomy import ALL_CLASSES


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan


@dataclass(frozen=True)
class AuditRow:
    """Pixels of the patches that are predicted as one class, or as any: counts.

    Attributes:
        name: the class; `all` for the sum over them, the last row of a file.
        seen: pixels whose label is a class, right or wrong.
        kept: those of them that the threshold keeps to teach.
        right: those of `seen` that are predicted as their label says.
        right_kept: those of `kept` that are.
        ignored: further pixels that have no label to judge by; they are in no other count.
    """

    name: str
    seen: int
    kept: int
    right: int
    right_kept: int
    ignored: int

    @property
    def kept_share(self) -> float:
        """Percent of the seen pixels that are kept; NaN where none is seen."""
        return _percent(self.kept, self.seen)

    @property
    def accuracy_kept(self) -> float:
        """Percent of the kept pixels that are right; NaN where none is kept."""
        return _percent(self.right_kept, self.kept)

    @property
    def accuracy(self) -> float:
        """Percent of the seen pixels that are right; NaN where none is seen."""
        return _percent(self.right, self.seen)


_COUNTS = [field.name for field in fields(AuditRow)][1:]
_SHARES = ["kept_share", "accuracy_kept", "accuracy"]


def write(path: str | Path, rows: list[AuditRow]) -> None:
    """rows: one for each class, in class order; that of all of them is added."""
    total = AuditRow(ALL_CLASSES, *(sum(getattr(r, name) for r in rows) for name in _COUNTS))
    table.write(
        path,
        ["class", *_COUNTS, *_SHARES],
        ([r.name, *(getattr(r, name) for name in _COUNTS + _SHARES)] for r in [*rows, total]),
    )


def read(path: str | Path) -> list[AuditRow]:
    """The rows of all classes, in class order, and that of all of them last."""
    return table.read_rows(path, {"class": str, **dict.fromkeys(_COUNTS, int)}, AuditRow)
