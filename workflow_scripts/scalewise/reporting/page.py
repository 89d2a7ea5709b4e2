"""The report as one page: everything inside, nothing fetched from anywhere."""

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from scalewise.artifacts.audit_csv import AuditRow
from scalewise.artifacts.health_csv import WARN, HealthRow
from scalewise.reporting import figures
from scalewise.reporting.tables import (
    Audit,
    Check,
    Evaluation,
    Missing,
    Project,
    class_lists,
    headline,
    paired_differences,
    per_class_iou,
    sentences,
    summary,
)
from scalewise.taxonomy import IGNORE, IGNORE_NAME

LONGEST_SIDE = 384
IGNORE_COLOR = (0, 0, 0)
NONE = "–"
NOT_EVALUATED = "n/a"
# measure of a round's health -> head of its column
MEASURES = {
    "kept": "kept to teach (%)",
    "histogram": "moved to other classes (%)",
    "agreement": "predicted as before (%)",
    "entropy": "entropy (nats)",
    "classes": "left to the class that lost most (%)",
}


def build(
    project: Project,
    evaluations: Iterable[Evaluation],
    missing: Iterable[Missing],
    facts: Mapping[str, str],
    warnings: Mapping[str, Sequence[str]] | None = None,
    checks: Iterable[Check] = (),
    audits: Iterable[Audit] = (),
) -> str:
    """The whole page, HTML text in UTF-8; the same arguments give the same text.

    Args:
        project: what was adapted to what, the experiments and their roles.
        evaluations: every evaluation that is there, in any order; may be empty.
        missing: every evaluation that should be there and is not.
        facts: further lines for the end of the page, such as versions and run time.
        warnings: stage -> what it warns of; a stage that is named and warns of nothing was looked
            at, so `check_data` is left out only where it is not finished.
        checks: what the rounds were checked for, in any order.
        audits: how right the pseudo-labels of the rounds are, where that is known, in any order.

    Raises:
        ValueError: see `tables.summary` and `tables.headline`.
    """
    order = [experiment["name"] for experiment in project.experiments]
    evaluations = sorted(
        evaluations,
        key=lambda e: order.index(e.experiment) if e.experiment in order else len(order),
    )
    missing, checks = list(missing), list(checks)
    table = summary(evaluations, project.subsets)
    per_class = per_class_iou(evaluations)
    rows = headline(table, project)
    drawn = len(table) > 0
    warnings = warnings or {}
    reference = next((name for name in rows["reference"] if name), "")
    pairs = paired_differences(table, project)
    barred = set(figures.with_bars(project.experiments))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        project=project,
        facts=facts,
        sentences=sentences(rows),
        missing=missing,
        expected=len(evaluations) + len(missing),
        rounds=max([project.rounds, *rows["rounds"], *rows["last_round"]]),
        ablations_figure=len(pairs) > 0
        and _inline(figures.ablations(pairs, project.experiments, reference)),
        rows=_summary_rows(table, project),
        over=project.class_sets[project.headline],
        reference=reference,
        means=_means(table, project) if project.subsets else [],
        class_lists=[line.split(": ", 1) for line in class_lists(project)],
        checked="check_data" in warnings,
        warnings={stage: said for stage, said in warnings.items() if said},
        measures=list(MEASURES.values()),
        health=_health(checks, order),
        unchecked=_unchecked(checks, missing),
        audits=_audits(list(audits), order),
        left_out=[name for name in order if name not in barred],
        measured=drawn,
        rounds_figure=drawn
        and bool(barred)
        and _inline(figures.miou_over_rounds(table, project.experiments, project.headline)),
        classes_figure=drawn
        and bool(barred)
        and _inline(figures.per_class_bars(per_class, project.experiments)),
        class_tables=_class_tables(per_class, table, project),
        gallery=_gallery(project, evaluations),
        legend=[
            *zip(project.classes, map(_hex, project.colors), strict=True),
            (IGNORE_NAME, _hex(IGNORE_COLOR)),
        ],
        marks={name: _mark(i) for i, name in enumerate(order)},
        dash=NONE,
        not_evaluated=NOT_EVALUATED,
    )


def _summary_rows(table: pd.DataFrame, project: Project) -> list[dict[str, Any]]:
    """The summary table, over the headline's classes: a row for each experiment."""
    part = table[table["classes"] == project.headline]
    rows = []
    for row in headline(table, project).to_dict("records"):
        own = part[part["experiment"] == row["experiment"]]
        seeds = own["seed"].nunique()
        cells = []
        for number in range(max(row["rounds"], row["last_round"]) + 1):
            values = own.loc[own["round"] == number, "miou"]
            cells.append(
                {
                    "mean": _number(values.mean()) if len(values) else NOT_EVALUATED,
                    "sd": _number(values.std(ddof=1)),
                    "partial": f"{len(values)} of {seeds} seeds" if 0 < len(values) < seeds else "",
                    "last": number == row["last_round"] > 0,
                }
            )
        unknown = NONE if row["rounds"] == 0 else NOT_EVALUATED
        rows.append(
            {
                "name": row["experiment"],
                "role": row["role"],
                "seeds": row["seeds"],
                "cells": cells,
                "gain": _signed(row["gain"]) or unknown,
                "tone": _tone(row["gain"]),
                "sd": _number(row["gain_sd"]),
                "up": "" if pd.isna(row["gain"]) else f"up in {row['seeds_up']} of {row['seeds']}",
                "over": _signed(row["over_control"]) or NONE,
                "control": row["best_control"],
                "difference": _signed(row["over_reference"]) or NONE,
                "difference_sd": _number(row["over_reference_sd"]),
                "pairs": f"up in {row['pairs_up']} of {row['pairs']}" if row["pairs"] else "",
            }
        )
    return rows


def _means(table: pd.DataFrame, project: Project) -> list[dict[str, Any]]:
    """The last round of each experiment over each set of classes: mean, sd and gain."""
    cells: dict[str, list] = {experiment["name"]: [] for experiment in project.experiments}
    for classes in project.class_sets:
        for row in headline(table, project, classes).to_dict("records"):
            ended = row["last_round"] > 0
            cells[row["experiment"]].append(
                {
                    "mean": (_number(row["miou"]) if ended else "") or NOT_EVALUATED,
                    "sd": _number(row["miou_sd"]) if ended else "",
                    "change": _signed(row["gain"]),
                    "tone": _tone(row["gain"]),
                }
            )
    return [{"name": name, "cells": own} for name, own in cells.items()]


def _health(checks: Sequence[Check], order: Sequence[str]) -> list[dict[str, Any]]:
    """Of each experiment whose rounds were checked: a row for each seed and round, a cell for each
    measure."""
    tables = []
    for name in order:
        rows = []
        own = [c for c in checks if c.experiment == name and c.rows]
        # the result's check comes after that of its round
        for one in sorted(own, key=lambda c: (c.seed, c.round, c.check == "check_result")):
            found = {row.measure: row for row in one.rows}
            rows.append(
                {
                    "seed": one.seed,
                    "title": one.title,
                    "cells": [_health_cell(found.get(measure)) for measure in MEASURES],
                    "warnings": one.warnings,
                }
            )
        if rows:
            count = sum(len(row["warnings"]) for row in rows)
            tables.append({"name": name, "rows": rows, "warnings": count})
    return tables


def _health_cell(row: HealthRow | None) -> dict[str, str]:
    """A measure's value and limit; shares in percent, entropy in nats."""
    if row is None:
        return {"value": NONE, "limit": "", "tone": ""}

    def written(value: float) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.3f}" if row.measure == "entropy" else f"{100 * value:.1f}"

    side = "at most" if row.measure == "histogram" else "at least"
    limit = written(row.limit)
    return {
        "value": written(row.value) or NONE,
        "limit": limit and f"{side} {limit}",
        "tone": "down3" if row.verdict == WARN else "",
    }


def _unchecked(checks: Sequence[Check], missing: Sequence[Missing]) -> list[Check]:
    """Checks that are not there though the evaluation is: the others are listed as missing."""
    absent = {(m.experiment, m.seed, m.round) for m in missing}
    return [c for c in checks if not c.rows and (c.experiment, c.seed, c.round) not in absent]


def _audits(audits: Sequence[Audit], order: Sequence[str]) -> list[dict[str, Any]]:
    """Of each experiment whose pseudo-labels were audited: classes x rounds, means over seeds."""
    tables = []
    for name in order:
        own = [a for a in audits if a.experiment == name]
        by_round: dict[int, list[Audit]] = {}
        for one in sorted(own, key=lambda a: a.round):
            by_round.setdefault(one.round, []).append(one)
        if not own:
            continue
        *classes, total = [
            {
                "name": row.name,
                "cells": [_audit_cell([a.rows[k] for a in ones]) for ones in by_round.values()],
            }
            for k, row in enumerate(own[0].rows)
        ]
        tables.append(
            {
                "name": name,
                "rounds": list(by_round),
                "seeds": len({a.seed for a in own}),
                "rows": classes,
                "total": total,
            }
        )
    return tables


def _audit_cell(rows: Sequence[AuditRow]) -> dict[str, str]:
    """Percentages of one class and round, means over the seeds that have one."""

    def mean(name: str) -> str:
        values = [getattr(row, name) for row in rows]
        return _number(np.mean([v for v in values if not np.isnan(v)] or [np.nan])) or NONE

    return {name: mean(name) for name in ("accuracy_kept", "accuracy", "kept_share")}


def _class_tables(
    per_class: pd.DataFrame, table: pd.DataFrame, project: Project
) -> list[dict[str, Any]]:
    """Per experiment: classes x rounds, mean over seeds, and the change since source-only; below
    them the means over all classes and over each subset."""
    tables = []
    for experiment in project.experiments:
        own = per_class[per_class["experiment"] == experiment["name"]]
        means = table[table["experiment"] == experiment["name"]]
        rounds = range(int(experiment.get("rounds", project.rounds)) + 1)
        rounds = range(max([len(rounds) - 1, *own["round"]]) + 1)
        pixels = own.drop_duplicates("class").set_index("class")["pixels"]
        rows = []
        for name in project.classes:
            values = own[own["class"] == name].set_index(["seed", "round"])["iou"].unstack()
            share = pixels.get(name, 0) / max(pixels.sum(), 1)
            rows.append(
                {
                    "name": name,
                    "share": _share(share) if len(pixels) else NOT_EVALUATED,
                    "cells": _cells(values, rounds),
                }
            )
        totals = []
        for classes, title in project.class_sets.items():
            values = means[means["classes"] == classes].set_index(["seed", "round"])["miou"]
            totals.append({"name": title, "cells": _cells(values.unstack(), rounds)})
        tables.append(
            {
                "name": experiment["name"],
                "rounds": list(rounds),
                "seeds": own["seed"].nunique(),
                "rows": rows,
                "totals": totals,
            }
        )
    return tables


def _cells(values: pd.DataFrame, rounds: Sequence[int]) -> list[dict[str, str]]:
    """One cell per round from a (seeds x rounds) frame; changes are paired by seed."""
    cells = []
    for number in rounds:
        if number not in values:
            cells.append({"mean": NOT_EVALUATED, "change": "", "tone": ""})
            continue
        change = np.nan
        if number > 0 and 0 in values:
            change = (values[number] - values[0]).mean()
        cells.append(
            {
                "mean": _number(values[number].mean()) or NONE,
                "change": _signed(change),
                "tone": _tone(change),
            }
        )
    return cells


def _gallery(project: Project, evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """Pictures of the lowest seed that has any: image, label, before, and after each experiment."""
    before: list[tuple[list[str], Evaluation]] = []
    after: list[Evaluation] = []
    for experiment in project.experiments:
        own = [e for e in evaluations if e.experiment == experiment["name"]]
        last = max((e.round for e in own), default=0)
        own = sorted((e for e in own if e.pictures is not None), key=lambda e: e.seed)
        for evaluation in [e for e in own if e.round == 0][:1]:
            for names, other in before:
                if _same_predictions(evaluation, other):
                    names.append(experiment["name"])
                    break
            else:
                before.append(([experiment["name"]], evaluation))
        after += [e for e in own if e.round == last > 0][:1]
    shown = [evaluation for _, evaluation in before] + after
    if not shown or project.gallery < 1:
        return None
    first = shown[0].pictures
    palette = _palette(project.colors)
    pictures = []
    for i, name in list(enumerate(first["ids"]))[: project.gallery]:
        tiles = [
            {"caption": "image", "png": _photo(first["image"][i])},
            {"caption": "label", "png": _label_map(first["label"][i], palette)},
        ]
        for names, evaluation in before:
            which = "source-only" if len(before) == 1 else f"source-only ({', '.join(names)})"
            tiles += _prediction(evaluation, name, which, palette)
        for e in after:
            tiles += _prediction(e, name, f"{e.experiment}, round {e.round}", palette)
        pictures.append({"name": name, "tiles": tiles})
    return {"pictures": pictures, "seeds": sorted({e.seed for e in shown})}


def _prediction(
    evaluation: Evaluation, name: str, caption: str, palette: bytes
) -> list[dict[str, str]]:
    if name not in evaluation.pictures["ids"]:
        return []
    i = list(evaluation.pictures["ids"]).index(name)
    return [{"caption": caption, "png": _label_map(evaluation.pictures["prediction"][i], palette)}]


def _same_predictions(one: Evaluation, other: Evaluation) -> bool:
    return (
        one.seed == other.seed
        and list(one.pictures["ids"]) == list(other.pictures["ids"])
        and np.array_equal(one.pictures["prediction"], other.pictures["prediction"])
    )


def _palette(colors: Sequence[tuple[int, int, int]]) -> bytes:
    """256 x 3 bytes: the class colours, and black for everything that is no class."""
    palette = np.full((256, 3), IGNORE_COLOR, dtype=np.uint8)
    palette[: len(colors)] = colors
    palette[IGNORE] = IGNORE_COLOR
    return palette.tobytes()


def _photo(pixels: np.ndarray) -> str:
    """A (H, W, 3) uint8 image as a PNG data URI, no side longer than `LONGEST_SIDE`."""
    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    return _png(image.resize(_size(image), Image.Resampling.LANCZOS))


def _label_map(classes: np.ndarray, palette: bytes) -> str:
    """A (H, W) uint8 map of class indices as a palette PNG data URI."""
    image = Image.fromarray(np.ascontiguousarray(classes, dtype=np.uint8))
    image = image.resize(_size(image), Image.Resampling.NEAREST)
    image.putpalette(palette)
    return _png(image)


def _size(image: Image.Image) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    return tuple(max(1, round(side * scale)) for side in image.size)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _inline(svg: str) -> Markup:
    """SVG for use inside HTML, where the names of its namespaces are known already."""
    return Markup(re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg, count=2))


def _mark(position: int) -> Markup:
    """Marker and colour of an experiment in the figures."""
    color, marker = figures.look(position)
    sign = figures.SIGNS[marker]
    # as text: some systems have a picture of their own for the sign
    return Markup('<span class="dot" style="color: {}">{}&#xFE0E;</span>').format(color, sign)


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*map(int, color))


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"


def _signed(value: float) -> str:
    """With a sign that is as wide as a digit, none for 0.0; empty for NaN."""
    if pd.isna(value):
        return ""
    value = round(value, 1)
    return f"{value:+.1f}".replace("-", "−") if value else "0.0"


def _share(share: float) -> str:
    return "<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}"


def _tone(change: float) -> str:
    """Shade of a change: up or down, in three steps (from 0.05, 2 and 5 points)."""
    if pd.isna(change) or abs(change) < 0.05:
        return ""
    step = 1 + (abs(change) >= 2) + (abs(change) >= 5)
    return f"{'up' if change > 0 else 'down'}{step}"
