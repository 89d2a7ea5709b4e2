"""What taught each round: the images that were selected, and the pixels of each class."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalewise.artifacts import selected_csv, thresholds_csv
from scalewise.reporting import cells
from scalewise.reporting.rounds import RoundFiles, by_class, frame


def read(rounds: Iterable[RoundFiles], classes: Sequence[str]) -> pd.DataFrame:
    """What was selected in each round whose selection is there.

    Returns:
        Columns experiment, seed, round, class, images (taken for the class), selected (images in
        all), seen (pixels of the patches that are predicted as the class), taught (those of them
        below its threshold). The last two are NaN in rounds without patches.
    """
    rows = []
    for one in rounds:
        path = one.find("select_images", "selected.csv")
        if path is None:
            continue
        taken = selected_csv.read(path)
        images = dict.fromkeys(classes, 0)
        for row in taken:
            for name in row.classes:
                images[name] += 1
        thresholds = one.find("compute_thresholds", "thresholds.csv")
        pixels = {}
        for row in thresholds_csv.read(thresholds) if thresholds else []:
            pixels[row.name] = (row.seen, round(row.kept * row.seen) if row.seen else 0)
        nothing = (np.nan, np.nan)
        rows += [
            (*one.who, name, images[name], len(taken), *pixels.get(name, nothing))
            for name in classes
        ]
    return frame(rows, "class", "images", "selected", "seen", "taught")


def selects_nothing(own: pd.DataFrame) -> list[str]:
    """Classes of one experiment for which no image was taken in some round, with these rounds."""
    rounds = sorted(own["round"].unique())
    said = []
    for name, part in own.groupby("class", sort=False):
        most = part.groupby("round")["images"].max()
        empty = [number for number in rounds if most[number] == 0]
        if empty:
            numbers = ", ".join(str(int(number)) for number in empty)
            where = "every round" if empty == rounds else f"round {numbers}"
            said.append(f"{name} ({where})")
    return said


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Of each round all images and pixels, whatever they were taken for.

    Returns:
        Columns experiment, seed, round, images, seen, taught. The last two are NaN in rounds
        without patches.
    """
    return table.groupby(["experiment", "seed", "round"], as_index=False, sort=False).agg(
        images=("selected", "first"),
        seen=("seen", lambda v: v.sum(min_count=1)),
        taught=("taught", lambda v: v.sum(min_count=1)),
    )


def tables(table: pd.DataFrame, experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each experiment that selected: classes x rounds, means over seeds; and a row for all."""
    found = []
    for own, shown in by_class(table, experiments, _cell):
        total = overall(own)
        found.append(
            {
                **shown,
                "total": [_cell(total[total["round"] == number]) for number in shown["rounds"]],
                "nothing": selects_nothing(own),
                "patches": bool(own["seen"].notna().any()),
            }
        )
    return found


def _cell(part: pd.DataFrame) -> dict[str, Any]:
    """Images, and the pixels that teach, in thousands and as a share of those seen."""
    images, taught = part["images"].mean(), part["taught"].mean()
    kept = part["taught"].sum() / part["seen"].sum() if part["seen"].sum() > 0 else np.nan
    return {
        "images": cells.count(images),
        "value": images,
        "taught": cells.count(taught / 1000) if taught >= 1000 else cells.number(taught / 1000, 2),
        "kept": "" if np.isnan(kept) else cells.share(kept),
    }
