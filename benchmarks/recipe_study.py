"""The tables of docs/recipe.md, from the reports of finished projects.

    python benchmarks/recipe_study.py recipe_winter recipe_haze recipe_town recipe_dusk

Reads `results/report/<project>/summary.csv` of each; prints a table of all gaps and one of paired
differences for each, as Markdown. With --csv FILE the last round of every row and seed goes there.
With --why ROW a table for each gap says class by class where the row stands between source only and
the ceiling, and what its last round's pseudo-labels were (of the target's training images).
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

# target-free: the best of them is what a method has to beat; round 0 of any row is "source only"
CONTROLS = ("source only", "continued", "longer", "source_zoom")
# a method from other weights -> where it begins, and what has had as much time as it
FROM_OTHERS = {"recommended_longer": ("longer", ("longer", "longest"))}
BAR, FLOOR = 3.0, -0.5


def last_rounds(project: str) -> pd.DataFrame:
    """Columns row, seed, miou (percent): the last round of every row, and source only."""
    table = pd.read_csv(Path("results/report", project, "summary.csv"))
    table = table[table["classes"] == "all"]
    last = table[table["round"] == table.groupby("experiment")["round"].transform("max")]
    last = last.rename(columns={"experiment": "row"})
    # every row of the same source training begins alike; "longer" and "ceiling" do not
    begun = table[(table["round"] == 0) & (table["experiment"] == "continued")]
    begun = begun.assign(row="source only")
    both = pd.concat([begun, last])[["row", "seed", "miou"]]
    return both.assign(gap=project.removeprefix("recipe_"))


def mean_sd(values: pd.Series) -> str:
    return f"{values.mean():.1f}" + (f" ({values.std():.1f})" if len(values) > 1 else "")


def signs(differences: pd.Series) -> str:
    return f"{(differences > 0).sum()} of {len(differences)}"


def best_control(of_gap: pd.DataFrame, controls: Sequence[str] = CONTROLS) -> str:
    """The target-free control with the highest mean over seeds."""
    means = of_gap[of_gap["row"].isin(controls)].groupby("row")["miou"].mean()
    return str(means.idxmax())


def differences(of_gap: pd.DataFrame, row: str, reference: str) -> pd.Series:
    """Seed by seed: a row minus a reference."""
    wide = of_gap.pivot(index="seed", columns="row", values="miou")
    return (wide[row] - wide[reference]).dropna()


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] + ["--:"] * (len(heads) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def why(project: str, row: str) -> list[list[str]]:
    """Class by class, means over seeds in percent: IoU of source only, of the row's last round and
    of the ceiling; then, of the last round's patches, which share of the pixels that have a label
    is predicted as the class, how many of these are kept, and how many of the kept are right."""
    iou = pd.read_csv(Path("results/report", project, "per_class_iou.csv"))
    at_end = iou.groupby("experiment")["round"].transform("max") == iou["round"]
    of_row = iou["experiment"] == row
    columns = {
        "source only": iou[of_row & (iou["round"] == 0)],
        row: iou[of_row & at_end],
        "ceiling": iou[(iou["experiment"] == "ceiling") & at_end],
    }
    means = {name: part.groupby("class")["iou"].mean() for name, part in columns.items()}
    last = int(iou.loc[of_row, "round"].max())
    files = Path("results/experiments", project, row).glob(
        f"seed*/round{last}/audit_pseudo_labels/audit.csv"
    )
    audits = [pd.read_csv(path) for path in sorted(files)]
    audit = pd.concat(audits).groupby("class").sum() if audits else None
    lines = []
    for name in dict.fromkeys(iou["class"]):
        cells = [f"{means[c].get(name, math.nan):.1f}" for c in columns]
        if audit is None:  # the target's labels are not looked at: data.target.audit
            lines.append([str(name), *cells, "–", "–", "–"])
            continue
        seen, kept, right = (int(audit.loc[name, c]) for c in ("seen", "kept", "right_kept"))
        share = 100 * seen / audit.loc["all", "seen"]
        of = [
            f"{100 * kept / seen:.0f}" if seen else "–",
            f"{100 * right / kept:.0f}" if kept else "–",
        ]
        lines.append([str(name), *cells, f"{share:.1f}", *of])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projects", nargs="+")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--why", metavar="ROW")
    arguments = parser.parse_args()
    for project in arguments.projects:
        if not Path("results/report", project, "summary.csv").exists():
            parser.error(f"results/report/{project}: no report there yet: make study writes it")
    everything = pd.concat(map(last_rounds, arguments.projects))
    if arguments.csv:
        columns = ["gap", "row", "seed", "miou"]
        everything[columns].to_csv(
            arguments.csv, index=False, float_format="%.4f", lineterminator="\n"
        )
    rows = list(dict.fromkeys(everything["row"]))
    gaps = list(dict.fromkeys(everything["gap"]))
    of = {gap: everything[everything["gap"] == gap] for gap in gaps}
    best = {gap: best_control(of[gap]) for gap in gaps}

    cells = []
    for row in rows:
        line = [row]
        for gap in gaps:
            values = of[gap].loc[of[gap]["row"] == row, "miou"]
            text = mean_sd(values) if len(values) else "–"
            line.append(f"**{text}**" if row == best[gap] else text)
        cells.append(line)
    print(markdown(["mIoU, mean (sd)", *gaps], cells))
    print("\nBold: the best target-free control.\n")

    cells = []
    for row in [r for r in rows if r not in (*CONTROLS, "longest", "ceiling")]:
        start, controls = FROM_OTHERS.get(row, ("source only", CONTROLS))
        for gap in gaps:
            if row not in set(of[gap]["row"]):
                continue
            over = differences(of[gap], row, best_control(of[gap], controls))
            begun = differences(of[gap], row, start)
            met = over.mean() >= BAR and begun.min() >= FLOOR
            verdict = "met" if met else "missed"
            cells.append(
                [row, gap, f"{over.mean():+.1f} ({over.std():.1f})", signs(over),
                 f"{begun.mean():+.1f}", f"{begun.min():+.1f}", verdict]
            )  # fmt: skip
    heads = ["row", "gap", "over the best control (sd)", "seeds up", "over where it began",
             "worst seed", "bar"]  # fmt: skip
    print(markdown(heads, cells))

    heads = ["source only", str(arguments.why), "ceiling", "predicted, % of pixels", "kept, %",
             "right of the kept, %"]  # fmt: skip
    for project in arguments.projects if arguments.why else ():
        print(f"\n{project}\n")
        print(markdown(["class", *heads], why(project, arguments.why)))


if __name__ == "__main__":
    main()
