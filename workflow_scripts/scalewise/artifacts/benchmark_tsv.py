"""`results/benchmarks/<stage>/<key>.tsv`: what the engine saw of a job."""

import csv
from pathlib import Path


def peak_memory(path: str | Path) -> float | None:
    """Most memory that the job held, in MB; None where it was not looked at, as in a short job."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return max(float(row["max_rss"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None
