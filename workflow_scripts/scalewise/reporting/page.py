"""The report as one page: everything inside, nothing fetched from anywhere."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from scalewise.artifacts.health_csv import WARN, HealthRow
from scalewise.reporting import (
    cells,
    claim,
    confusion,
    figures,
    gallery,
    losses,
    provenance,
    published,
    quality,
    selection,
    thresholds,
)
from scalewise.reporting.cells import NONE, NOT_EVALUATED
from scalewise.reporting.rounds import RoundFiles, gone
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
from scalewise.taxonomy import IGNORE_NAME

# figures that a page may have, beside the confusion matrices
FIGURES = (
    *("miou_over_rounds", "ablations", "iou_per_class", "images_selected", "thresholds"),
    *("pseudo_label_accuracy", "pseudo_label_share", "claim", "claim_per_class", "losses"),
)
MOST_BYTES = 15_000_000  # of the page: what a mail takes
# measure of a round's health -> head of its column
MEASURES = {
    "kept": "kept to teach (%)",
    "source": "loss on the source (nats)",
    "histogram": "moved to other classes (%)",
    "agreement": "predicted as before (%)",
    "entropy": "entropy (nats)",
    "classes": "left to the class that lost most (%)",
}


@dataclass(frozen=True)
class Parts:
    """What a report shows beyond its evaluations; each may be empty.

    Args:
        rounds: the rounds that were evaluated, and where their stages' files are.
        confusions: the matrices of the evaluations.
        selection, thresholds, claim, losses: from `read` of the module of that name.
        costs: from `provenance.costs`.
        formats: of the project's source, target and validation set.
    """

    rounds: Sequence[RoundFiles] = ()
    confusions: Sequence[confusion.Confusion] = ()
    selection: pd.DataFrame = field(default_factory=lambda: selection.read([], []))
    thresholds: pd.DataFrame = field(default_factory=lambda: thresholds.read([]))
    claim: pd.DataFrame = field(default_factory=lambda: claim.read([], []))
    losses: pd.DataFrame = field(default_factory=lambda: losses.read([]))
    costs: Sequence[Mapping[str, Any]] = ()
    formats: Mapping[str, str] = field(default_factory=dict)


def read_parts(
    rounds: Sequence[RoundFiles],
    confusions: Sequence[confusion.Confusion],
    records: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    formats: Mapping[str, str],
) -> Parts:
    """All parts, from the files that are there. records: of all stages, see `provenance`."""
    return Parts(
        rounds,
        confusions,
        selection.read(rounds, classes),
        thresholds.read(rounds),
        claim.read(rounds, classes),
        losses.read(rounds),
        provenance.costs(records),
        formats,
    )


def drawings(
    project: Project,
    evaluations: Iterable[Evaluation],
    audits: Iterable[Audit] = (),
    parts: Parts | None = None,
) -> dict[str, figures.Drawing]:
    """Every figure of the page that there are numbers for, by the name of its file."""
    parts, experiments = parts or Parts(), project.experiments
    evaluations = list(evaluations)
    table = summary(evaluations, project.subsets)
    found: dict[str, figures.Drawing] = {}
    if len(table) and figures.with_bars(experiments):
        found["miou_over_rounds"] = figures.miou_over_rounds(table, experiments, project.headline)
        found["iou_per_class"] = figures.per_class_bars(per_class_iou(evaluations), experiments)
    pairs = paired_differences(table, project)
    if len(pairs):
        reference = next(name for name in headline(table, project)["reference"] if name)
        found["ablations"] = figures.ablations(pairs, experiments, reference)
    for name, matrix, _, _ in _matrices(project, parts.confusions):
        found[name] = confusion.drawing(matrix, project.classes)
    if (parts.selection["images"] > 0).any():
        found["images_selected"] = figures.panels(
            parts.selection, experiments, "images", "target images taken for the class"
        )
    if np.isfinite(parts.thresholds["tau"].astype(float)).any():
        found["thresholds"] = figures.panels(
            parts.thresholds, experiments, "tau", "threshold (normalised entropy)", top=1.0
        )
    audited = quality.table(list(audits))
    if quality.is_known(audited):
        for name, column, label in (
            ("pseudo_label_accuracy", "accuracy_kept", "kept pixels that are right (%)"),
            ("pseudo_label_share", "kept_share", "pixels that are kept (%)"),
        ):
            found[name] = figures.panels(audited, experiments, column, label, top=100.0)
    if claim.is_known(parts.claim):
        found["claim"] = claim.drawing(claim.overall(parts.claim), experiments)
        found["claim_per_class"] = figures.panels(
            parts.claim,
            experiments,
            "difference",
            "entropy scaled up minus before (nats)",
            zero=True,
        )
    if np.isfinite(parts.losses["value"].astype(float)).any():
        found["losses"] = losses.drawing(parts.losses, experiments)
    return found


def build(
    project: Project,
    evaluations: Iterable[Evaluation],
    missing: Iterable[Missing],
    facts: Mapping[str, str],
    warnings: Mapping[str, Sequence[str]] | None = None,
    checks: Iterable[Check] = (),
    audits: Iterable[Audit] = (),
    parts: Parts | None = None,
    drawn: Mapping[str, figures.Drawing] | None = None,
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
        parts: what else is known.
        drawn: the figures, from `drawings`, where they are made already.

    The page is kept below `MOST_BYTES`: pictures that would not fit are left out, and it says so.

    Raises:
        ValueError: see `tables.summary` and `tables.headline`.
    """
    order = [experiment["name"] for experiment in project.experiments]
    evaluations = sorted(
        evaluations,
        key=lambda e: order.index(e.experiment) if e.experiment in order else len(order),
    )
    missing, checks, audits = list(missing), list(checks), list(audits)
    parts = parts or Parts()
    if drawn is None:
        drawn = drawings(project, evaluations, audits, parts)
    table = summary(evaluations, project.subsets)
    per_class = per_class_iou(evaluations)
    rows = headline(table, project)
    warnings = warnings or {}
    reference = next((name for name in rows["reference"] if name), "")
    barred = set(figures.with_bars(project.experiments))
    inline = {name: _inline(figure.svg) for name, figure in drawn.items()}
    reference_rows = published.fitting(parts.formats, project.classes)
    means = claim.overall(parts.claim)
    context = {
        "project": project,
        "facts": facts,
        "sentences": sentences(rows),
        "missing": missing,
        "expected": len(evaluations) + len(missing),
        "rounds": max([project.rounds, *rows["rounds"], *rows["last_round"]]),
        "figures": {**dict.fromkeys(FIGURES), **inline},
        "rows": _summary_rows(table, project),
        "over": project.class_sets[project.headline],
        "reference": reference,
        "means": _means(table, project) if project.subsets else [],
        "class_lists": [line.split(": ", 1) for line in class_lists(project)],
        "checked": "check_data" in warnings,
        "warnings": {stage: said for stage, said in warnings.items() if said},
        "measures": list(MEASURES.values()),
        "health": health_rows(checks, order),
        "unchecked": _unchecked(checks, missing),
        "audits": quality.tables(audits, order),
        "left_out": [name for name in order if name not in barred],
        "measured": len(table) > 0,
        "overview": _overview(per_class, table, project, reference_rows),
        "published": reference_rows,
        "published_from": published.source_of_numbers() if reference_rows else "",
        "class_tables": _class_tables(per_class, table, project),
        "matrices": [
            (title, who, inline[name])
            for name, _, title, who in _matrices(project, parts.confusions)
            if name in inline
        ],
        "mistakes": confusion.tables(parts.confusions, project.experiments, project.classes),
        "selected": selection.tables(parts.selection, project.experiments),
        "thresholds": thresholds.tables(parts.thresholds, project.experiments),
        "claims": claim.tables(parts.claim, project.experiments),
        "claim_holds": claim.sentence(means) if len(means) else "",
        "costs": provenance.cost_rows(parts.costs),
        "gone": gone(parts.rounds),
        "gallery": None,
        "patches": None,
        "legend": [
            *zip(project.classes, map(_hex, project.colors), strict=True),
            (IGNORE_NAME, _hex(gallery.IGNORE_COLOR)),
        ],
        "marks": {n: _mark(*look) for n, look in figures.looks(project.experiments).items()},
        "series": [figures.COLORS, figures.COLORS_ON_DARK],
        "dash": NONE,
        "not_evaluated": NOT_EVALUATED,
    }
    template = _templates().get_template("page.html.j2")
    room = MOST_BYTES - 100_000 - len(template.render(context).encode())
    # a fifth for the patches; what they leave is for the pictures
    patches = gallery.patches(project, parts.rounds, room // 5)
    room -= sum(len(t["png"]) + 300 for p in patches or [] for i in p["images"] for t in i["tiles"])
    pictures = gallery.build(project, evaluations, parts.rounds, room)
    return template.render({**context, "gallery": pictures, "patches": patches})


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["wrapped"] = _wrapped
    return environment


def _matrices(
    project: Project, confusions: Sequence[confusion.Confusion]
) -> list[tuple[str, np.ndarray, str, str]]:
    """The confusion matrices that are drawn, of source-only and of the experiments with bars: name
    of the file, matrix, title, experiment."""
    found = []
    names = [e["name"] for e in project.experiments]
    for name in figures.with_bars(project.experiments):
        start = confusion.summed(confusions, name, 0)
        if start and not found and name in project.begun:
            title = f"source-only of {name}"
            found.append(("confusion_source_only", start[1], title, name))
        last = confusion.summed(confusions, name)
        if last and last[0] > 0:
            slug = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40].strip("_")
            file = f"confusion_{names.index(name) + 1}_{slug}".rstrip("_")
            found.append((file, last[1], f"{name}, round {last[0]}", name))
    return found


def _summary_rows(table: pd.DataFrame, project: Project) -> list[dict[str, Any]]:
    """The summary table, over the headline's classes: a row for each experiment."""
    part = table[table["classes"] == project.headline]
    rows = []
    for row in headline(table, project).to_dict("records"):
        own = part[part["experiment"] == row["experiment"]]
        seeds = own["seed"].nunique()
        line = []
        for number in range(max(row["rounds"], row["last_round"]) + 1):
            values = own.loc[own["round"] == number, "miou"]
            line.append(
                {
                    "mean": cells.number(values.mean()) if len(values) else NOT_EVALUATED,
                    "sd": cells.number(values.std(ddof=1)),
                    "partial": f"{len(values)} of {seeds} seeds" if 0 < len(values) < seeds else "",
                    "last": number == row["last_round"] > 0,
                }
            )
        if row["role"] == "ceiling" and not line[0]["partial"]:
            line[0]["partial"] = "target labels"
        unknown = NONE if row["rounds"] == 0 else NOT_EVALUATED
        rows.append(
            {
                "name": row["experiment"],
                "role": row["role"],
                "seeds": row["seeds"],
                "cells": line,
                "gain": cells.signed(row["gain"]) or unknown,
                "tone": cells.tone(row["gain"]),
                "sd": cells.number(row["gain_sd"]),
                "up": "" if pd.isna(row["gain"]) else f"up in {row['seeds_up']} of {row['seeds']}",
                "over": cells.signed(row["over_control"]) or NONE,
                "control": row["best_control"],
                "over_free": cells.signed(row["over_free_control"]) or NONE,
                "free_control": row["free_control"],
                "difference": cells.signed(row["over_reference"]) or NONE,
                "difference_sd": cells.number(row["over_reference_sd"]),
                "pairs": f"up in {row['pairs_up']} of {row['pairs']}" if row["pairs"] else "",
            }
        )
    return rows


def _means(table: pd.DataFrame, project: Project) -> list[dict[str, Any]]:
    """The last round of each experiment over each set of classes: mean, sd and gain."""
    lines: dict[str, list] = {experiment["name"]: [] for experiment in project.experiments}
    for classes in project.class_sets:
        for row in headline(table, project, classes).to_dict("records"):
            ended = row["last_round"] > 0
            lines[row["experiment"]].append(
                {
                    "mean": (cells.number(row["miou"]) if ended else "") or NOT_EVALUATED,
                    "sd": cells.number(row["miou_sd"]) if ended else "",
                    "change": cells.signed(row["gain"]),
                    "tone": cells.tone(row["gain"]),
                }
            )
    return [{"name": name, "cells": own} for name, own in lines.items()]


def health_rows(checks: Sequence[Check], order: Sequence[str]) -> list[dict[str, Any]]:
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
    """A measure's value and limit; shares in percent, loss and entropy in nats."""
    if row is None:
        return {"value": NONE, "limit": "", "tone": ""}

    def written(value: float) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.3f}" if row.measure in ("source", "entropy") else f"{100 * value:.1f}"

    side = "at most" if row.measure in ("source", "histogram") else "at least"
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


def _overview(
    per_class: pd.DataFrame,
    table: pd.DataFrame,
    project: Project,
    others: Sequence[published.PublishedRow],
) -> dict[str, Any]:
    """Classes x experiments: source-only, the last round of each with its change, and the published
    rows; below them the means over all classes and over each subset. Means over seeds."""
    names = [e["name"] for e in project.experiments]
    last = {name: int(own.max()) for name, own in per_class.groupby("experiment")["round"]}
    first = next((name for name in project.begun if name in last), None)
    promised = {e["name"]: int(e.get("rounds", project.rounds)) for e in project.experiments}

    def row(title: str, key: str, values: pd.DataFrame) -> dict[str, Any]:
        """values: columns experiment, seed, round, value."""
        by_round = {
            name: own.set_index(["seed", "round"])["value"].unstack()
            for name, own in values.groupby("experiment")
        }
        start = by_round[first] if first in by_round else pd.DataFrame()
        found = []
        for name in names:
            # an experiment without rounds ends where it starts
            if last.get(name, -1) < min(promised[name], 1):
                found.append({"mean": NOT_EVALUATED, "value": np.nan, "change": "", "tone": ""})
                continue
            own, number = by_round[name], last[name]
            change = (own[number] - own[0]).mean() if number and 0 in own else np.nan
            found.append(_shown(own[number].mean(), change))
        return {
            "name": title,
            "start": _shown(start[0].mean() if 0 in start else np.nan, np.nan),
            "cells": found,
            "published": [_shown(one.iou.get(key, np.nan), np.nan) for one in others],
        }

    per_class = per_class.rename(columns={"iou": "value"})
    means = table.rename(columns={"miou": "value"})
    return {
        "names": names,
        "first": first,
        "rows": [row(c, c, per_class[per_class["class"] == c]) for c in project.classes],
        "totals": [
            row(f"mean of {title}", title, means[means["classes"] == which])
            for which, title in project.class_sets.items()
        ],
    }


def _shown(value: float, change: float) -> dict[str, Any]:
    return {
        "mean": cells.number(value) or NONE,
        "value": value,
        "change": cells.signed(change),
        "tone": cells.tone(change),
    }


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
                    "share": cells.share(share) if len(pixels) else NOT_EVALUATED,
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
    line = []
    for number in rounds:
        if number not in values:
            line.append({"mean": NOT_EVALUATED, "change": "", "tone": ""})
            continue
        change = np.nan
        if number > 0 and 0 in values:
            change = (values[number] - values[0]).mean()
        line.append(
            {
                "mean": cells.number(values[number].mean()) or NONE,
                "change": cells.signed(change),
                "tone": cells.tone(change),
            }
        )
    return line


def _wrapped(name: str) -> Markup:
    """A name that may go on in the next line after a sign that joins words."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/.-])(?=\w)", name))


def _inline(svg: str) -> Markup:
    """SVG for use inside HTML, where the names of its namespaces are known already, and colours of
    experiments depend on what is behind them."""
    for k, color in enumerate(figures.COLORS):
        svg = svg.replace(color.lower(), _series(k))
    return Markup(re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg, count=2))


def _series(number: int) -> str:
    """Colour of an experiment in the style sheet of the page."""
    return f"var(--series-{number})"


def _mark(color: str, marker: int) -> Markup:
    """Marker and colour of an experiment in the figures."""
    sign = figures.SIGNS[marker]
    # as text: some systems have a picture of their own for the sign
    return Markup('<span class="dot" style="color: {}">{}&#xFE0E;</span>').format(
        _series(figures.COLORS.index(color)), sign
    )


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*map(int, color))
