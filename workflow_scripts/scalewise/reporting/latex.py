r"""Tables for a paper: LaTeX with \toprule and the like, of the package booktabs.

The summary, and the IoU of the classes; `latex_sections` has the tables of the other sections.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scalewise.reporting.tables import Project, headline

NONE = "--"
SPREAD = "mean over seeds, ± the sample standard deviation; the best in bold"
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    # at the start of a row these would belong to the end of the one before
    "[": "{[}",
    "*": "{*}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def escaped(text: str) -> str:
    """A name as LaTeX prints it, whatever is in it; letters beyond ASCII stay as they are."""
    text = "".join(_ESCAPES.get(c, c) for c in text)
    return re.sub(r"([-'`,])(?=\1)", r"\1{}", text)  # two of them would become one sign


def number(
    mean: float, sd: float = math.nan, best: bool = False, sign: bool = False, digits: int = 1
) -> str:
    """So many decimals, `± sd` where there is one, the mean in bold where it is the best."""
    if math.isnan(mean):
        return NONE
    value = round(mean, digits) + 0.0  # no minus before 0.0
    text = f"{value:+.{digits}f}" if sign and value else f"{value:.{digits}f}"
    text = rf"\mathbf{{{text}}}" if best else text
    return f"${text}$" if math.isnan(sd) else rf"${text} \pm {sd:.{digits}f}$"


def best_of(values: Sequence[float]) -> list[bool]:
    """Which values are the highest as they are printed; none where there is nothing to choose."""
    printed = [round(v, 1) for v in values]
    known = [v for v in printed if not math.isnan(v)]
    return [len(known) > 1 and v == max(known) for v in printed]


def summary(table: pd.DataFrame, project: Project) -> str:
    """A row for each experiment: seeds, source-only, the last round and the gain, in mIoU; and
    where there is a control that trains on no target image, the gain over the best such control.

    Args:
        table: from `tables.summary`.
        project: gives the experiments and the classes that the headline is over.
    """
    rows = headline(table, project).to_dict("records")
    rows = [{**row, **_ended(row)} for row in rows]
    best = {name: best_of([row[name] for row in rows]) for name in ("result", "gain")}
    lines = [
        [
            escaped(_titled(row)),
            str(row["seeds"]),
            number(*row["start"]),
            number(row["result"], row["result_sd"], best["result"][k]),
            number(row["gain"], row["gain_sd"], best["gain"][k], sign=True),
        ]
        for k, row in enumerate(rows)
    ]
    free = next((row["free_control"] for row in rows if row["free_control"]), "")
    for line, row in zip(lines, rows, strict=True):
        line += [number(row["over_free_control"], sign=True)] if free else []
    over = escaped(project.class_sets[project.headline])
    note = f"mIoU in percent over {over} after the last round; gain: over source-only: {SPREAD}"
    heads = ["experiment", "seeds", "source-only", "last round", "gain"]
    if free:
        heads.append(f"over {escaped(free)}")
    return tabular(heads, [lines], note)


def _titled(row: Mapping[str, Any]) -> str:
    """A ceiling says its result with its name: it belongs into no column."""
    if row["role"] == "ceiling" and row["last_round"] == 0:
        return f"{row['experiment']} (target labels: {row['miou']:.1f})"
    return row["experiment"]


def _ended(row: Mapping[str, Any]) -> dict[str, Any]:
    """Source-only, of all but a ceiling; and the last round, where there is one after it."""
    none = (math.nan, math.nan)
    start = none if row["role"] == "ceiling" else (row["source_only"], row["source_only_sd"])
    result, sd = (row["miou"], row["miou_sd"]) if row["last_round"] > 0 else none
    return {"start": start, "result": result, "result_sd": sd}


def per_class_iou(per_class: pd.DataFrame, table: pd.DataFrame, project: Project) -> str:
    """A row for each class and for each mean, a column for each experiment's last round.

    Args:
        per_class: from `tables.per_class_iou`; table: from `tables.summary`.
        project: gives the experiments, and the classes with their subsets.
    """
    names = [experiment["name"] for experiment in project.experiments]
    last = [_last(per_class, name) for name in names]
    means = [_last(table, name) for name in names]
    classes = [
        _row(escaped(name), [part.loc[part["class"] == name, "iou"] for part in last])
        for name in project.classes
    ]
    totals = [
        _row(
            f"mean of {escaped(title)}",
            [part.loc[part["classes"] == which, "miou"] for part in means],
        )
        for which, title in project.class_sets.items()
    ]
    note = f"IoU in percent after the last round: {SPREAD}"
    return tabular(["class", *map(escaped, names)], [classes, totals], note)


def _last(table: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The rows of an experiment's last round; none where it has source-only alone."""
    own = table[table["experiment"] == experiment]
    return own[(own["round"] == own["round"].max()) & (own["round"] > 0)]


def _row(name: str, columns: Sequence[pd.Series]) -> list[str]:
    columns = [column.astype(float).dropna() for column in columns]
    means = [float(column.mean()) for column in columns]
    cells = zip(columns, means, best_of(means), strict=True)
    return [name, *(number(mean, float(c.std(ddof=1)), best) for c, mean, best in cells)]


def tabular(
    heads: Sequence[str],
    parts: Sequence[Sequence[Sequence[str]]],
    note: str,
    *,
    above: Sequence[tuple[str, int]] = (),
    columns: str = "",
) -> str:
    """The table; parts are set apart by a rule.

    Args:
        heads: of the columns; parts: rows of cells, all of it LaTeX.
        note: a comment: what the numbers are.
        above: heads of the columns from the second on, each over so many of them.
        columns: letters of the alignment; else the first is to the left, the others to the right.
    """

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    groups, rules, first = [""], [], 2
    for text, span in above:
        groups.append(rf"\multicolumn{{{span}}}{{c}}{{{text}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + span - 1}}}")
        first += span
    bodies = ["\n".join(map(line, part)) for part in parts if part]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} and, for some names, \usepackage[T1]{fontenc}",
            f"% {note}",
            rf"\begin{{tabular}}{{{columns or 'l' + 'r' * (len(heads) - 1)}}}",
            r"\toprule",
            *([line(groups), "".join(rules)] if above else []),
            line(heads),
            r"\midrule",
            *(["\n\\midrule\n".join(bodies)] if bodies else []),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
