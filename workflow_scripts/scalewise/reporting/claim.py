"""The paper's claim, measured in every round: scaled up, an object makes the network less sure.

On a sample of images (`patches.claim_images`) the network sees the scaled-up crop as well. Pixels
are counted by the class that is predicted at the original scale.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalewise.reporting import cells, figures
from scalewise.reporting.rounds import RoundFiles, by_class, frame

SAME_SIZE = 1.01  # crops that grew by less than this were not scaled up


def read(rounds: Iterable[RoundFiles], classes: Sequence[str]) -> pd.DataFrame:
    """The claim of each round whose patches are there and were scaled up.

    Returns:
        Columns experiment, seed, round, class, pixels, entropy (mean, nats) at the original scale,
        scaled_pixels, scaled_entropy on the scaled-up crop, agreement (percent of its pixels that
        are predicted as before), difference (scaled_entropy - entropy). NaN where no pixel is.
    """
    rows = []
    for one in rounds:
        patches = one.patches()
        found = {} if patches is None else patches.claim()
        if not found or found["scaled_pixels"].sum() <= SAME_SIZE * found["pixels"].sum():
            continue
        columns = ("pixels", "entropy", "scaled_pixels", "scaled_entropy", "agreement")
        for k, name in enumerate(classes):
            values = [float(found[column][k]) for column in columns]
            values[-1] *= 100
            rows.append((*one.who, name, *values, values[3] - values[1]))
    return frame(
        rows,
        *("class", "pixels", "entropy", "scaled_pixels", "scaled_entropy", "agreement"),
        "difference",
    )


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """The means over all pixels of each round.

    Returns:
        Columns experiment, seed, round, entropy, scaled_entropy (nats), agreement (percent).
    """
    rows = []
    for who, part in table.groupby(["experiment", "seed", "round"], sort=False):
        weights = {
            "entropy": "pixels",
            "scaled_entropy": "scaled_pixels",
            "agreement": "scaled_pixels",
        }
        means = []
        for name, weight in weights.items():
            known = part[part[name].notna()]
            means.append((known[name] * known[weight]).sum() / known[weight].sum())
        rows.append((*who, *means))
    return frame(rows, "entropy", "scaled_entropy", "agreement")


def sentence(means: pd.DataFrame) -> str:
    """Whether the claim held, in words. means: from `overall`."""
    higher = int((means["scaled_entropy"] > means["entropy"]).sum())
    rounds = len(means)
    return (
        f"The mean entropy is higher on the scaled-up crops in {higher} of {rounds} "
        f"{'round' if rounds == 1 else 'rounds'} (every experiment, seed and round that scales up)."
    )


def tables(table: pd.DataFrame, experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each experiment that scales up: classes x rounds, means over seeds; and a row for all."""
    means = overall(table)
    found = []
    for _, shown in by_class(table, experiments, _cell):
        mine = means[means["experiment"] == shown["name"]]
        total = [_cell(mine[mine["round"] == number]) for number in shown["rounds"]]
        found.append({**shown, "total": total})
    return found


def _cell(part: pd.DataFrame) -> dict[str, Any]:
    before, after, agreement = (
        cells.mean(part[name]) for name in ("entropy", "scaled_entropy", "agreement")
    )
    return {
        "before": cells.number(before, 3) or cells.NONE,
        "after": cells.number(after, 3) or cells.NONE,
        "agreement": cells.number(agreement) or cells.NONE,
        "value": after - before,
    }


def drawing(means: pd.DataFrame, experiments: Sequence[Mapping[str, Any]]) -> figures.Drawing:
    """Entropy at the original scale and scaled up, and how far both predictions agree.

    means: from `overall`.
    """
    with figures.styled():
        figure = figures.blank(7.2, 3.0)
        left, right = figure.subplots(1, 2)
        handles, names = [], []
        for name in figures.lines(experiments, means["experiment"]):
            own = means[means["experiment"] == name].groupby("round").mean(numeric_only=True)
            drawn = figures.line_style(experiments, name)
            left.plot(own.index, own["entropy"], **{**drawn, "linestyle": "-"})
            scaled = {**drawn, "linestyle": ":", "markerfacecolor": "none"}
            left.plot(own.index, own["scaled_entropy"], **scaled)
            right.plot(own.index, own["agreement"], **{**drawn, "linestyle": "-"})
            handles.append(figures.handle(drawn))
            names.append(name)
        for axes, label in ((left, "mean entropy (nats)"), (right, "same class on both (%)")):
            axes.set_xlabel("round")
            axes.set_ylabel(label)
            axes.set_xticks(sorted(map(int, means["round"].unique())))
            axes.grid(axis="y")
        figures.legend(figure, handles, names)
        return figures.Drawing(figure)


def is_known(table: pd.DataFrame) -> bool:
    return bool(len(table)) and bool(np.isfinite(table["entropy"]).any())
