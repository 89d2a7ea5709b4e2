"""What the evaluations say, as tables and as plain sentences.

All IoU values, means and gains are in percent (points of mIoU for gains). Round 0 is the network
before adaptation ("source-only"). The last round is the result, never the best one.
"""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scalewise.artifacts.audit_csv import AuditRow
from scalewise.artifacts.health_csv import WARN, HealthRow
from scalewise.taxonomy import ALL_CLASSES

ONE_SEED_MARGIN = 0.5
SAME_START = 0.05
TEXT_WIDTH = 100


@dataclass(frozen=True)
class Evaluation:
    """One network measured on the validation set.

    Args:
        experiment: name of the experiment.
        seed: seed of its training.
        round: 0 for source-only, then 1, 2, ...
        iou: one row per class in taxonomy order, with columns class (str), iou (percent; NaN where
            the class occurs neither in the labels nor in the predictions), intersection, union
            and pixels (label pixels of the class).
        pictures: None, or a few examples: "ids" (list of n str), "image" (n, H, W, 3) uint8,
            "label" and "prediction" (n, H, W) uint8 with a class index or 255 for ignored pixels,
            "entropy" (n, H, W) float16, normalised to 0..1 within each predicted class.
    """

    experiment: str
    seed: int
    round: int
    iou: pd.DataFrame
    pictures: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Missing:
    """An evaluation that the plan promises and that is not there.

    Args:
        experiment, seed, round: which one.
        state: "failed", "still to run" or "running".
        detail: what is known about it in words; may be empty.
    """

    experiment: str
    seed: int
    round: int
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Check:
    """What one round was checked for (docs/health.md).

    Args:
        experiment, seed, round: which one.
        check: "check_round", of the network that labels in the round, or "check_result", of the
            network that it made (of the last round, or of each where rounds may be reverted).
        rows: one for each measure; none where the check is not there.
        state, detail: of a check that is not there, as in `Missing`.
    """

    experiment: str
    seed: int
    round: int
    check: str
    rows: Sequence[HealthRow] = ()
    state: str = ""
    detail: str = ""

    @property
    def title(self) -> str:
        made = "result of " if self.check == "check_result" else ""
        return f"{made}round {self.round}"

    @property
    def warnings(self) -> list[str]:
        return [row.sentence for row in self.rows if row.verdict == WARN]


@dataclass(frozen=True)
class Audit:
    """How right the pseudo-labels of one round are.

    Args:
        experiment, seed, round: which one.
        rows: one for each class, in class order, and that of all of them last.
    """

    experiment: str
    seed: int
    round: int
    rows: Sequence[AuditRow]


def health_warnings(checks: Iterable[Check]) -> list[str]:
    """The warnings of all checks, each with whose it is."""
    return [
        f"{c.experiment}, seed {c.seed}, {c.title}: {sentence}"
        for c in checks
        for sentence in c.warnings
    ]


@dataclass(frozen=True)
class Project:
    """What the report is about.

    Args:
        name: of the project.
        classes: class names; the position is the class index.
        colors: one (red, green, blue) triple in 0..255 for each class.
        subsets: name -> class names over which a further mean IoU is reported.
        source, target, validation: one line each, in words.
        experiments: in the order of the report, mappings with "name" and, if wanted,
            "description" (words),
            "differences" (setting -> value in words, against the base configuration),
            "role" ("method", "control", "ablation", "ceiling" or ""; an ablation is set against the
            first method),
            "uses_target" (False: no target image enters its training; left out: nothing is
            claimed about it), and
            "rounds" (where it differs from the project's).
        rounds: number of rounds after source-only.
        gallery: number of pictures to show.
        headline: "all" or the subset over whose classes the result is reported.
        untaught: classes that the validation set labels and the source does not.
    """

    name: str
    classes: Sequence[str]
    colors: Sequence[tuple[int, int, int]]
    subsets: Mapping[str, Sequence[str]]
    source: str
    target: str
    validation: str
    experiments: Sequence[Mapping[str, Any]]
    rounds: int
    gallery: int = 4
    headline: str = ALL_CLASSES
    untaught: Sequence[str] = ()

    @property
    def begun(self) -> list[str]:
        """Names of the experiments whose round 0 is a source-only network: all but ceilings."""
        return [e["name"] for e in self.experiments if e.get("role") != "ceiling"]

    @property
    def class_sets(self) -> dict[str, str]:
        """What a mean can be over, "all" or a subset, the larger first, -> how that is called."""
        subsets = sorted(self.subsets, key=lambda name: (-len(self.subsets[name]), name))
        return {ALL_CLASSES: f"{len(self.classes)} classes", **{n: n for n in subsets}}


def per_class_iou(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """IoU of every class in every evaluation.

    Returns:
        Columns experiment, seed, round, class, iou (percent, 4 decimals; NaN, an empty field in
        CSV, where the class occurs neither in labels nor in predictions), pixels (of the label).
        Experiments in the order of first appearance, then by seed, round and class.

    Raises:
        ValueError: if one evaluation is given twice.
    """
    parts = [
        evaluation.iou[["class", "iou", "pixels"]]
        .assign(
            experiment=evaluation.experiment,
            seed=evaluation.seed,
            round=evaluation.round,
            iou=evaluation.iou["iou"].astype(float).round(4),
        )
        .reset_index(drop=True)
        for evaluation in _ordered(evaluations)
    ]
    columns = ["experiment", "seed", "round", "class", "iou", "pixels"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def summary(
    evaluations: Iterable[Evaluation], subsets: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Mean IoU of every evaluation, over all classes and over each subset.

    Classes without an IoU (NaN) do not count in a mean. A subset with a name that is no class here
    is left out.

    Returns:
        Columns experiment, seed, round, classes ("all" or the name of a subset), miou (percent),
        gain (miou minus that of round 0 of the same experiment and seed; NaN without that round).

    Raises:
        ValueError: if one evaluation is given twice, or a subset is called "all".
    """
    if ALL_CLASSES in (subsets or {}):
        raise ValueError(f"a subset of classes cannot be called {ALL_CLASSES!r}: rename it")
    rows = []
    for evaluation in _ordered(evaluations):
        iou = evaluation.iou.set_index("class")["iou"].astype(float)
        means = {ALL_CLASSES: iou.mean()}
        for name, classes in (subsets or {}).items():
            if set(classes) <= set(iou.index):
                means[name] = iou[list(classes)].mean()
        where = (evaluation.experiment, evaluation.seed, evaluation.round)
        rows += [(*where, name, mean) for name, mean in means.items()]
    table = pd.DataFrame(rows, columns=["experiment", "seed", "round", "classes", "miou"])
    keys = ["experiment", "seed", "classes"]
    start = table[table["round"] == 0].set_index(keys)["miou"].to_dict()
    table["gain"] = [
        miou - start.get(key, math.nan)
        for miou, *key in table[["miou", *keys]].itertuples(index=False)
        for key in [tuple(key)]
    ]
    return table.astype({"miou": float, "gain": float})


def headline(table: pd.DataFrame, project: Project, classes: str | None = None) -> pd.DataFrame:
    """One row per experiment, in the project's order: where it started and where it ended.

    An experiment's last round is the highest that any of its seeds has; only seeds that have both
    it and round 0 count (where there is none, all that have the last round). sd is the sample
    standard deviation over seeds (ddof 1; NaN for one seed).

    Args:
        table: from `summary`.
        project: gives the order, roles and number of rounds of the experiments.
        classes: "all" or the name of a subset; None: what the project reports over.

    Returns:
        Columns experiment, role, uses_target (None: unknown), seeds, source_only, source_only_sd,
        last_round, rounds (promised), miou, miou_sd (both of the last round), gain, gain_sd,
        seeds_up (seeds with a gain above 0), best_control, control_gain, over_control (gain minus
        that of the best control; NaN for controls and ablations, and before all rounds are there),
        free_control, over_free_control (the same for the best control whose uses_target is False),
        reference, over_reference, over_reference_sd, pairs, pairs_up. The best control is the one
        with the highest mean gain among those that have had all their rounds. The last five are for
        ablations: the first method, mean and sample sd of the last round minus that of the method
        with the same seed, the seeds that have both, and those in which the ablation is higher
        (NaN and 0 before both have had all their rounds).
        last_round is -1 where nothing was evaluated; the gains are NaN where no round after 0 was.

    Raises:
        ValueError: if the table has an experiment that the project lacks.
    """
    table = table[table["classes"] == (project.headline if classes is None else classes)]
    names = [experiment["name"] for experiment in project.experiments]
    for name in table["experiment"].unique():
        if name not in names:
            raise ValueError(f"experiment {name!r} was evaluated but is not in the project")
    rows = []
    for experiment in project.experiments:
        own = table[table["experiment"] == experiment["name"]]
        last_round = int(own["round"].max()) if len(own) else -1
        last = own[own["round"] == last_round]
        if last["gain"].notna().any():
            last = last[last["gain"].notna()]
        start = own[(own["round"] == 0) & own["seed"].isin(last["seed"])]["miou"]
        gain = last["gain"].dropna() if last_round > 0 else last["gain"].iloc[:0]
        rows.append(
            {
                "experiment": experiment["name"],
                "role": experiment.get("role", ""),
                "uses_target": experiment.get("uses_target"),
                "seeds": len(last),
                "source_only": start.mean(),
                "source_only_sd": start.std(ddof=1),
                "last_round": last_round,
                "rounds": int(experiment.get("rounds", project.rounds)),
                "miou": last["miou"].mean(),
                "miou_sd": last["miou"].std(ddof=1),
                "gain": gain.mean(),
                "gain_sd": gain.std(ddof=1),
                "seeds_up": int((gain > 0).sum()),
            }
        )
    controls = [row for row in rows if row["role"] == "control" and _finished(row)]
    best = max(controls, key=lambda row: row["gain"], default=None)
    free = [row for row in controls if row["uses_target"] is False]
    best_free = max(free, key=lambda row: row["gain"], default=None)
    method = next((row for row in rows if row["role"] == "method"), None)
    for row in rows:
        ablation = row["role"] == "ablation"
        compared = row["role"] in ("method", "") and _finished(row)
        control, gain = _named(best if compared else None)
        row |= {"best_control": control, "control_gain": gain, "over_control": row["gain"] - gain}
        control, gain = _named(best_free if compared else None)
        row |= {"free_control": control, "over_free_control": row["gain"] - gain}
        row["reference"] = method["experiment"] if ablation and method else ""
        pairs = pd.Series(dtype=float)
        if row["reference"] and _has_all_rounds(row) and _has_all_rounds(method):
            pairs = _paired(table, row)
        row["over_reference"] = pairs.mean()
        row["over_reference_sd"] = pairs.std(ddof=1)
        row["pairs"] = len(pairs)
        row["pairs_up"] = int((pairs > 0).sum())
    columns = {name: pd.Series([row[name] for row in rows], dtype=_dtype(name)) for name in _ROW}
    return pd.DataFrame(columns)


def paired_differences(
    table: pd.DataFrame, project: Project, classes: str | None = None
) -> pd.DataFrame:
    """The ablations seed by seed: the last round minus that of the first method, same seed.

    Args:
        as for `headline`, whose over_reference is the mean of these differences.

    Returns:
        Columns experiment, seed, difference (points of mIoU); ablations in the project's order.
    """
    rows = headline(table, project, classes)
    table = table[table["classes"] == (project.headline if classes is None else classes)]
    parts = []
    for row in rows[rows["pairs"] > 0].to_dict("records"):
        pairs = _paired(table, row).rename("difference").reset_index()
        parts.append(pairs.assign(experiment=row["experiment"]))
    columns = ["experiment", "seed", "difference"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _named(control: Mapping[str, Any] | None) -> tuple[str, float]:
    """Name and gain of a control; nothing and NaN where there is none."""
    return (control["experiment"], control["gain"]) if control else ("", math.nan)


def _paired(table: pd.DataFrame, row: Mapping[str, Any]) -> pd.Series:
    """Last round of an experiment minus that of its reference, by seed."""
    results = []
    for name in (row["experiment"], row["reference"]):
        own = table[table["experiment"] == name]
        last = own[own["round"] == own["round"].max()]
        results.append(last.set_index("seed")["miou"])
    return (results[0] - results[1]).dropna()


_ROW = (
    "experiment",
    "role",
    "uses_target",
    "seeds",
    "source_only",
    "source_only_sd",
    "last_round",
    "rounds",
    "miou",
    "miou_sd",
    "gain",
    "gain_sd",
    "seeds_up",
    "best_control",
    "control_gain",
    "over_control",
    "free_control",
    "over_free_control",
    "reference",
    "over_reference",
    "over_reference_sd",
    "pairs",
    "pairs_up",
)


def _dtype(column: str) -> type:
    names = ("experiment", "role", "uses_target", "best_control", "free_control", "reference")
    if column in names:
        return object
    counts = ("seeds", "last_round", "rounds", "seeds_up", "pairs", "pairs_up")
    return int if column in counts else float


def compare(method: Mapping[str, Any], control: Mapping[str, Any]) -> str:
    """Whether a control gains "more" than a method, "less", or "as much".

    The margin is the larger of the two standard deviations of the gain over seeds, and at least
    0.5 mIoU where either has one seed only. A difference smaller than the margin is "as much".
    """
    difference = round(control["gain"] - method["gain"], 9)
    margin = round(_margin(method, control), 9)
    if difference == 0 or abs(difference) < margin:
        return "as much"
    return "more" if difference > 0 else "less"


def sentences(rows: pd.DataFrame) -> list[str]:
    """What the numbers show, and what they do not, in words that anyone can check.

    Rules, in this order; figures are rounded to one decimal first wherever they are printed.

    1. Each experiment but the ablations: how far its last round is above source-only, or that it
       "harmed" where the mean is below, or that it is "level" where the gain rounds to 0.0. Where
       that is less than its own standard deviation over seeds, the sentence says that the seeds
       scatter more. An experiment without all its rounds is called unfinished.
    2. Each method (role "method") that ended above source-only, against every control that has had
       all its rounds (`compare`): controls that gain as much or more are named, and the gain is
       then said to prove nothing about the target images (if the control uses none) or about the
       method's own steps (any other control). If all gain less, the lead over the best one is
       given. A method that did not end above source-only is set against the best control if that
       one gained more.
    3. A method and the best control whose source-only means differ by more than 0.05 mIoU: said,
       because gains from different starts do not compare.
    4. Methods without any control, and controls without a result, are named.
    5. Each ablation, one line: how far its last round is from that of the first method, over the
       seeds that have both; where that is less than its own standard deviation over these seeds,
       it is within their scatter.
    6. One seed proves little: said once, with the names where not all are concerned.

    Args:
        rows: from `headline`.
    """
    records = rows.to_dict("records")
    said = [_how_it_ended(row) for row in records if row["role"] != "ablation"]
    methods = [row for row in records if row["role"] == "method"]
    controls = [row for row in records if row["role"] == "control"]
    ready = [row for row in controls if _finished(row)]
    for method in methods:
        if ready and _finished(method):
            said += _against_controls(method, ready)
    measured = [row["experiment"] for row in methods if not math.isnan(row["gain"])]
    if measured and not controls:
        said.append(
            f"No control was run: nothing here shows that the target images are what changed "
            f"the result of {_list(measured)}."
        )
    # a control without rounds, such as longer source training, has no gain to compare
    unready = [row["experiment"] for row in controls if row["rounds"] and not _finished(row)]
    if methods and unready:
        verb = "has" if len(unready) == 1 else "have"
        said.append(f"{_list(unready)} {verb} no final result yet and {verb} not been compared.")
    said += [_against_reference(row) for row in records if row["role"] == "ablation"]
    adapted = [row for row in records if not math.isnan(row["gain"])]
    single = [row["experiment"] for row in adapted if row["seeds"] == 1]
    if single:
        who = "" if len(single) == len(adapted) else f" ({_list(single)})"
        said.append(
            f"One seed proves little{who}: run at least three before you believe a difference."
        )
    return said


def text_table(rows: pd.DataFrame, over: str = "") -> str:
    """The headline for a terminal: one line per experiment, at most 100 columns wide.

    Mean over seeds, sample standard deviation over seeds in brackets, "-" where there is none.

    Args:
        rows: from `headline`.
        over: which classes the means are over, in words.
    """
    records = rows.to_dict("records")
    control = next((row["best_control"] for row in records if row["best_control"]), "")
    reference = next((row["reference"] for row in records if row["reference"]), "")
    heads = [["", "experiment"], ["", "seeds"], ["source-", "only"], ["", "last round"]]
    heads += [["", "gain"], ["", "up"], ["over best", "control"]]
    if reference:
        heads.append(["over", _fit(reference, min(_width(reference), 14), True)])
    lines = []
    for row in records:
        result = _mean_sd(row["miou"], row["miou_sd"])
        line = [
            row["experiment"],
            str(row["seeds"]),
            _mean_sd(row["source_only"], row["source_only_sd"]),
            f"{row['last_round']}: {result}" if row["last_round"] > 0 else "-",
            _mean_sd(row["gain"], row["gain_sd"], sign=True),
            "-" if math.isnan(row["gain"]) else f"{row['seeds_up']}/{row['seeds']}",
            _signed(row["over_control"]),
        ]
        if reference:
            difference = _mean_sd(row["over_reference"], row["over_reference_sd"], sign=True)
            pairs = f" {row['pairs_up']}/{row['pairs']}" if row["pairs"] else ""
            line.append(difference + pairs)
        lines.append(line)
    notes = [
        f"mIoU in percent{f' over {over}' if over else ''}: mean over seeds (sample sd); the last "
        "round is the result"
    ]
    if ceilings := [row["experiment"] for row in records if row["role"] == "ceiling"]:
        notes.append(f"{_list(ceilings)}: trained on the target's labels; nothing is adapted")
    if control:
        notes.append(f"over best control: gain minus that of {control}")
    if reference:
        notes.append(f"over {reference}: last round minus that of {reference} with the same seed")
    return _aligned(heads, lines, notes)


def text_means(table: pd.DataFrame, project: Project) -> str:
    """The mean of each experiment's last round over all classes and over each subset, for a
    terminal: at most 100 columns wide, a column for each mean under its name, and below them which
    classes each is over. Empty for a project without subsets.

    Args:
        table: from `summary`.
        project: gives the classes, the subsets and the experiments.
    """
    if not project.subsets:
        return ""
    sets = list(project.class_sets.items())
    notes = [
        "mIoU of the last round, by the classes it is the mean of; a class that is neither in the",
        "labels nor in the predictions has no IoU and does not count",
    ]
    blocks = []
    for part in (sets[i : i + 5] for i in range(0, len(sets), 5)):
        heads = [
            ["experiment"],
            *([_fit(title, min(_width(title), 14), True)] for _, title in part),
        ]
        columns = [
            [
                _mean_sd(row["miou"], row["miou_sd"]) if row["last_round"] > 0 else "-"
                for row in headline(table, project, classes).to_dict("records")
            ]
            for classes, _ in part
        ]
        names = [experiment["name"] for experiment in project.experiments]
        lines = [list(line) for line in zip(names, *columns, strict=True)]
        blocks.append(_aligned(heads, lines, notes))
    return "\n".join([*blocks, *class_lists(project)]) + "\n"


def class_lists(project: Project) -> list[str]:
    """Which classes each mean is over, one line each; and those that nothing teaches."""
    lines = []
    for name, title in project.class_sets.items():
        members = list(project.classes if name == ALL_CLASSES else project.subsets[name])
        others = [c for c in project.classes if c not in members]
        if not others:
            said = "all classes of the project"
        elif len(others) < len(members):
            said = f"all but {_list(others)}"
        else:
            said = _list(members)
        lines.append(f"{title}: {said}")
    if project.untaught:
        verb = "is" if len(project.untaught) == 1 else "are"
        lines.append(
            f"never taught: {_list(list(project.untaught))} {verb} labelled in the validation set "
            f"and not in the source"
        )
    return lines


def _aligned(heads: list[list[str]], lines: list[list[str]], notes: list[str]) -> str:
    """Columns under their heads (one or more lines each); the first, to the left, gives way."""
    count = len(heads)
    gap = 2 * (count - 1)
    rows = [*(list(line) for line in zip(*heads, strict=True)), *lines]
    widths = [max(_width(row[i]) for row in rows) for i in range(count)]
    widths[0] = min(widths[0], TEXT_WIDTH - gap - sum(widths[1:]))
    text = [
        "  ".join(_fit(cell, widths[i], i == 0) for i, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + gap)
    notes = [_fit(note, min(_width(note), TEXT_WIDTH), True) for note in notes]
    top = len(heads[0])
    return "\n".join([*text[:top], rule, *text[top:], rule, *notes]) + "\n"


def _ordered(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    evaluations = list(evaluations)
    order = {name: i for i, name in enumerate(dict.fromkeys(e.experiment for e in evaluations))}
    by_key: dict[tuple, Evaluation] = {}
    for evaluation in evaluations:
        key = (order[evaluation.experiment], evaluation.seed, evaluation.round)
        if key in by_key:
            raise ValueError(
                f"experiment {evaluation.experiment!r}, seed {evaluation.seed}, round "
                f"{evaluation.round} was given twice"
            )
        by_key[key] = evaluation
    return [by_key[key] for key in sorted(by_key)]


def _has_all_rounds(row: Mapping[str, Any]) -> bool:
    return row["last_round"] >= row["rounds"]


def _finished(row: Mapping[str, Any]) -> bool:
    return _has_all_rounds(row) and not math.isnan(row["gain"])


def _margin(*rows: Mapping[str, Any]) -> float:
    return max(ONE_SEED_MARGIN if math.isnan(row["gain_sd"]) else row["gain_sd"] for row in rows)


def _how_it_ended(row: Mapping[str, Any]) -> str:
    name = f"The control {row['experiment']}" if row["role"] == "control" else row["experiment"]
    gain = round(row["gain"], 1)
    if row["last_round"] < 0:
        return f"{name} has not been evaluated yet."
    if row["role"] == "ceiling":
        return f"The ceiling {name}, trained on the target's labels, is at {row['miou']:.1f} mIoU."
    if math.isnan(gain):
        if row["last_round"] == 0:
            left = "" if row["rounds"] == 0 else f"; none of its {row['rounds']} rounds is there"
            return f"{name} has a source-only result, {row['miou']:.1f} mIoU{left}."
        return (
            f"{name} ends at {row['miou']:.1f} mIoU; without its source-only evaluation the gain "
            f"is unknown."
        )
    if row["last_round"] < row["rounds"]:
        name = f"{name} is unfinished: after round {row['last_round']} of {row['rounds']} it"
        verb = "stands"
    else:
        verb = "ends"
    if gain > 0:
        verdict = f"{name} {verb} {gain:.1f} mIoU above source-only"
    elif gain < 0 and verb == "ends":
        verdict = f"{name} harmed: it {verb} {-gain:.1f} mIoU below source-only"
    elif gain < 0:
        verdict = f"{name} has harmed: it {verb} {-gain:.1f} mIoU below source-only"
    else:
        verdict = f"{name} {verb} level with source-only"
    if math.isnan(row["gain_sd"]):
        return f"{verdict} (one seed)."
    seeds = row["seeds"]
    scattered = gain != 0 and abs(row["gain"]) < row["gain_sd"]
    clear = ", but the seeds scatter more than that" if scattered else ""
    return (
        f"{verdict} (mean of {seeds} seeds, sd {row['gain_sd']:.1f}; "
        f"{row['seeds_up']} of {seeds} seeds up){clear}."
    )


def _against_reference(row: Mapping[str, Any]) -> str:
    name, reference = row["experiment"], row["reference"]
    if row["last_round"] < 0:
        return f"{name} has not been evaluated yet."
    if not _has_all_rounds(row):
        return f"{name} is unfinished: it has had {row['last_round']} of {row['rounds']} rounds."
    if not row["pairs"]:
        lacking = f"no final result of {reference}" if reference else "no method"
        return f"{name} ends at {row['miou']:.1f} mIoU; there is {lacking} to compare it with."
    difference, sd = row["over_reference"], row["over_reference_sd"]
    size = round(abs(difference), 1)
    if size:
        verdict = f"{size:.1f} mIoU {'above' if difference > 0 else 'below'} {reference}"
    else:
        verdict = f"level with {reference}"
    if row["pairs"] == 1:
        return f"{name} ends {verdict} (one paired seed)."
    if abs(difference) < sd:
        seeds = ": within their scatter"
    else:
        seeds = f"; higher in {row['pairs_up']} of {row['pairs']}"
    return f"{name} ends {verdict} (mean of {row['pairs']} paired seeds, sd {sd:.1f}{seeds})."


def _against_controls(method: Mapping[str, Any], controls: list[Mapping[str, Any]]) -> list[str]:
    name = method["experiment"]
    best = max(controls, key=lambda row: row["gain"])
    said = []
    if round(method["gain"], 1) <= 0:
        if compare(method, best) == "more" and round(best["gain"], 1) > 0:
            said.append(
                f"{name} gained nothing, while the control {best['experiment']} gained "
                f"{best['gain']:.1f}."
            )
        return said
    verdicts = {row["experiment"]: compare(method, row) for row in controls}
    rivals = [row for row in controls if verdicts[row["experiment"]] != "less"]
    groups = (
        (
            [row for row in rivals if row["uses_target"] is False],
            ", which {} no target image,",
            "the target images helped",
        ),
        (
            [row for row in rivals if row["uses_target"] is not False],
            "",
            "its own steps helped",
        ),
    )
    for rows, apart, claim in groups:
        if not rows:
            continue
        one = len(rows) == 1
        words = sorted({verdicts[row["experiment"]] for row in rows})
        gained = f"{'gains' if one else 'gain'} {' or '.join(words)}"
        apart = apart.format("trains on" if one else "train on")
        if one:
            who = f"{rows[0]['experiment']}{apart} {gained} ({rows[0]['gain']:.1f})"
        else:
            named = _list([f"{row['experiment']} ({row['gain']:.1f})" for row in rows])
            who = f"{named}{apart} {gained}"
        who = who if apart else f"The control{'' if one else 's'} {who}"
        if words == ["as much"] and method["seeds"] > 1:
            who += ", within the scatter of the seeds"
        said.append(f"{who}: here the gain of {name} does not show that {claim}.")
    if not rivals:
        lead = method["gain"] - best["gain"]
        sd_known = not (math.isnan(method["gain_sd"]) or math.isnan(best["gain_sd"]))
        more = f", more than the seeds scatter (sd {_margin(method, best):.1f})" if sd_known else ""
        free = ", which trains on no target image" if best["uses_target"] is False else ""
        said.append(
            f"{name} gains {lead:.1f} more than the best control, {best['experiment']} "
            f"({best['gain']:.1f}){free}{more}."
        )
    if abs(method["source_only"] - best["source_only"]) > SAME_START:
        said.append(
            f"{name} and {best['experiment']} do not start from the same mean (source-only "
            f"{method['source_only']:.1f} and {best['source_only']:.1f} mIoU): compare where they "
            f"end as well ({method['miou']:.1f} and {best['miou']:.1f})."
        )
    return said


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{round(value, 1) + 0.0:+.1f}"


def _mean_sd(mean: float, sd: float, sign: bool = False) -> str:
    if math.isnan(mean):
        return "-"
    text = _signed(mean) if sign else f"{mean:.1f}"
    return text if math.isnan(sd) else f"{text} ({sd:.1f})"


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _fit(text: str, width: int, left: bool) -> str:
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    space = " " * (width - _width(text))
    return text + space if left else space + text
