"""The plans that were run in this folder, as they were written down then: `results/plans/`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scalewise.config import ConfigError
from scalewise.plan import RESULTS, Source, Stage

PLANS = Path(RESULTS, "plans")


@dataclass(frozen=True)
class RecordedPlan:
    """A plan that was run in this folder."""

    path: Path
    project: str
    experiments: list[str]
    seeds: list[int]
    stages: frozenset[tuple[str, str]]  # name, key


def read_plan(path: Path) -> RecordedPlan:
    """Raises ConfigError for a record that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stages = frozenset(tuple(name.split("/")) for name in content["stages"])
        return RecordedPlan(
            path, content["project"], content["experiments"], content["seeds"], stages
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(
            f"{path}: not a readable record of a plan, so it is not known what it uses: remove "
            "that file if you need nothing of it, then start again"
        ) from None


def recorded_plans() -> list[RecordedPlan]:
    """The plans that were run here. Raises ConfigError for a record that cannot be read."""
    return [read_plan(path) for path in sorted(PLANS.glob("*.json"))]


def last_run() -> tuple[Path, int] | None:
    """The record of the plan that is at work now or was last, and when it began (ns since 1970);
    None where none was run here. Every run touches its record."""
    times = {}
    for path in PLANS.glob("*.json"):
        try:
            times[path] = path.stat().st_mtime_ns
        except OSError:
            continue  # removed meanwhile
    return max(times.items(), key=lambda item: item[1], default=None)


def stages_of(plan: RecordedPlan) -> dict[tuple[str, str], Stage]:
    """The stages of a recorded plan, from their descriptions: enough to look at, not to run. They
    know nothing of code, data, and of what they wait for without reading it.

    Raises: ConfigError for a description that cannot be read.
    """
    stages: dict[tuple[str, str], Stage] = {}
    inputs: dict[tuple[str, str], dict] = {}
    configs: dict[tuple | None, Mapping] = {}  # one for each experiment and seed
    for name, key in sorted(plan.stages):
        path = PLANS / "stages" / name / f"{key}.json"
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            users = {tuple(user): None for user in told["users"]}
            whose = next(iter(users), (None,))[:2]
            config = configs.setdefault(whose, told["config"])
            stage = Stage(
                name, key, "", told["settings"], {}, {}, "", "", users=users,
                config_of=lambda user, config=config: config,
            )  # fmt: skip
            stage.what = told["title"].removeprefix(stage.title)
            stages[name, key], inputs[name, key] = stage, told["inputs"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(
                f"{path}: not a readable description of a stage of {plan.path}: name the settings "
                "instead (--configfile), or start the run again, which writes it"
            ) from None

    def source(place: Mapping) -> Source:
        return Source(stages[place["stage"], place["key"]], place["path"].rpartition("/")[2])

    for which, places in inputs.items():
        for role, of_role in places.items():
            is_list = isinstance(of_role, list)
            found = [source(place) for place in (of_role if is_list else [of_role])]
            stages[which].inputs[role] = found if is_list else found[0]
    return stages
