r"""The tables of the report's sections for a paper, in LaTeX.

Where a table has the rounds of each experiment, there is one tabular for each, apart from the next
by an empty line: so pages can break between them. Means over seeds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from scalewise.reporting import cells, claim, confusion, provenance, quality, selection
from scalewise.reporting.latex import NONE, best_of, escaped, number, tabular
from scalewise.reporting.page import MEASURES, Parts, health_rows
from scalewise.reporting.rounds import by_class
from scalewise.reporting.tables import Audit, Check, Project

MEANS = "means over seeds"
_NOTHING = "% there are no numbers for this table\n"


class Column(NamedTuple):
    """A quantity of each round: its column in the table, its head, its decimals, and what it is
    divided by."""

    name: str
    head: str
    digits: int = 1
    unit: float = 1


def sections(
    project: Project, checks: Sequence[Check], audits: Sequence[Audit], parts: Parts
) -> dict[str, str]:
    """Name (of `publishing.TABLES`) -> LaTeX, of all but the evaluations."""
    experiments = project.experiments
    selected = [Column("images", "images", 0), Column("taught", "1000 px", 1, 1000)]
    limits = [Column("tau", r"$\tau$", 3), Column("kept", r"kept (\%)")]
    measured = [
        Column("entropy", "$H$", 3),
        Column("scaled_entropy", "$H$ scaled up", 3),
        Column("agreement", r"same class (\%)"),
    ]
    return {
        "confusion": mistakes(parts.confusions, project),
        "health": health(checks, [e["name"] for e in experiments]),
        "selection": by_round(
            *(parts.selection, experiments, selected, selection.overall(parts.selection)),
            "target images taken for each class, and thousands of pixels that teach it",
            last="all images",
        ),
        "thresholds": by_round(
            *(parts.thresholds, experiments, limits, None),
            "entropy threshold of each class, and the pixels of the class below it",
        ),
        "pseudo_labels": pseudo_labels(audits, project),
        "claim": by_round(
            *(parts.claim, experiments, measured, claim.overall(parts.claim)),
            "mean entropy H in nats at the original scale and scaled up, and the pixels with the "
            "same class on both",
        ),
        "cost": cost(parts.costs),
    }


def by_round(
    table: pd.DataFrame,
    experiments: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    totals: pd.DataFrame | None,
    what: str,
    last: str = "all classes",
) -> str:
    """Classes x rounds of each experiment that has rows, and below them a row for all classes.

    Args:
        table: columns experiment, seed, round, class and those of `columns`; totals: the same for
            all classes together, or None.
        what: the numbers are.
    """

    def numbers(part: pd.DataFrame) -> list[str]:
        return [_number(cells.mean(part[c.name]) / c.unit, c.digits) for c in columns]

    made = []
    for _, shown in by_class(table, experiments, lambda part: {"numbers": numbers(part)}):
        rows = [
            [escaped(row["name"]), *(text for cell in row["cells"] for text in cell["numbers"])]
            for row in shown["rows"]
        ]
        below = []
        if totals is not None:
            own = totals[totals["experiment"] == shown["name"]]
            parts = [numbers(own[own["round"] == number]) for number in shown["rounds"]]
            below = [[last, *(text for part in parts for text in part)]]
        heads = [escaped(shown["name"]), *([c.head for c in columns] * len(shown["rounds"]))]
        above = [(f"round {number}", len(columns)) for number in shown["rounds"]]
        made.append(tabular(heads, [rows, below], f"{what}: {MEANS}", above=above))
    return _joined(made)


def pseudo_labels(audits: Sequence[Audit], project: Project) -> str:
    """Classes x experiments after their last round: how right the pixels that teach are, the best
    in bold, and how many are kept."""
    table = quality.table(audits)
    last = []
    for experiment in project.experiments:
        own = table[table["experiment"] == experiment["name"]]
        if len(own):
            last.append((experiment["name"], own[own["round"] == own["round"].max()]))
    if not last:
        return _NOTHING
    rows = []
    for name in project.classes:
        parts = [own[own["class"] == name] for _, own in last]
        right = [cells.mean(part["accuracy_kept"]) for part in parts]
        kept = [cells.mean(part["kept_share"]) for part in parts]
        line = zip(right, best_of(right), kept, strict=True)
        texts = [(number(a, best=best), number(b)) for a, best, b in line]
        rows.append([escaped(name), *(text for pair in texts for text in pair)])
    note = (
        "pseudo-labels of the last round, percent of the kept pixels that are right, and of all "
        f"that are kept: {MEANS}; the best in bold"
    )
    heads = ["class", *([r"right (\%)", r"kept (\%)"] * len(last))]
    return tabular(heads, [rows], note, above=[(escaped(name), 2) for name, _ in last])


def mistakes(confusions: Sequence[confusion.Confusion], project: Project) -> str:
    """Of each experiment the pairs of classes with most wrong pixels in the last round."""
    made = []
    for one in confusion.tables(confusions, project.experiments, project.classes):
        rows = [
            [
                *(escaped(row["label"]), escaped(row["predicted"]), str(row["pixels"])),
                *(number(row["share"]), number(row["change"], sign=True)),
            ]
            for row in one["rows"]
        ]
        when = f"round {one['round']}" if one["round"] else "source-only"
        note = (
            f"most frequent mistakes of {escaped(one['name'])}, {when}: pixels summed over seeds; "
            "share of the label's pixels in percent, and its change since source-only in points"
        )
        heads = [escaped(one["name"]), "predicted as", "pixels", r"share (\%)", "change"]
        made.append(tabular(heads, [rows], note, columns="llrrr"))
    return _joined(made)


def health(checks: Sequence[Check], order: Sequence[str]) -> str:
    """Of each experiment whose rounds were checked: a row for each seed and round, a column for
    each measure; a star where it is beyond its limit."""
    made = []
    for one in health_rows(checks, order):
        rows = [
            [f"{row['seed']}, {row['title']}", *map(_checked, row["cells"])] for row in one["rows"]
        ]
        heads = [f"{escaped(one['name'])}: seed, round", *map(escaped, MEASURES.values())]
        made.append(tabular(heads, [rows], "health of the rounds; *: beyond its limit"))
    return _joined(made)


def cost(costs: Sequence[Mapping[str, Any]]) -> str:
    """Time and memory of each kind of stage, the longest first."""
    if not costs:
        return _NOTHING
    rows = [
        [
            *(escaped(row["stage"]), str(row["jobs"]), row["time"], row["one"]),
            number(row["memory"], digits=0),
        ]
        for row in provenance.cost_rows(costs)
    ]
    note = "time of all jobs of a stage and of its longest, and the most memory of one of them"
    return tabular(["stage", "jobs", "time", "longest", "memory (MB)"], [rows], note)


def _checked(cell: Mapping[str, str]) -> str:
    text = cell["value"].replace(cells.NONE, NONE)
    return f"{text}*" if cell["tone"] else text


def _number(value: float, digits: int) -> str:
    if math.isinf(value):
        return "off"
    # a mean of counts is seldom whole
    return number(value, digits=digits or int(value != round(value, 0)))


def _joined(tables: Iterable[str]) -> str:
    return "\n".join(tables) or _NOTHING
