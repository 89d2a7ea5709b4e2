"""Where the wall time of a run goes that no stage works in: starts, imports, engine, idle slots.

    python benchmarks/overhead.py [--tiny | --config FILE ...] [--cores 2] [TARGET ...]

Runs the workflow (the default configuration, or the tiny one of the tests) in an empty folder and
looks at what the run left. A job is *inside* its work from the line of its log that it begins with,
which comes after its imports and the check of its code, to the line that it ends with; without any
import that it makes in between. The rest of its process, and whatever of the run passes while no
job is inside, is *outside*.

The table has, for each kind of job, the mean time of its processes inside and outside, how much of
the latter are imports, and two figures on the clock of the run: the time while no job was inside,
counted for the job that next came to be, per job and at most. These add up to the whole run less
the time in which at least one job was inside. The bounds are 2 s for a job that runs the network
and 0.7 s for another. A job's benchmark and log are read; a file beside each process
(import_times/sitecustomize.py) tells of its imports.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from timing import table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from scalewise.plan import NETWORK_STAGES  # noqa: E402

BOUNDS = {True: 2.0, False: 0.7}  # seconds outside per job; whether it runs the network
Span = tuple[float, float]
_LOGGED = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (.*)$", re.M)


@dataclass(frozen=True)
class Job:
    """begun and ended: of its process; inside: spans of work; imports: spans; in seconds since the
    epoch. modules: names of the packages that were loaded in the end."""

    stage: str
    key: str
    begun: float
    ended: float
    inside: list[Span]
    imports: list[Span]
    modules: frozenset[str]

    @property
    def outside(self) -> float:
        """Seconds of the process that are no work."""
        return self.ended - self.begun - length(self.inside)


def length(spans: Sequence[Span]) -> float:
    return sum(end - begin for begin, end in spans)


def without(span: Span, holes: Sequence[Span]) -> list[Span]:
    """What is left of a span."""
    left, (begin, end) = [], span
    for first, last in sorted(holes):
        if first > begin:
            left.append((begin, min(first, end)))
        begin = max(begin, last)
        if begin >= end:
            return [s for s in left if s[0] < s[1]]
    return [s for s in [*left, (begin, end)] if s[0] < s[1]]


def run(folder: Path, arguments: Sequence[str], cores: int) -> Span:
    """Run the workflow in a folder; returns when it began and ended. Raises CalledProcessError."""
    notes = folder / "imports"
    notes.mkdir(parents=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).with_name("import_times")),
        "SCALEWISE_IMPORT_TIMES": str(notes),
    }
    words = [
        *(sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles" / "default")),
        *("--cores", str(cores), "--resources", "gpu=1", "--directory", str(folder), *arguments),
    ]
    begun = time.time()
    with open(folder / "printed.log", "w") as printed:
        subprocess.run(words, check=True, stdout=printed, stderr=printed, env=environment)
    return begun, time.time()


def seconds_of(logged: str) -> float:
    """Seconds since the epoch of a line of a log."""
    return datetime.strptime(logged, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def jobs_of(folder: Path) -> list[Job]:
    """The jobs that ran in a folder."""
    imports = {}
    for path in (folder / "imports").glob("*.json"):
        said = json.loads(path.read_text())
        imports[Path(said["description"]).stem] = said
    jobs = []
    for path in (folder / "results" / "benchmarks").glob("*/*.tsv"):
        stage, key = path.parent.name, path.stem
        seconds = float(path.read_text().splitlines()[1].split("\t")[0])
        ended = path.stat().st_mtime  # the engine writes it when the process has ended
        log = folder / "results" / "logs" / stage / f"{key}.log"
        lines = _LOGGED.findall(log.read_text())
        first = next(at for at, text in lines if f"[{stage}/{key}]" in text)
        last = next(at for at, text in reversed(lines) if text.startswith("finished in"))
        work = seconds_of(first), seconds_of(last)
        spans = [tuple(span) for span in imports[key]["spans"]]
        jobs.append(
            Job(
                *(stage, key, ended - seconds, ended, without(work, spans), spans),
                frozenset(imports[key]["modules"]),
            )
        )
    return jobs


def waits(jobs: Sequence[Job], whole: Span) -> tuple[dict[str, float], float]:
    """Key of a job -> seconds before it while no job was inside; and those at the end."""
    found = dict.fromkeys((job.key for job in jobs), 0.0)
    now, end = whole
    for (begin, until), key in sorted((span, job.key) for job in jobs for span in job.inside):
        found[key] += max(begin - now, 0.0)
        now = max(now, until)
    return found, max(end - now, 0.0)


def rows_of(jobs: Sequence[Job], whole: Span) -> list[list[object]]:
    """A row for each kind of job, one for each bound, and the sum."""
    waited, at_end = waits(jobs, whole)

    def row(name: str, some: Sequence[Job], bound: object) -> list[object]:
        def mean(values):
            return f"{sum(values) / len(some):.2f}"

        of = [waited[job.key] for job in some]
        return [
            *(name, len(some), mean([length(job.inside) for job in some])),
            *(mean([job.outside for job in some]), mean([length(job.imports) for job in some])),
            *(mean(of), f"{max(of):.2f}", bound),
        ]

    jobs = sorted(jobs, key=lambda job: job.begun)
    rows = []
    for network in (True, False):
        some = [job for job in jobs if (job.stage in NETWORK_STAGES) == network]
        for name in dict.fromkeys(job.stage for job in some):
            rows.append(row(name, [job for job in some if job.stage == name], ""))
        if some:
            what = "all that run the network" if network else "all others"
            rows.append(row(what, some, BOUNDS[network]))
    total = sum(waited.values()) + at_end
    allowed = sum(BOUNDS[job.stage in NETWORK_STAGES] for job in jobs)
    rows.append(["after the last job", "", "", "", "", "", f"{at_end:.2f}", ""])
    rows.append(["the run, in all", len(jobs), "", "", "", f"{total:.1f}", "", f"{allowed:.1f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="the tests' configuration")
    parser.add_argument("--config", nargs="+", default=[], help="files that override the default")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("target", nargs="*", help="what to make (default: everything)")
    arguments = parser.parse_args()
    configs = [str(Path(path).resolve()) for path in arguments.config]
    if arguments.tiny:
        configs.insert(0, str(ROOT / "tests" / "configs" / "tiny.yaml"))
    words = [*arguments.target, *(["--configfile", *configs] if configs else [])]
    with tempfile.TemporaryDirectory() as folder:
        whole = run(Path(folder), words, arguments.cores)
        jobs = jobs_of(Path(folder))
    head = ["seconds per job", "jobs", "inside", "outside", "imports", "wall", "most", "bound"]
    print(f"{whole[1] - whole[0]:.1f} s in all, {arguments.cores} cores")
    print(table(head, rows_of(jobs, whole)))
    needless = sorted({j.stage for j in jobs if "torch" in j.modules} - NETWORK_STAGES)
    print(f"without the network, and import torch: {', '.join(needless) or 'none'}")


if __name__ == "__main__":
    main()
