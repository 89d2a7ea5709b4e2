"""What autocast costs and saves: CPU time of the stages and mIoU, for several seeds.

    python benchmarks/precision.py [--steps 300] [--seeds 3] [--folder FOLDER]

Runs the workflow on drawn streets of 80 x 160 pixels with a network of width 16: source training
and one round, once in each precision, everything else equal. Prints for each precision the CPU
time of the stages (as the engine measured it, start and imports included) and the mIoU of
source-only and of the round: mean and sample sd over seeds, and the difference seed by seed. A
folder that is named keeps the results; there a second call finds them.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

from timing import table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from scalewise.workflow import load_plan  # noqa: E402

STAGES = ("train_source", "retrain", "score_target", "infer_patches", "evaluate")


def settings(steps: int, seeds: int, precisions: list[str]) -> dict:
    """Of the workflow: a row for each precision."""
    rows = [{"name": name, "precision": {"autocast": name}} for name in precisions]
    return {
        "project": "precision",
        "seeds": list(range(seeds)),
        "data": {
            "size": [80, 160],
            "source": {"images": 200, "seed": 11},
            "target": {"images": 120, "seed": 12},
            "validation": {"images": 80, "seed": 13},
        },
        "network": {"width": 16},
        "source_training": {"steps": steps},
        "rounds": {"portions": [0.5]},
        "experiments": rows,
        "resources": {"threads": 1},
    }


def run(folder: Path, content: dict) -> None:
    """The workflow to its end, in a folder. Raises CalledProcessError where it fails."""
    (folder / "precision.json").write_text(json.dumps(content))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    options = ["--cores", "1", "--resources", "gpu=1", "--configfile", "precision.json", "--quiet"]
    with (folder / "run.log").open("w") as log:
        subprocess.run([*command, *options], cwd=folder, check=True, stdout=log, stderr=log)


def cpu_seconds(stage: str, key: str) -> float:
    """Of a job, as the engine measured it."""
    head, values = Path(f"results/benchmarks/{stage}/{key}.tsv").read_text().splitlines()[:2]
    return float(dict(zip(head.split("\t"), values.split("\t"), strict=True))["cpu_time"])


def miou(folder: str) -> float:
    lines = Path(folder, "iou.csv").read_text().splitlines()[1:]
    found = [float(value) for line in lines if (value := line.split(",")[1])]
    return mean(found)


def spread(values: list[float]) -> str:
    return f"{mean(values):.1f}" + (f" ({stdev(values):.1f})" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="of source training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--precisions", nargs="+", default=["float32", "bfloat16"], metavar="AUTOCAST"
    )
    parser.add_argument("--folder", type=Path, help="to keep the results in")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        content = settings(arguments.steps, arguments.seeds, arguments.precisions)
        run(folder, content)
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        rounds = load_plan([Path("precision.json")]).rounds
        found = {
            (r.experiment, r.number, r.seed): miou(r.stages["evaluate"].folder) for r in rounds
        }
        rows = []
        first = arguments.precisions[0]
        for name in arguments.precisions:
            stages = {s.key: s for r in rounds if r.experiment == name for s in r.stages.values()}
            of = {
                kind: mean(cpu_seconds(kind, k) for k, s in stages.items() if s.name == kind)
                for kind in STAGES
            }
            seeds = range(arguments.seeds)
            of_rounds = [[found[name, number, seed] for seed in seeds] for number in (0, 1)]
            against = [found[name, 1, seed] - found[first, 1, seed] for seed in seeds]
            cells = [f"{of[kind]:.1f}" for kind in STAGES]
            rows.append([name, *cells, *map(spread, of_rounds), spread(against)])
        head = ["autocast", *(f"{kind} s" for kind in STAGES), "mIoU 0", "mIoU 1", "against first"]
        print(table(head, rows))


if __name__ == "__main__":
    main()
