"""Which statistics that need no target label tell a round that harms? (docs/health.md)

    python benchmarks/health_study.py --choose dev_a dev_b --test recipe_night recipe_haze ...

Reads finished projects below results/. Of every round of every row that patches teach it takes
the statistics, and how far the round's mIoU is from that of the row `continued` with the same seed
after the same round: below by more than --margin is harm. Rows from other source-trained weights
than its are left out. For each statistic it prints the area under the ROC curve, and for the limit
that is best on the projects of --choose (hits minus false alarms, in shares) its hits and false
alarms on them and on those of --test; and those of the checks themselves, with the limits that the
projects ran with. With --csv FILE all statistics go there; such a file may stand in place of a
project.

Agreement between scales comes from running the networks (torch); the rest is read from the files of
the stages. Nothing is written below results/.
"""

import argparse
import json
import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

import torch

from scalewise.artifacts import (
    health_csv,
    predictions_h5,
    scores_csv,
    source_csv,
    thresholds_csv,
)
from scalewise.data.dataset import DataSet
from scalewise.inference import batches, predict
from scalewise.models import store
from scalewise.selftraining import health

IMAGES = 48  # per network, evenly spread
# statistic -> whether more of it is worse
STATISTICS = {
    "kept": False,
    "kept, against round 1": False,
    "histogram, against the round before": True,
    "histogram, against source-only": True,
    "agreement with the round before": False,
    "agreement with source-only": False,
    "entropy, times the round before": False,
    "entropy, times source-only": False,
    "share left of the class that lost most": False,
    "the same, against source-only": False,
    "agreement between scales": False,
    "the same, minus source-only": False,
    "source loss, times that before the rounds": True,
}
ALARM = "the check warned"


@cache
def record(folder: Path) -> dict:
    return json.loads((folder / "settings.json").read_text(encoding="utf-8"))


@cache
def said(folder: Path) -> tuple[np.ndarray, float]:
    """Pixels of each class, and mean entropy, that a network says of the target."""
    scores = scores_csv.read(folder / "scores.csv", record(folder)["settings"]["classes"])
    return scores.pixels.sum(0), health.overall_entropy(scores.pixels, scores.entropy)


def agreement(one: Path, other: Path) -> float:
    with (
        predictions_h5.reading(one / "predictions.h5") as a,
        predictions_h5.reading(other / "predictions.h5") as b,
    ):
        return health.agreement(zip(a.blocks(), b.blocks(), strict=True))


@cache
def source_loss(folder: Path) -> float:
    """Mean loss of a network on the source images that were looked at."""
    rows = source_csv.read(folder / "source.csv")
    return health.overall_loss([row.pixels for row in rows], [row.loss for row in rows])


@cache
def between_scales(model_file: Path, images_file: Path, root: str) -> float:
    """On some images: the agreement between predictions at scales 0.5, 1 and 1.5."""
    model = store.load(model_file)
    model.network.eval()
    data = DataSet(root, images_file, model.size)
    numbers = sorted({k * len(data) // IMAGES for k in range(IMAGES)})
    agreed = 0.0
    for part, images in batches(data.image, numbers):
        how = {"scales": (0.5, 1, 1.5), "agreement": True}
        _, same = predict(model, images, torch.device("cpu"), **how)
        agreed += float(same.float().mean()) * len(part)
    return agreed / len(numbers)


def warned(seed_folder: Path, number: int) -> bool:
    """Whether the check of what a round made warned: the next round's, or that of the result. How
    much the next round keeps to teach is no word about this one."""
    after = seed_folder / f"round{number + 1}" / "check_round"
    result = seed_folder / f"round{number}" / "check_result"
    rows = health_csv.read((result if result.exists() else after) / "health.csv")
    return any(row.verdict == health_csv.WARN for row in rows if row.measure != "kept")


def miou(round_folder: Path) -> float:
    table = pd.read_csv(round_folder / "evaluate" / "iou.csv")
    return float(table["iou"].mean())


def inputs_of(folder: Path, role: str) -> Path:
    return Path(record(folder)["inputs"][role]["path"])


def rounds_of(project: str) -> list[dict]:
    """A row for each round that patches taught: its statistics, and how far it is from
    `continued`."""
    base = Path("results/experiments", project)
    found = []
    for seed in sorted(base.glob("*/seed*")):
        row = seed.parent.name
        numbers = range(1, len(list(seed.glob("round*"))))
        begun = [
            folder / seed.name / "round0" / "evaluate"
            for folder in (base / row, base / "continued")
        ]
        if begun[0].resolve() != begun[1].resolve():
            continue
        if not numbers or not (seed / "round1" / "infer_patches").exists():
            continue
        scored = [(seed / f"round{r}" / "score_target").resolve() for r in numbers]
        scored.append((seed / f"round{numbers[-1]}" / "score_result").resolve())
        models = [inputs_of(scored[0], "model")]
        models += [(seed / f"round{r}/retrain/model.safetensors").resolve() for r in numbers]
        images, place = inputs_of(scored[0], "target_images"), record(scored[0])["locations"]
        kept = []

        def reference_of(r: int, where: Path = base / "continued" / seed.name) -> Path:
            return where / f"round{r}"

        for r in numbers:
            if not (seed / f"round{r}/compute_thresholds/thresholds.csv").exists():
                break
            rows = thresholds_csv.read(seed / f"round{r}/compute_thresholds/thresholds.csv")
            kept.append(health.overall_kept([t.kept for t in rows], [t.seen for t in rows]))
        for r in numbers:
            needed = (scored[r] / "predictions.h5", reference_of(r) / "evaluate" / "iou.csv",
                      seed / f"round{r}" / "evaluate" / "iou.csv")  # fmt: skip
            if not all(path.exists() for path in needed):
                print(f"{project}, {row}, {seed.name}, round {r}: not finished, left out")
                continue
            made, before, first = scored[r], scored[r - 1], scored[0]
            (pixels, entropy), (had, previous), (at_first, initial) = map(
                said, (made, before, first)
            )

            def lost(were: np.ndarray, now: np.ndarray = pixels) -> float:
                left = health.remaining(now, were)
                return math.nan if np.isnan(left).all() else float(np.nanmin(left))

            scales = [between_scales(models[k], images, place["target"]) for k in (0, r)]
            losses = [source_loss(scored[k]) for k in (0, r)]
            values = (
                kept[r - 1], kept[r - 1] / kept[0],
                health.total_variation(pixels, had), health.total_variation(pixels, at_first),
                agreement(made, before), agreement(made, first),
                entropy / previous, entropy / initial,
                lost(had), lost(at_first),
                scales[1], scales[1] - scales[0], losses[1] / losses[0],
            )  # fmt: skip
            found.append(
                {"project": project, "row": row, "seed": seed.name[4:], "round": r,
                 "over_continued": miou(seed / f"round{r}") - miou(reference_of(r)),
                 **dict(zip(STATISTICS, values, strict=True)), ALARM: float(warned(seed, r))}
            )  # fmt: skip
    return found


def statistics_of(what: str) -> pd.DataFrame:
    """The rounds of a project, or of a file that was written before."""
    return pd.read_csv(what) if what.endswith(".csv") else pd.DataFrame(rounds_of(what))


def area(worse: np.ndarray, harm: np.ndarray) -> float:
    """The area under the ROC curve: how often a harmful round looks worse than a sound one."""
    bad, good = worse[harm], worse[~harm]
    if not (len(bad) and len(good)):
        return math.nan
    above = (bad[:, None] > good).sum() + 0.5 * (bad[:, None] == good).sum()
    return float(above / (len(bad) * len(good)))


def best_limit(worse: np.ndarray, harm: np.ndarray) -> float:
    """The value above which hits minus false alarms, in shares, is largest: half-way between two
    values that were seen."""
    seen = np.unique(worse)
    between = [-math.inf, *((seen[1:] + seen[:-1]) / 2), math.inf]
    gains = [(worse[harm] > b).mean() - (worse[~harm] > b).mean() for b in between]
    return between[int(np.argmax(gains))]


def counts(worse: np.ndarray, harm: np.ndarray, limit: float) -> str:
    hits, alarms = int((worse[harm] > limit).sum()), int((worse[~harm] > limit).sum())
    return f"{hits} of {int(harm.sum())}, {alarms} of {int((~harm).sum())}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", nargs="+", required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--margin", type=float, default=0.5)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    choose, test = (pd.concat(map(statistics_of, p)) for p in (arguments.choose, arguments.test))
    everything = pd.concat([choose, test])
    if arguments.csv:
        everything.to_csv(arguments.csv, index=False, float_format="%.4f", lineterminator="\n")
    chosen = np.arange(len(everything)) < len(choose)
    harm = (everything["over_continued"] < -arguments.margin).to_numpy()
    print(f"{len(everything)} rounds, {harm.sum()} of them harmful (by more than "
          f"{arguments.margin:g} mIoU below `continued`)\n")  # fmt: skip
    print(
        "| statistic | area, chosen on | area, test | limit | hits, false alarms, chosen on "
        "| test |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, more_is_worse in STATISTICS.items():
        worse = everything[name].to_numpy() * (1 if more_is_worse else -1)
        known = ~np.isnan(worse)
        one, two = known & chosen, known & ~chosen
        limit = best_limit(worse[one], harm[one])
        shown = limit if more_is_worse else -limit
        print(
            f"| {name} | {area(worse[one], harm[one]):.2f} | {area(worse[two], harm[two]):.2f} | "
            f"{'above' if more_is_worse else 'below'} {shown:.3g} | "
            f"{counts(worse[one], harm[one], limit)} | {counts(worse[two], harm[two], limit)} |"
        )
    alarms = everything[ALARM].to_numpy()
    said = [counts(alarms[part], harm[part], 0.5) for part in (chosen, ~chosen)]
    print(
        f"\nThe checks themselves, hits and false alarms: {said[0]} where chosen, {said[1]} in test"
    )


if __name__ == "__main__":
    main()
