"""The losses of source training and of the rounds, as curves of a few points."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalewise.reporting import figures
from scalewise.reporting.rounds import RoundFiles, frame

POINTS = 40  # of a training: each is the mean of so many equal parts of its steps
TERMS = ("source", "patch")


def read(rounds: Iterable[RoundFiles]) -> pd.DataFrame:
    """The curves of each training that is there; round 0 is source training.

    Returns:
        Columns experiment, seed, round, term ("loss", and in rounds "source" and "patch"), part
        (of the training's steps that are behind its middle, 0..1), steps (of the whole training),
        value (the mean over the part; NaN where it is not a number in all of it).
    """
    rows = []
    for one in rounds:
        stage = "retrain" if one.round else "train_source"
        path = one.find(stage, "training.csv")
        if path is None:
            continue
        table = pd.read_csv(path)
        for term in ("loss", *TERMS):
            if term in table:
                values = table[term].to_numpy(float)
                rows += [
                    (*one.who, term, part, len(values), value) for part, value in curve(values)
                ]
    return frame(rows, "term", "part", "steps", "value")


def curve(values: np.ndarray, points: int = POINTS) -> list[tuple[float, float]]:
    """The means of equal parts of a series, each with the place of its middle, 0..1.

    Values that are not finite do not count; a part with none that is gives NaN.
    """
    parts = np.array_split(np.asarray(values, float), min(points, max(len(values), 1)))
    found, done = [], 0
    for part in parts:
        if not len(part):
            continue
        finite = part[np.isfinite(part)]
        mean = float(finite.mean()) if len(finite) else np.nan
        found.append(((done + len(part) / 2) / len(values), mean))
        done += len(part)
    return found


def drawing(table: pd.DataFrame, experiments: Sequence[Mapping[str, Any]]) -> figures.Drawing:
    """Source training by steps; and in the rounds, the loss on source and on patches. Means over
    seeds.

    Args:
        table: from `read`.
        experiments: `Project.experiments`: names, roles, and the order of the colours.
    """
    titles = ["source training", "rounds: on the source", "rounds: on patches"]
    with figures.styled():
        figure = figures.blank(7.2, 3.1)
        panels = figure.subplots(1, 3)
        handles, names = [], []
        for name in figures.lines(experiments, table["experiment"]):
            own = table[table["experiment"] == name]
            drawn = {**figures.line_style(experiments, name), "marker": "", "linewidth": 1.3}
            start = own[(own["round"] == 0) & (own["term"] == "loss")]
            if len(start):
                mean = start.groupby("part")["value"].mean()
                panels[0].plot(mean.index * start["steps"].iloc[0], mean, **drawn)
            for axes, term in zip(panels[1:], TERMS, strict=True):
                part = own[(own["round"] > 0) & (own["term"] == term)]
                # a control without patches has a row of zeros there, which is no loss
                if len(part) and not (part["value"] == 0).all():
                    for number, of_round in part.groupby("round"):
                        mean = of_round.groupby("part")["value"].mean()
                        axes.plot(number - 1 + mean.index, mean, **drawn)
            handles.append(figures.handle(drawn))
            names.append(name)
        last = int(table["round"].max()) if len(table) else 0
        for axes, title in zip(panels, titles, strict=True):
            axes.set_title(title, fontsize=9.5)
            axes.grid(axis="y")
            axes.set_xlabel("step" if axes is panels[0] else "rounds done")
            if axes is not panels[0]:
                axes.set_xlim(0, max(last, 1))
                axes.set_xticks(range(max(last, 1) + 1))
        panels[0].locator_params(axis="x", nbins=4)
        panels[0].set_ylabel("cross-entropy (nats)")
        figures.legend(figure, handles, names)
        return figures.Drawing(figure)
