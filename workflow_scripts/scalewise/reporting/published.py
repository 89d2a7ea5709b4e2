"""Published results to set beside one's own, where classes and data sets agree.

The numbers stand in `published.csv`, with where they are from; none was made by this program.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scalewise.taxonomy import CITYSCAPES

_PATH = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class PublishedRow:
    """A published result.

    Args:
        source: format of its source set; the target and validation set is Cityscapes.
        network: as `network.name` calls it.
        name: what it is, for people.
        iou: class, or the name of a set of classes ("16 classes"), -> (mean) IoU in percent.
    """

    source: str
    network: str
    name: str
    iou: Mapping[str, float]


@cache
def read() -> tuple[PublishedRow, ...]:
    """All published results, in the order of the file."""
    with open(_PATH, encoding="utf-8", newline="") as file:
        next(file)  # where they are from
        found: dict[tuple[str, str, str], dict[str, float]] = {}
        for row in csv.DictReader(file):
            which = (row["source"], row["network"], row["name"])
            found.setdefault(which, {})[row["classes"]] = float(row["iou"])
    return tuple(PublishedRow(*which, iou) for which, iou in found.items())


def source_of_numbers() -> str:
    """Where they are from, in words."""
    with open(_PATH, encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def fitting(formats: Mapping[str, str], classes: Sequence[str]) -> list[PublishedRow]:
    """The published results that may be set beside a project's.

    Args:
        formats: of the project's `source`, `target` and `validation` set.
        classes: of the project: those of Cityscapes, or the 16 of them that SYNTHIA has.

    Returns: none where the sets are others, or a class is one that was not published.
    """
    if (formats.get("target"), formats.get("validation")) != ("cityscapes", "cityscapes"):
        return []
    if not set(classes) <= set(CITYSCAPES.names):
        return []
    measured = [row for row in read() if row.source == formats.get("source")]
    return [row for row in measured if set(row.iou) & set(CITYSCAPES.names) <= set(classes)]
