"""How right the pseudo-labels are, where labels of the target's training images may judge them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalewise.artifacts.audit_csv import AuditRow
from scalewise.reporting import cells
from scalewise.reporting.rounds import frame
from scalewise.reporting.tables import Audit
from scalewise.taxonomy import ALL_CLASSES


def table(audits: Sequence[Audit]) -> pd.DataFrame:
    """Columns experiment, seed, round, class (without the sum over all), and of `audit.csv` the
    counts and accuracy_kept, accuracy, kept_share (percent; NaN where there is no pixel)."""
    columns = ("seen", "kept", "right", "right_kept", "ignored")
    columns += ("kept_share", "accuracy_kept", "accuracy")
    rows = [
        (a.experiment, a.seed, a.round, row.name, *(getattr(row, name) for name in columns))
        for a in audits
        for row in a.rows
        if row.name != ALL_CLASSES
    ]
    return frame(rows, "class", *columns)


def tables(audits: Sequence[Audit], order: Sequence[str]) -> list[dict[str, Any]]:
    """Of each experiment whose pseudo-labels were audited: classes x rounds, means over seeds."""
    found = []
    for name in order:
        own = [a for a in audits if a.experiment == name]
        by_round: dict[int, list[Audit]] = {}
        for one in sorted(own, key=lambda a: a.round):
            by_round.setdefault(one.round, []).append(one)
        if not own:
            continue
        *classes, total = [
            {
                "name": row.name,
                "cells": [_cell([a.rows[k] for a in ones]) for ones in by_round.values()],
            }
            for k, row in enumerate(own[0].rows)
        ]
        found.append(
            {
                "name": name,
                "rounds": list(by_round),
                "seeds": len({a.seed for a in own}),
                "rows": classes,
                "total": total,
            }
        )
    return found


def _cell(rows: Sequence[AuditRow]) -> dict[str, Any]:
    """Percentages of one class and round, means over the seeds that have one."""
    means = {
        name: cells.mean(getattr(row, name) for row in rows)
        for name in ("accuracy_kept", "accuracy", "kept_share")
    }
    written = {name: cells.number(value) or cells.NONE for name, value in means.items()}
    return {**written, "value": means["accuracy_kept"]}


def is_known(table: pd.DataFrame) -> bool:
    return bool(np.isfinite(table["accuracy_kept"].astype(float)).any())
