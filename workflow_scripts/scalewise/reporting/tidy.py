"""The tables of the report as one row for each number that was measured, for programs.

What the page shows as means over seeds stands here seed by seed.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scalewise.reporting import quality
from scalewise.reporting.confusion import Confusion, shares
from scalewise.reporting.page import Parts
from scalewise.reporting.rounds import frame
from scalewise.reporting.tables import Audit, Check

_COUNTS = ("pixels", "scaled_pixels", "images", "selected", "seen", "taught")


def sections(
    classes: Sequence[str], checks: Iterable[Check], audits: Sequence[Audit], parts: Parts
) -> dict[str, pd.DataFrame]:
    """Name (of `publishing.TABLES`) -> table, of all but the evaluations. Percent where a column
    says neither pixels, nats nor seconds; NaN, an empty cell, where there is none."""
    found = {
        "confusion": confusion(parts.confusions, classes),
        "health": health(checks),
        "selection": parts.selection,
        "thresholds": parts.thresholds,
        "pseudo_labels": quality.table(audits),
        "claim": parts.claim,
        "cost": cost(parts),
    }
    return {name: _whole(table) for name, table in found.items()}


def confusion(confusions: Iterable[Confusion], classes: Sequence[str]) -> pd.DataFrame:
    """Columns experiment, seed, round, label, predicted, pixels, share (percent of the label's
    pixels). Pairs without a pixel are left out."""
    rows = [
        (*(one.experiment, one.seed, one.round, classes[i], classes[j]), *numbers)
        for one in confusions
        for part in [shares(one.matrix)]
        for i, j in np.argwhere(one.matrix)
        for numbers in [(int(one.matrix[i, j]), float(part[i, j]))]
    ]
    return frame(rows, "label", "predicted", "pixels", "share")


def health(checks: Iterable[Check]) -> pd.DataFrame:
    """Columns experiment, seed, round, network ("labels": that which labels in the round, "result":
    that which it made), measure, value, previous, limit, verdict: as in `health.csv`."""
    rows = [
        (
            *(one.experiment, one.seed, one.round),
            "result" if one.check == "check_result" else "labels",
            *(row.measure, row.value, row.previous, row.limit, row.verdict),
        )
        for one in checks
        for row in one.rows
    ]
    return frame(rows, "network", "measure", "value", "previous", "limit", "verdict")


def cost(parts: Parts) -> pd.DataFrame:
    """Columns stage, jobs, seconds (of all of them), longest_seconds, memory_mb (the most of one
    job), measured_jobs (whose memory is known), devices."""
    columns = {
        "stage": "stage",
        "jobs": "jobs",
        "seconds": "seconds",
        "longest": "longest_seconds",
        "memory": "memory_mb",
        "benchmarks": "measured_jobs",
    }
    table = pd.DataFrame(parts.costs, columns=list(columns)).rename(columns=columns)
    return table.assign(devices=["; ".join(row["devices"]) for row in parts.costs])


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as whole numbers, also where some are not known."""
    counts = [name for name in _COUNTS if name in table]
    return table.astype(dict.fromkeys(counts, "Int64"))
