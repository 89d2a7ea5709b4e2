"""What a run would start, and about how long that takes: what `explain` and `watch` go by."""

import json
import os
import statistics
from collections.abc import Mapping, Sequence

from scalewise.artifacts import table
from scalewise.plan import Source, Stage
from scalewise.selftraining.selection import step_count
from scalewise.workflow import is_finished

_counted: dict[str, int] = {}  # absolute path -> rows, of tables that are there


def to_run(stages: Mapping[tuple[str, str], Stage], report: Stage) -> list[Stage]:
    """The stages that a run would start: the report if it is not there, and what a job lacks that
    is to run. A job whose input is made anew runs too where the file was not there: the engine
    takes it for newer."""
    readers: dict[tuple[str, str], list[Stage]] = {}
    lacking: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for which, stage in stages.items():
        needed = [(s.stage, s.path) for s in stage.sources]
        if not is_finished(stage):
            needed += [(other, path) for other in stage.after for path in other.outputs]
        makers = {(m.name, m.key) for m, path in needed if not os.path.exists(path)}
        lacking[which] = makers
        for maker in makers:
            readers.setdefault(maker, []).append(stage)
    waiting = [] if is_finished(report) else [(report.name, report.key)]
    found = set(waiting)
    while waiting:
        which = waiting.pop()
        more = lacking[which] | {(r.name, r.key) for r in readers.get(which, [])}
        waiting += more - found
        found |= more
    return [stage for which, stage in stages.items() if which in found]


def units_of(stage: Stage) -> int | None:
    """How many units of work (steps, images) a job has, where that is known before it runs."""
    settings, inputs = stage.settings, stage.inputs
    match stage.name:
        case "train_source":
            return settings["steps"]
        case "make_streets":
            return settings["images"]
        case "retrain" | "infer_patches":
            selected = _rows(inputs["selected"].path, "image")
            if selected is None:
                return None
            if stage.name == "retrain":
                return step_count(selected, settings)
            return selected + settings["extra_images"]
        case "audit_pseudo_labels":
            return None  # it goes by patches, of which nobody knows before
    images = inputs.get("target_images") or inputs.get("validation_images")
    return _rows(images.path, "id") if isinstance(images, Source) else None


def _rows(path: str, column: str) -> int | None:
    """Rows of a table, looked at once: a path is a promise. None where it is still to be made."""
    where = os.path.abspath(path)
    if where not in _counted:
        try:
            _counted[where] = len(table.read(path, {column: str})[column])
        except (OSError, ValueError):
            return None
    return _counted[where]


class Durations:
    """How long finished jobs of one kind of stage took, and so how long others of it will."""

    def __init__(self, records: Sequence[Mapping]):
        """records: of finished results of the kind (see `comparison`)."""
        self._records: dict[str, list[Mapping]] = {}  # by what decides how long an image takes
        self._medians: dict[str | None, tuple[float | None, float | None]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Mapping) -> None:
        """Take one more finished job into account."""
        if isinstance(record.get("seconds"), int | float):
            size = size_of_work(record.get("config"))
            self._records.setdefault(size, []).append(record)
            self._medians.clear()

    def seconds_for(self, stage: Stage) -> float | None:
        """About how long a job takes, in seconds: by unit where the number of units is known, else
        the median. None where no earlier job tells."""
        user = next(iter(stage.users), None)
        a_unit, a_job = self._of_size(size_of_work(stage.config_of(user)))
        units = units_of(stage)
        return units * a_unit if units is not None and a_unit is not None else a_job

    def _of_size(self, size: str) -> tuple[float | None, float | None]:
        """Median seconds of a unit and of a job: of the same network and working size where there
        are any, else of all."""
        key = size if size in self._records else None
        if key not in self._medians:
            of_any = [r for records in self._records.values() for r in records]
            usable = of_any if key is None else self._records[key]
            units = [r["seconds"] / n for r in usable if (n := (r.get("work") or {}).get("units"))]
            jobs = [r["seconds"] for r in usable]
            self._medians[key] = (
                statistics.median(units) if units else None,
                statistics.median(jobs) if jobs else None,
            )
        return self._medians[key]


def size_of_work(configuration: Mapping | None) -> str:
    """What decides how long an image takes, as text."""
    decides = configuration and [configuration["network"], configuration["data"]["size"]]
    return json.dumps(decides or None, sort_keys=True)


def clock(seconds: float) -> str:
    """`h:mm:ss`."""
    whole = max(1, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
