"""Kill a run at drawn moments and start it again: for the tests and for benchmarks/kill_test.py."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from workflow_runs import SLOTS, command, snakemake

# the long stages, in the order in which a run comes to them
STAGES = (
    "make_streets", "train_source", "reestimate_batchnorm", "score_target", "infer_patches",
    "retrain", "evaluate",
)  # fmt: skip
WHO = ("job", "workflow", "both")
HOW = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Moment:
    """When a stage has run for this share of its time, after its first saved state where that is
    said, who is sent which signal."""

    stage: str
    share: float
    saved: bool
    who: str
    how: signal.Signals


@dataclass
class Outcome:
    """What came of a moment: whether the stage was met, what the next call began with, and whether
    it had to wait for a job that lived on."""

    moment: Moment
    met: bool = False
    orphan: bool = False
    going_on: list[str] = field(default_factory=list)


def draw_moments(seed: int, count: int) -> list[Moment]:
    """`count` moments, over all long stages in turn, and over all ways to kill; in the order in
    which one run meets the stages."""
    draws = np.random.default_rng(seed)
    ways = [(who, how) for how in HOW for who in WHO]
    found = []
    while len(found) < count:
        for stage, way in zip(
            draws.permutation(STAGES), draws.permutation(len(ways)), strict=False
        ):
            saved = bool(draws.random() < 0.75)
            found.append(Moment(str(stage), float(draws.random()), saved, *ways[way]))
    return sorted(found[:count], key=lambda moment: STAGES.index(moment.stage))


def seconds_of(folder) -> dict[str, float]:
    """Stage -> seconds that one of its jobs worked, in a finished run."""
    found: dict[str, list[float]] = {}
    for path in Path(folder, "results").glob("*/*/settings.json"):
        record = json.loads(path.read_text())
        found.setdefault(record["stage"], []).append(record["seconds"])
    return {stage: float(np.median(values)) for stage, values in found.items()}


def _running(folder: Path, stage: str) -> int | None:
    """Process id of a job of this stage that has begun to work."""
    for path in Path(folder, "results", "progress").glob(f"{stage}-*.json"):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if content["state"] == "running" and content["steps"] and _alive(content["pid"]):
            return content["pid"]
    return None


def _later(folder: Path, stage: str) -> int | None:
    """Process id of a job of a stage that comes after this one; evaluations come all along."""
    for other in STAGES[STAGES.index(stage) + 1 : -1]:
        if pid := _running(folder, other):
            return pid
    return None


def _alive(pid: int) -> bool:
    try:
        # a process that ended and was not waited for is no process that works
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def run_until(folder, moment: Moment, seconds: float, config) -> bool:
    """Start the workflow, kill at the moment, and wait for its end. False where the run ended
    before it came to the moment."""
    configs = map(str, config if isinstance(config, list) else [config])
    words = [*command(), "--directory", str(folder), "--configfile", *configs, *SLOTS]
    with open(Path(folder, "printed.txt"), "ab") as printed:
        run = subprocess.Popen(words, cwd=folder, stdout=printed, stderr=printed, process_group=0)
        while run.poll() is None:
            pid, later = _running(Path(folder), moment.stage), _later(Path(folder), moment.stage)
            if pid is None and later:
                pid = later  # the stage went by too fast: what comes after it is killed instead
                moment = replace(moment, saved=False)
            states = Path(folder, "results", "state").glob(f"{moment.stage}-*/state.safetensors")
            if pid is None or (moment.saved and not any(states)):
                time.sleep(0.005)
                continue
            # of a job that already went on for a while; later ones would rarely meet it
            time.sleep(moment.share * seconds / (4 if moment.saved else 2))
            if moment.who == "both":
                os.killpg(run.pid, moment.how)
            elif moment.who == "workflow":
                run.send_signal(moment.how)
            elif _alive(pid):
                os.kill(pid, moment.how)
            run.wait(900)  # the engine may wait for the job to end
            return True
    return False


def finish(folder, config, outcome: Outcome | None = None) -> str:
    """Plain calls until the run is at its end; a job that lived on is waited for, as the message
    says. Returns what the last call printed."""
    for _ in range(20):
        status, printed = snakemake(folder, config=config, timeout=None)
        if status == 0:
            return printed
        held = re.search(
            r"process (\d+)\S* (?:of a run that was killed, still|already) works", printed
        )
        assert held, printed
        if outcome:
            outcome.orphan = True
        while _alive(int(held.group(1))):
            time.sleep(0.05)
    raise AssertionError(printed)


def wait_for_orphans(folder, outcome: Outcome) -> None:
    """Wait for the jobs that outlived their run."""
    for path in Path(folder, "results", "state").glob("*/lock"):
        try:
            pid = int((path.read_text() or "0").split()[0])
        except (OSError, ValueError):
            continue
        while pid and _alive(pid):
            outcome.orphan = True
            time.sleep(0.05)


def kill_through(folder, moments: list[Moment], seconds: dict[str, float], config) -> list[Outcome]:
    """One run that is killed at every one of the moments and goes on each time, to its end."""
    outcomes = []
    for moment in moments:
        outcome = Outcome(moment)
        before = _goings_on(folder)
        outcome.met = run_until(folder, moment, seconds[moment.stage], config)
        wait_for_orphans(folder, outcome)
        outcomes.append(outcome)
        for earlier in outcomes[-2:-1]:
            earlier.going_on = _new(before, _goings_on(folder))
    before = _goings_on(folder)
    finish(folder, config, outcomes[-1] if outcomes else None)
    if outcomes:
        outcomes[-1].going_on = _new(before, _goings_on(folder))
    return outcomes


def _new(before: list[str], after: list[str]) -> list[str]:
    """What was said since: the lists are sorted by file, not by time."""
    return list((Counter(after) - Counter(before)).elements())


def _goings_on(folder) -> list[str]:
    """`stage: going on from ...` of all logs."""
    found = []
    for path in sorted(Path(folder, "results", "logs").glob("*/*.log")):
        lines = path.read_text(errors="replace").splitlines()
        found += [f"{path.parent.name}: {line[24:]}" for line in lines if "going on from" in line]
    return found
