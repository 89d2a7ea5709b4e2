"""From settings files to a plan: what the Snakefile and the commands beside it have in common."""

import hashlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from scalewise import config, file_lock
from scalewise.artifacts.atomic import write_text
from scalewise.code_digest import CodeBase
from scalewise.config import ConfigError
from scalewise.data.index import FOLDER, UNREADABLE, find_images, index_files
from scalewise.data.streets.style import check_style
from scalewise.errors import UserError, of_the_system
from scalewise.patterns import label_path
from scalewise.plan import OUTPUTS, RESULTS, DataFiles, Plan, Stage, finished_results
from scalewise.progress import RUN_VARIABLE
from scalewise.publishing import place, publish, published_key
from scalewise.stage_lock import holder_of, state_folder

ENGINE_LOCKS = Path(".snakemake", "locks")
RUN_LOCK = Path(RESULTS, "run.lock")
_locks: dict[str, TextIO] = {}  # of folders that this process has taken
SCRIPTS = Path(__file__).resolve().parents[1]
DEFAULT_CONFIG = SCRIPTS.parent / "config.yaml"


def _start_of_relative_folders() -> str:
    variable = config.DATA_ROOT_VARIABLE
    return f"data.root, or else from ${variable} ({os.environ.get(variable, 'not set')})"


def _index(cache: dict, layout: config.Layout, labels: bool) -> DataFiles:
    """Index the files of a set; labels only where they are asked for. Raises ConfigError."""
    which = (layout.root, layout.images)
    if not layout.root.is_dir():
        raise ConfigError(
            f"{layout.root}: no such folder. Relative folders start from "
            + _start_of_relative_folders()
        )
    if which not in cache:
        paths = find_images(layout.root, layout.images)
        if not paths:
            raise ConfigError(f"{layout.root}: no image matches {layout.images}")
        cache[which] = index_files(layout.root, paths, f"images {layout.images}")
    images = cache[which]
    if not labels:
        return DataFiles(images.digest, None, images.path)
    what = (*which, layout.labels)
    if what not in cache:
        paths = [label_path(path, layout.images, layout.labels) for path in images.files]
        cache[what] = index_files(layout.root, paths, f"labels {layout.labels}, {layout.images}")
    return DataFiles(images.digest, cache[what].digest, images.path, cache[what].path)


def _weights(setting: str, path: Path, sha256: str | None) -> str:
    """Content hash of a file of weights. Raises ConfigError, also where its SHA-256 is another."""
    if path.is_dir():
        raise ConfigError(f"{setting}.file: {path}: a folder; name the file of weights in it")
    if not path.is_file():
        raise ConfigError(
            f"{setting}.file: {path}: no such file. Relative paths start from "
            + _start_of_relative_folders()
        )
    found = index_files(path.parent, [path.name], f"weights {path.name}").files[path.name]
    if found == UNREADABLE:
        raise ConfigError(f"{setting}.file: {path}: cannot be read: who may read it?")
    if sha256:
        known = FOLDER / "sha256" / found  # hashing half a gigabyte takes seconds: once is enough
        if not known.exists():
            with open(path, "rb") as file:
                write_text(known, hashlib.file_digest(file, "sha256").hexdigest())
        is_ = known.read_text(encoding="utf-8")
        if is_ != sha256:
            raise ConfigError(
                f"{setting}.sha256: {path} has {is_}, and {sha256} was expected: fetch the file "
                "again, or correct the sum"
            )
    return found


def _check_styles(project: config.Project) -> None:
    """Raises ConfigError when a procedural set has a style that cannot be drawn."""
    for experiment in project.experiments:
        for which in ("source", "target", "validation"):
            dataset = getattr(experiment.settings.data, which)
            if isinstance(dataset, config.StreetsSet):
                try:
                    check_style(dataset.style)
                except ValueError as error:
                    raise ConfigError(f"data.{which}.style: {error}") from None


def load_plan(files: Sequence[str | Path] = (), overrides: Mapping | None = None) -> Plan:
    """Read `config.yaml` and the files that override it, index the data, and build the plan.

    Raises ConfigError: a user's mistake, one line each.
    """
    project = config.load([DEFAULT_CONFIG, *files], overrides)
    _check_styles(project)
    code = CodeBase(SCRIPTS)
    return Plan(project, code.digest, partial(_index, {}), _weights, finished_results, code.files)


def is_finished(stage: Stage) -> bool:
    """Whether all files of a stage are there; `settings.json` is the last to be written."""
    return all(map(os.path.exists, stage.outputs))


def progress_of(name: str, key: str) -> dict:
    """What a stage's progress file says; empty where there is none."""
    path = Path(RESULTS, "progress", f"{name}-{key}.json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def state_of(stage: Stage) -> tuple[str, str]:
    """Of a stage that is not finished: failed, running, killed or still to run; and a detail."""
    return state_of_result(stage.name, stage.key)


def state_of_result(name: str, key: str) -> tuple[str, str]:
    """`state_of` a stage that no plan need have."""
    return state_told(progress_of(name, key))


def state_told(content: Mapping) -> tuple[str, str]:
    """`state_of` a stage by the content of its progress file."""
    state = content.get("state")
    if state == "failed":
        return "failed", f"{content['title']}: {content['detail']}"
    if state == "running":
        if content["host"] != socket.gethostname() or _alive(content["pid"]):
            return "running", content["title"]
        return "killed", (
            f"{content['title']}: process {content['pid']} was killed, perhaps for want of memory: "
            "give it more, or less to do at once (a smaller batch), and start again; it goes on "
            "from its last saved state"
        )
    return "still to run", ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def begin(plan: Plan, only_look: bool = False) -> None:
    """Before the DAG is built: write down the plan, set the links, bring its report to its stable
    place. Whoever only looks, or finds another run at work, writes nothing."""
    plan.finished_before = _finished_of(plan)
    busy = holder_of_folder()
    if not only_look and not busy:
        with _told_of_the_disk():
            _record(plan)
            stage, project = plan.report, plan.project.name
            if is_finished(stage) and published_key(project) != stage.key:
                files = [Path(stage.folder, name) for name in OUTPUTS["report"]]
                publish(files, project, stage.key)
    if is_finished(plan.report):
        say_where_the_report_is(plan)
    if not busy and any(ENGINE_LOCKS.glob("*")):
        words = shlex.join(["snakemake", *sys.argv[1:], "--unlock"])
        print(
            "\nan earlier run was killed and left the engine's lock; nothing else runs here. "
            f"Should the engine stop at it, remove it with\n\n  {words}\n",
            file=sys.stderr,
        )


def _record(plan: Plan) -> None:
    """Write down the plan, and that it is the one that was run last."""
    plan.record()
    os.utime(plan.record_path)


def take_over(plan: Plan) -> None:
    """Before the first job: make sure that nobody else works here. What is in the way ends the
    program with one message."""
    lock_folder()
    with _told_of_the_disk():
        _record(plan)  # again: when it was read, another run may have been at work here
        _date_back(plan)
    for stage in plan.stages.values():
        holder = None if is_finished(stage) else holder_of(state_folder(stage.name, stage.key))
        if holder:
            number = holder.removeprefix("process ")
            sys.exit(
                f"\n{stage.title}: {holder}, of a run that was killed, still works on this: "
                f"wait until it has ended, or end it (kill {number}), then start again\n"
            )
    if _finished_of(plan) != plan.finished_before:
        sys.exit("\nanother run ended here while this one began: start again\n")


def _date_back(plan: Plan) -> None:
    """Give results that are dated ahead the date of now, after a clock was put right. Their age
    says nothing here, but the engine ends a job whose outputs are older than its inputs."""
    now = time.time()
    for stage in plan.stages.values():
        for path in stage.outputs:
            if os.path.exists(path) and os.path.getmtime(path) > now:
                os.utime(path)


def _finished_of(plan: Plan) -> set[tuple[str, str]]:
    return {which for which, stage in plan.stages.items() if is_finished(stage)}


@contextmanager
def _told_of_the_disk() -> Iterator[None]:
    """One message, and the end, where disk or system refuse."""
    try:
        yield
    except (OSError, UserError) as error:
        told = error if isinstance(error, UserError) else of_the_system(error)
        if told is None:
            raise
        sys.exit(f"\n{told}\n")


def holder_of_folder() -> str | None:
    """Which run works in this folder; None where there is none."""
    try:
        with open(RUN_LOCK, encoding="utf-8") as lock:
            held = file_lock.is_held(lock)
            return (lock.read().strip() or "another process") if held else None
    except OSError:
        return None


def lock_folder() -> None:
    """Take the lock of this folder; it is held until this process ends, however it ends. Where
    that cannot be had the program ends with one message."""
    here = os.path.realpath(RUN_LOCK)
    if here in _locks:
        return
    with _told_of_the_disk():
        RUN_LOCK.parent.mkdir(parents=True, exist_ok=True)
        lock = open(RUN_LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (held until the end)
        if not file_lock.take(lock):
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            sys.exit(
                f"\nanother run ({holder}) works in this folder: wait until it has ended, or stop "
                "it, then start again\n"
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
    _locks[here] = lock
    os.environ[RUN_VARIABLE] = str(os.getpid())  # so that jobs can say whose they are


def say_where_the_report_is(plan: Plan) -> None:
    """Print the summary table and where the page is, if this plan's report is there."""
    folder = place(plan.project.name)
    if published_key(plan.project.name) == plan.report.key:
        # not standard output: that belongs to --dag and the like
        text = f"\n{(folder / 'summary.txt').read_text(encoding='utf-8')}\n{folder}/index.html\n"
        print(text, file=sys.stderr)


def say_what_failed(plan: Plan) -> None:
    """Repeat the messages of failed jobs below what the engine prints of them, and say which jobs
    of this run were killed."""
    unfinished = [stage for stage in plan.stages.values() if not is_finished(stage)]
    states = [
        state_of(stage)
        for stage in unfinished
        if progress_of(stage.name, stage.key).get("run") == os.getpid()
    ]
    told = (detail for state, detail in states if state in ("failed", "killed"))
    for message in dict.fromkeys(told):
        print(f"\n{message}\n", file=sys.stderr)
