"""The files of the rounds that a report tells of, beyond those that it cannot do without.

A report is made of evaluations. What else it shows (losses, selection, thresholds, the claim) it
takes from results of earlier stages that are still there: none of them is made again for it, and
what was cleared away is left out, which the page says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scalewise.artifacts.integrity import require_whole
from scalewise.artifacts.patches_h5 import PatchReader
from scalewise.errors import UserError

SOURCE_TRAININGS = ("train_source", "import_weights")
PATCHES = ("infer_patches", "patches.h5")


@dataclass(frozen=True)
class RoundFiles:
    """Where the results of one round are.

    Args:
        experiment, seed, round: which one; round 0 is source-only.
        folders: stage -> folder of its result, whether it is there or not.
    """

    experiment: str
    seed: int
    round: int
    folders: Mapping[str, str]

    @property
    def who(self) -> tuple[str, int, int]:
        return self.experiment, self.seed, self.round

    def find(self, stage: str, name: str) -> Path | None:
        """A file of a stage; None where the round has no such stage, or the file is gone.

        Raises UserError where it is not what its stage wrote. Patches, which may be gigabytes, are
        not read through for that: see `patches`.
        """
        if stage not in self.folders:
            return None
        path = Path(self.folders[stage], name)
        if not path.is_file():
            return None
        if (stage, name) != PATCHES:
            require_whole([path])
        return path

    def patches(self) -> PatchReader | None:
        """The round's patches; None where there are none or they cannot be used, which `gone`
        tells: they may be of an earlier version, which is no reason to have no page."""
        path = self.find(*PATCHES)
        try:
            return PatchReader(path) if path else None
        except UserError:
            return None


def gone(rounds: Iterable[RoundFiles]) -> list[str]:
    """Stages whose results should be there and are not, or cannot be used: "stage (count of the
    rounds)"."""
    lost: dict[str, int] = {}
    for one in rounds:
        for stage, folder in one.folders.items():
            if not Path(folder, "settings.json").is_file():
                lost[stage] = lost.get(stage, 0) + 1
        if one.find(*PATCHES) and one.patches() is None:
            unusable = f"{PATCHES[0]}, damaged or of another version"
            lost[unusable] = lost.get(unusable, 0) + 1
    return [f"{stage} ({count})" for stage, count in lost.items()]


def frame(rows: list[tuple], *columns: str) -> pd.DataFrame:
    """Rows that begin with experiment, seed and round."""
    return pd.DataFrame(rows, columns=["experiment", "seed", "round", *columns])


def by_class(
    table: pd.DataFrame,
    experiments: Sequence[Mapping[str, Any]],
    cell: Callable[[pd.DataFrame], dict[str, Any]],
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Classes x rounds of each experiment that has rows, for the page.

    Args:
        table: from `frame`, with a column class.
        experiments: in the order of the page.
        cell: rows of one class and round, of all seeds -> what the page says of them.

    Yields: the experiment's rows; and name, rounds and rows (name, cells).
    """
    for experiment in experiments:
        own = table[table["experiment"] == experiment["name"]]
        if own.empty:
            continue
        numbers = sorted(own["round"].unique())
        rows = [
            {"name": name, "cells": [cell(part[part["round"] == number]) for number in numbers]}
            for name, part in own.groupby("class", sort=False)
        ]
        rounds = [int(number) for number in numbers]
        yield own, {"name": experiment["name"], "rounds": rounds, "rows": rows}
