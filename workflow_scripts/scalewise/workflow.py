"""From settings files to a plan: what the Snakefile and the commands beside it have in common."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from scalewise import config
from scalewise.artifacts.atomic import write_text
from scalewise.code_digest import CodeBase
from scalewise.config import ConfigError
from scalewise.data.index import FOLDER, UNREADABLE, find_images, index_files
from scalewise.data.streets.style import check_style
from scalewise.patterns import label_path
from scalewise.plan import OUTPUTS, RESULTS, DataFiles, Plan, Stage, finished_results
from scalewise.publishing import place, publish, published_key

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


def state_of(stage: Stage) -> tuple[str, str]:
    """Of a stage that is not finished: failed, running or still to run; and a detail."""
    return state_of_result(stage.name, stage.key)


def state_of_result(name: str, key: str) -> tuple[str, str]:
    """`state_of` a stage that no plan need have."""
    path = Path(RESULTS, "progress", f"{name}-{key}.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "still to run", ""
    if content["state"] == "failed":
        return "failed", f"{content['title']}: {content['detail']}"
    elsewhere = content["host"] != socket.gethostname()
    if content["state"] == "running" and (elsewhere or _alive(content["pid"])):
        return "running", content["title"]
    return "still to run", ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def begin(plan: Plan) -> None:
    """Before a run: write down the plan, set the links, bring its report to its stable place."""
    plan.record()
    stage, project = plan.report, plan.project.name
    if is_finished(stage):
        if published_key(project) != stage.key:
            publish([Path(stage.folder, name) for name in OUTPUTS["report"]], project, stage.key)
        say_where_the_report_is(plan)


def say_where_the_report_is(plan: Plan) -> None:
    """Print the summary table and where the page is, if this plan's report is there."""
    folder = place(plan.project.name)
    if published_key(plan.project.name) == plan.report.key:
        # not standard output: that belongs to --dag and the like
        text = f"\n{(folder / 'summary.txt').read_text(encoding='utf-8')}\n{folder}/index.html\n"
        print(text, file=sys.stderr)


def say_what_failed(plan: Plan) -> None:
    """Repeat the messages of failed jobs below what the engine prints of them."""
    states = [state_of(stage) for stage in plan.stages.values() if not is_finished(stage)]
    for message in dict.fromkeys(detail for state, detail in states if state == "failed"):
        print(f"\n{message}\n", file=sys.stderr)
