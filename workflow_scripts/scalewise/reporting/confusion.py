"""What was taken for what: the confusion matrices, as shares of the pixels of each label."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalewise.artifacts import table
from scalewise.reporting import cells, figures

MOST = 12  # mistakes in the table of an experiment


@dataclass(frozen=True)
class Confusion:
    """One evaluation's matrix: int64 (K, K), rows the label, columns the prediction, in pixels."""

    experiment: str
    seed: int
    round: int
    matrix: np.ndarray


def read(path: Path, classes: Sequence[str]) -> np.ndarray:
    columns = table.read(path, dict.fromkeys(classes, int))
    return np.array([columns[name] for name in classes], np.int64).T


def summed(
    confusions: Iterable[Confusion], experiment: str, number: int | None = None
) -> tuple[int, np.ndarray] | None:
    """Of one experiment its last round, or the round of this number, and the sum of its matrices
    over seeds; None where there is none."""
    own = [c for c in confusions if c.experiment == experiment]
    if number is None:
        number = max((c.round for c in own), default=0)
    chosen = [c.matrix for c in own if c.round == number]
    return (number, np.sum(chosen, axis=0)) if chosen else None


def shares(matrix: np.ndarray) -> np.ndarray:
    """Percent of each label's pixels, float (K, K); NaN in the row of a class without a pixel."""
    total = matrix.sum(1, keepdims=True)
    return np.where(total > 0, 100 * matrix / np.maximum(total, 1), np.nan)


def mistakes(
    matrix: np.ndarray, before: np.ndarray | None, classes: Sequence[str], most: int = MOST
) -> list[dict[str, Any]]:
    """The pairs of classes with most wrong pixels, most first.

    Args:
        matrix: (K, K) of the last round; before: the same of source-only, if that is there.

    Returns:
        label, predicted, pixels, share (percent of the label's pixels), change (of the share since
        source-only, in points; NaN where that is not known).
    """
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    now = shares(matrix)
    then = np.full(now.shape, np.nan) if before is None else shares(before)
    found = []
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[row, column]:
            found.append(
                {
                    "label": classes[row],
                    "predicted": classes[column],
                    "pixels": int(wrong[row, column]),
                    "share": float(now[row, column]),
                    "change": float(now[row, column] - then[row, column]),
                }
            )
    return found


def tables(
    confusions: Sequence[Confusion],
    experiments: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """The worst mistakes of each experiment, for the page."""
    found = []
    for experiment in experiments:
        last = summed(confusions, experiment["name"])
        if last is None:
            continue
        number, matrix = last
        before = summed(confusions, experiment["name"], 0) if number else None
        rows = [
            {
                **row,
                "count": f"{row['pixels']:,}",
                "text": cells.number(row["share"]),
                "moved": cells.signed(row["change"]),
                "tone": cells.tone(-row["change"]),  # fewer mistakes are better
            }
            for row in mistakes(matrix, before[1] if before else None, classes)
        ]
        found.append({"name": experiment["name"], "round": number, "rows": rows})
    return found


def drawing(matrix: np.ndarray, classes: Sequence[str]) -> figures.Drawing:
    """The matrix as shades, with the percentage where it is 1 or more."""
    values, count = shares(matrix), len(classes)
    side = 2.0 + 0.27 * count
    with figures.styled():
        figure = figures.blank(max(side + 0.7, 4.2), max(side, 3.4))
        axes = figure.subplots()
        shown = axes.pcolormesh(values, cmap=figures.SCALE, vmin=0, vmax=100)
        for row, column in zip(*np.nonzero(np.nan_to_num(values) >= 0.95), strict=True):
            value = values[row, column]
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if value < 55 else "black",
            )
        names = [figures.short(name, 22) for name in classes]
        axes.set_xticks(np.arange(count) + 0.5, names, rotation=90)
        axes.set_yticks(np.arange(count) + 0.5, names)
        axes.tick_params(length=0, labelsize=8)
        axes.set_xlim(0, count)
        axes.set_ylim(count, 0)
        axes.set_aspect("equal")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("label")
        bar = figure.colorbar(shown, ax=axes, shrink=0.7)
        bar.solids.set(rasterized=False, edgecolor="face")
        bar.set_label("pixels of the label (%)")
        return figures.Drawing(figure)
