"""compare: in what two results differ, settings and numbers.

    python workflow_scripts/compare.py A B           (or make compare A=... B=...)

Either is one of these; a report is compared with a report:

    streets/lse                   an experiment of a finished project: its last round, all its seeds
    streets/lse/seed0             one of its seeds
    streets/lse/seed0/round2      one of its rounds
    results/evaluate/<key>        one evaluation
    results/report/<project>      a report: each experiment that both have, in its last round

What lies elsewhere goes by its path, such as other/results/experiments/streets/lse. Numbers are
those of B minus those of A, in points of IoU. The exit status is 1 where the mIoU of B is lower
than that of A by more than --tolerance (not given: never), 2 after a mistake.
"""

import math
import os
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scalewise.artifacts import iou_csv, table
from scalewise.artifacts.integrity import require_whole
from scalewise.command_line import parser_of, run_program
from scalewise.comparison import changed_settings, read_record, reasons
from scalewise.errors import UserError
from scalewise.plan import RESULTS, SETTINGS_FILE
from scalewise.publishing import KEY_FILE

PER_CLASS = "per_class_iou.csv"
MEAN = "mIoU"
# settings that say what a result is called and how it was made, but not what it is
_NO_SAY = ("project", "seeds", "experiments", "report", "code", "resources")


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        name: as it was given, with the experiment for one of a report.
        seeds: of each seed, class -> IoU in percent, NaN where the class has none.
        config: the configuration in effect; None where that is not known.
        code: stage -> digests of the code that made this and what it was made from.
        data: the same of the content of data files.
    """

    name: str
    seeds: list[dict[str, float]]
    config: Mapping | None = None
    code: dict[str, set[str]] = field(default_factory=dict)
    data: dict[str, set[str]] = field(default_factory=dict)


# --- reading --------------------------------------------------------------------------------------


def _numbered(folder: Path, prefix: str) -> dict[int, Path]:
    """Number -> folder, of `seed<k>` or `round<k>` in a folder, in order."""
    found = {}
    for path in folder.glob(f"{prefix}*"):
        if match := re.fullmatch(rf"{prefix}(\d+)", path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def evaluations_of(text: str) -> list[Path]:
    """Folders of evaluations, one for each seed. Raises UserError."""
    # a path that starts with a slash stays as it is
    for folder in (Path(text), Path(RESULTS, "experiments", text)):
        if (folder / "iou.csv").is_file():
            return [folder]
        seeds = list(_numbered(folder, "seed").values())
        if not seeds and _numbered(folder, "round"):
            seeds = [folder]
        rounds = [list(_numbered(seed, "round").values())[-1:] for seed in seeds]
        last = [path for paths in rounds for path in paths]
        if not last and os.path.lexists(folder / "evaluate"):
            last = [folder]
        if last:
            for path in last:
                if not (path / "evaluate" / "iou.csv").is_file():
                    raise UserError(
                        f"{path}: is not evaluated yet: run the project to its end, or name a "
                        "round that is, as in streets/lse/seed0/round2"
                    )
            return [path / "evaluate" for path in last]
    raise UserError(
        f"{text}: no experiment, round, evaluation or report is there; give one as in streets/lse, "
        f"streets/lse/seed0/round2, {RESULTS}/evaluate/<key> or {RESULTS}/report/streets"
    )


def _behind(folder: Path, record: Mapping) -> tuple[dict, dict]:
    """Stage -> digests, of the code and of the data files, of a result and all behind it."""
    root = folder.resolve().parents[2]  # what inputs' paths start from
    code: dict[str, set[str]] = {}
    data: dict[str, set[str]] = {}
    waiting, seen = [record], set()
    while waiting:
        record = waiting.pop()
        code.setdefault(record["stage"], set()).add(record["code"])
        data.setdefault(record["stage"], set()).update(record["contents"].values())
        for value in record["inputs"].values():
            for place in value if isinstance(value, list) else [value]:
                path = root / place["path"]
                if path.parent not in seen:
                    seen.add(path.parent)
                    further = read_record(path.with_name(SETTINGS_FILE))
                    waiting += [further] if further else []
    return code, data


def side_of(text: str) -> Side:
    """An experiment, seed, round or evaluation. Raises UserError."""
    seeds, code, data, config = [], {}, {}, None
    for folder in evaluations_of(text):
        path = folder / "iou.csv"
        require_whole([path])
        columns = table.read(path, iou_csv.COLUMNS)
        seeds.append(dict(zip(columns["class"], columns["iou"], strict=True)))
        record = read_record(folder / SETTINGS_FILE)
        if record:
            config = config or record.get("config")
            for all_of, found in zip((code, data), _behind(folder, record), strict=True):
                for stage, digests in found.items():
                    all_of.setdefault(stage, set()).update(digests)
    return Side(text, seeds, config, code, data)


def is_report(text: str) -> bool:
    return Path(text, PER_CLASS).is_file()


def sides_of_report(text: str) -> dict[str, Side]:
    """Experiment -> the last round of all its seeds. Raises ValueError for a damaged table."""
    columns = table.read(
        Path(text, PER_CLASS),
        {"experiment": str, "seed": int, "round": int, "class": str, "iou": float},
    )
    rounds: dict[str, dict[int, dict[int, dict[str, float]]]] = {}
    for name, seed, number, class_name, iou in zip(*columns.values(), strict=True):
        by_seed = rounds.setdefault(name, {}).setdefault(number, {})
        by_seed.setdefault(seed, {})[class_name] = iou
    config = _config_of_report(Path(text))
    rows = {row["name"]: row for row in (config or {}).get("experiments", [])}
    return {
        name: Side(
            f"{text} {name}",
            list(by_round[max(by_round)].values()),
            {**config, "experiment": rows.get(name, {})} if config else None,
        )
        for name, by_round in rounds.items()
    }


def _config_of_report(folder: Path) -> Mapping | None:
    """The project's configuration; None where the report by its key is not there."""
    known = folder / KEY_FILE
    if (folder / SETTINGS_FILE).is_file():  # a report by its key
        record = read_record(folder / SETTINGS_FILE)
    elif known.is_file():
        key = re.search(r'"key": "([0-9a-f]{16})"', known.read_text(encoding="utf-8"))
        reports = folder.resolve().parents[1] / "reports"
        record = read_record(reports / (key[1] if key else "") / SETTINGS_FILE)
    else:
        record = None
    return record.get("config") if record else None


# --- comparing ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One number of both: mean and sample standard deviation over seeds, in percent."""

    name: str
    a: float
    a_sd: float
    b: float
    b_sd: float

    @property
    def difference(self) -> float:
        return self.b - self.a


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """NaN for what there is not: a mean of nothing, a deviation of one."""
    known = [v for v in values if not math.isnan(v)]
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan


def _mean_over(classes: Sequence[str], iou: Mapping[str, float]) -> float:
    return _mean_sd([iou[name] for name in classes])[0]


def changes(a: Side, b: Side) -> list[Change]:
    """mIoU over the classes that both have, then these classes, the worst loss first; a class
    that has no IoU in one of them comes last. Raises UserError where they share no class."""
    shared = [name for name in a.seeds[0] if name in b.seeds[0]]
    if not shared:
        raise UserError(f"{a.name} and {b.name} have no class in common: nothing to compare")
    whole = [_mean_sd([_mean_over(shared, iou) for iou in side.seeds]) for side in (a, b)]
    rows = [
        Change(name, *_mean_sd([i[name] for i in a.seeds]), *_mean_sd([i[name] for i in b.seeds]))
        for name in shared
    ]
    rows.sort(key=lambda c: (math.isnan(c.difference), c.difference))
    return [Change(MEAN, *whole[0], *whole[1]), *rows]


def _with_a_say(config: Mapping) -> dict:
    content = {key: value for key, value in config.items() if key not in _NO_SAY}
    content["data"] = {k: v for k, v in config["data"].items() if k != "root"}
    row = content.pop("experiment", {})
    words = ("name", "role", "description")
    return {**content, "experiment": {k: v for k, v in row.items() if k not in words}}


def what_differs(a: Side, b: Side) -> list[str]:
    """Settings, code and data in which they differ, a line each."""
    if a.config is None or b.config is None:
        who = [side.name for side in (a, b) if side.config is None]
        lines = [f"settings  not known of {' and '.join(who)}"]
    else:
        found = changed_settings(_with_a_say(a.config), _with_a_say(b.config))
        lines = [f"setting   {text}" for _, text in reasons(found)]
        lines = lines or ["settings  the same, but for names and what determines no result"]
    for kind in ("code", "data"):
        one, other = getattr(a, kind), getattr(b, kind)
        stages = [stage for stage in one if stage in other and one[stage] != other[stage]]
        if stages:
            lines.append(f"{kind:<8}  other {kind} in {', '.join(sorted(stages))}")
    return lines


def is_worse(change: Change, tolerance: float | None) -> bool:
    """Whether B lost more than is tolerated; a B without a number where A has one has lost."""
    if tolerance is None or math.isnan(change.a):
        return False
    return not round(change.difference, 9) >= -tolerance


# --- in words -------------------------------------------------------------------------------------


def _shown(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" + ("" if math.isnan(sd) else f" ({sd:.1f})")


def lines(a: Side, b: Side, rows: Sequence[Change]) -> list[str]:
    """One comparison, for a terminal."""
    cells = [("", "A", "B", "B - A")]
    for row in rows:
        apart = row.difference
        signed = "-" if math.isnan(apart) else f"{round(apart, 1) + 0.0:+.1f}"
        cells.append((row.name, _shown(row.a, row.a_sd), _shown(row.b, row.b_sd), signed))
    widths = [max(len(line[k]) for line in cells) for k in range(4)]
    text = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in cells
    ]
    left_out = [
        f"{name} has {', '.join(others)}, which the other lacks: not compared"
        for name, one, other in (("A", a, b), ("B", b, a))
        if (others := [c for c in one.seeds[0] if c not in other.seeds[0]])
    ]
    seeds = [f"{len(side.seeds)} seed{'s' * (len(side.seeds) > 1)}" for side in (a, b)]
    return [
        f"A  {a.name} ({seeds[0]})",
        f"B  {b.name} ({seeds[1]})",
        "",
        *what_differs(a, b),
        "",
        *text,
        *left_out,
        "",
        "IoU in percent: mean over seeds (sample sd); the classes that lost most come first",
    ]


def pairs_of(a: str, b: str) -> list[tuple[str, Side, Side]]:
    """What is compared with what: (experiment of both reports or "", A, B). Raises UserError."""
    if is_report(a) != is_report(b):
        report, other = (a, b) if is_report(a) else (b, a)
        raise UserError(f"{report} is a report and {other} is none: give two of a kind")
    if not is_report(a):
        return [("", side_of(a), side_of(b))]
    one, other = sides_of_report(a), sides_of_report(b)
    shared = [name for name in one if name in other]
    if not shared:
        raise UserError(f"{a} and {b} have no experiment in common: compare two of them by name")
    return [(name, one[name], other[name]) for name in shared]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("a", metavar="A", help="what is compared with")
    parser.add_argument("b", metavar="B", help="what is compared")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the numbers to a table too")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="exit with 1 where the mIoU of B is lower by more than this (default: never)",
    )
    arguments = parser.parse_args()
    try:
        if arguments.tolerance is not None and not arguments.tolerance >= 0:
            raise UserError(f"--tolerance {arguments.tolerance:g}: must be 0 or more")
        pairs = pairs_of(arguments.a, arguments.b)
        found = [(name, a, b, changes(a, b)) for name, a, b in pairs]
        if arguments.csv:
            table.write(
                arguments.csv,
                ["experiment", "class", "iou_a", "sd_a", "iou_b", "sd_b", "difference"],
                (
                    [name, c.name, c.a, c.a_sd, c.b, c.b_sd, c.difference]
                    for name, _, _, rows in found
                    for c in rows
                ),
            )
    except (UserError, ValueError, OSError) as error:
        print(f"\n{error}\n", file=sys.stderr)
        sys.exit(2)
    print("\n\n".join("\n".join(lines(a, b, rows)) for _, a, b, rows in found))
    sys.exit(any(is_worse(rows[0], arguments.tolerance) for *_, rows in found))


if __name__ == "__main__":
    run_program(main)
