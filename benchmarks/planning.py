"""How long a plan takes: to be built, to be looked at, to begin, and to find nothing to do.

    python benchmarks/planning.py [--plans 5x3x7 30x5x7] [--repeats 3]

A plan is written as experiments x seeds x rounds. Each experiment has a scale of its own, so that
experiments share the source training and nothing of the rounds. In an empty folder, each step a new
process, the table has the seconds of

    plan     reading the settings and building the plan alone, imports included
    dry run  `snakemake -n`: the plan, the engine's DAG, and a printed line for each job
    record   what a run writes before its first job: a description for each stage, links
    no-op    `snakemake` where every file is there (empty ones serve)

on the clock, and in brackets the CPU time, which what else the machine does changes less: the least
of several repeats.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from timing import table

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from scalewise import workflow as planning  # noqa: E402

BOUNDS = {"5x3x7": 3, "30x5x7": 10}  # seconds
EMPTY = {".json": b"{}", ".zip": b"PK\x05\x06" + bytes(18)}

_BUILD = f"""import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from scalewise.workflow import load_plan
load_plan([sys.argv[1]])
"""


def settings_for(experiments: int, seeds: int, rounds: int) -> dict:
    """Experiments that differ in their scale, on the embedded default's data."""
    return {
        "project": "planning",
        "seeds": list(range(seeds)),
        "rounds": {"portions": [round(0.2 + 0.05 * r, 2) for r in range(rounds)]},
        "experiments": [
            {"name": f"scale_{k}", "role": "method", "patches": {"scale": round(1.2 + 0.02 * k, 2)}}
            for k in range(experiments)
        ],
    }


def timed(words: list[str]) -> tuple[float, float]:
    """Seconds on the clock and of the CPU that a command takes. Raises RuntimeError with what it
    printed when it fails."""
    with open("printed.log", "w+") as printed:
        begun = time.monotonic()
        child = subprocess.Popen(words, stdout=printed, stderr=printed)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            printed.seek(0)
            raise RuntimeError(printed.read()[-2000:])
    return seconds, used.ru_utime + used.ru_stime


def least(measure: Callable[[], tuple[float, float]], repeats: int) -> tuple[float, float]:
    return tuple(map(min, zip(*(measure() for _ in range(repeats)), strict=True)))


def pretend_finished(plan: planning.Plan) -> None:
    """Make empty files of all that the plan would make."""
    for stage in plan.stages.values():
        for path in map(Path, stage.outputs):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(EMPTY.get(path.suffix, b""))


def measure(config: Path, repeats: int) -> tuple[int, dict[str, tuple[float, float]]]:
    """In the working folder: how many stages the plan has, and step -> clock and CPU seconds."""
    snakemake = [
        *(sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles" / "default"), "--cores", "2"),
        *("--resources", "gpu=1", "--configfile", str(config)),
    ]
    plan = planning.load_plan([config])

    def record() -> tuple[float, float]:
        begun, cpu = time.monotonic(), time.process_time()
        plan.record()
        return time.monotonic() - begun, time.process_time() - cpu

    found = {
        "plan": least(lambda: timed([sys.executable, "-c", _BUILD, str(config)]), repeats),
        "dry run": least(lambda: timed([*snakemake, "-n"]), repeats),
        "record": record(),
    }
    pretend_finished(plan)
    found["no-op"] = least(lambda: timed(snakemake), repeats)
    if "Nothing to be done" not in Path("printed.log").read_text():
        raise RuntimeError("the last run found something to do: it was no no-op")
    return len(plan.stages), found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plans", nargs="+", default=list(BOUNDS), metavar="ExSxR")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows, begun = [], os.getcwd()
    for name in arguments.plans:
        try:
            experiments, seeds, rounds = map(int, name.split("x"))
        except ValueError:
            parser.error(f"--plans {name}: experiments x seeds x rounds, such as 5x3x7")
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "planning.yaml")
            config.write_text(yaml.safe_dump(settings_for(experiments, seeds, rounds)))
            os.chdir(folder)
            try:
                count, found = measure(config, arguments.repeats)
            finally:
                os.chdir(begun)
        cells = [f"{clock:.2f} ({cpu:.2f})" for clock, cpu in found.values()]
        rows.append([name, count, *cells, BOUNDS.get(name, "")])
    print(table(["plan", "stages", *found, "bound"], rows))


if __name__ == "__main__":
    main()
