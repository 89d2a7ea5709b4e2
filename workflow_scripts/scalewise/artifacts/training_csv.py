"""`training.csv`: one row for each step: step, learning rate, and the terms of the loss.

It holds no times, so that equal trainings write equal bytes."""

from pathlib import Path

import numpy as np

from scalewise.artifacts import table


def write(path: str | Path, columns: list[str], rows: np.ndarray) -> None:
    """columns: names after `step`; rows: float64 (steps, len(columns)), row k is step k."""
    table.write(path, ["step", *columns], ([k, *map(float, row)] for k, row in enumerate(rows)))
