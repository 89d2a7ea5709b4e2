"""rerun: the configuration that made a result, from its settings.json, and how to make it again.

    python workflow_scripts/rerun.py results/retrain/<key>/settings.json > again.yaml
    python workflow_scripts/rerun.py results/retrain/<key>/settings.json --output again.yaml
    python workflow_scripts/rerun.py results/retrain/<key>/settings.json --run

The configuration goes to standard output, or to the file of --output: the whole of it, resolved,
with one experiment and one seed where the result belongs to one. On standard error stands the
command that makes this result, what it reads included, and, where it would not be the same result,
why: other code (which files), other data, another setting. Asked for in an empty folder the command
makes all that is needed, there. Where the data have moved, correct `data.root` in the
configuration.
"""

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import yaml

from scalewise.command_line import parser_of, run_program
from scalewise.comparison import differences, nearest, read_record, reasons
from scalewise.config import ConfigError, read_yaml
from scalewise.plan import NETWORK_STAGES, OUTPUTS, RESULTS, SETTINGS_FILE, Plan, Stage, folder_of
from scalewise.workflow import DEFAULT_CONFIG, is_finished, load_plan

SNAKEFILE = DEFAULT_CONFIG.with_name("Snakefile")


def configuration_of(record: Mapping) -> dict:
    """The configuration that made a result, with as many threads as the result was made with: sums
    depend on them in their last bits. Raises ConfigError where the result has none."""
    content = record.get("config")
    if not content:
        raise ConfigError(
            "it does not say its configuration: it was made by a version that did not keep it"
        )
    if record["stage"] in NETWORK_STAGES:
        content = {**content, "resources": {**content["resources"], "threads": record["threads"]}}
    return content


def _ordered(content: Mapping, like: Mapping) -> dict:
    """The content with its keys in the order of another mapping, the further ones after them."""
    keys = [*(key for key in like if key in content), *(key for key in content if key not in like)]
    return {
        key: _ordered(content[key], like[key])
        if isinstance(content[key], Mapping) and isinstance(like.get(key), Mapping)
        else content[key]
        for key in keys
    }


def as_yaml(content: Mapping, path: Path) -> str:
    """A settings file, its keys in the order of config.yaml."""
    ordered = _ordered(content, read_yaml(DEFAULT_CONFIG))
    body = yaml.safe_dump(
        ordered, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )
    return f"# What made {path}: the whole configuration, resolved.\n{body}"


def plan_of_text(text: str) -> Plan:
    """The plan of a configuration that is in no file yet. Raises ConfigError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rerun.yaml")
        path.write_text(text, encoding="utf-8")
        return load_plan([path])


def stage_in(plan: Plan, record: Mapping) -> Stage | None:
    """The stage that takes the result's place in a plan: itself, or that of the same experiment,
    seed and round, or the most alike."""
    if (record["stage"], record["key"]) in plan.stages:
        return plan.stages[record["stage"], record["key"]]
    stages = [s for (name, _), s in plan.stages.items() if name == record["stage"]]
    user = tuple(next(iter(record.get("users") or []), ()))
    own = [s for s in stages if user in s.users]
    return min(own or stages, key=lambda s: len(nearest(s, [record])[1]), default=None)


def causes(stage: Stage, record: Mapping) -> list[tuple[str, str]]:
    """Why a stage has another key than a result: (stage, in words). An input that is another one
    is followed to its own causes as far as its earlier result is still there."""
    return list(dict.fromkeys(_causes(stage, record, set())))


def _causes(stage: Stage, record: Mapping, seen: set[tuple[str, str]]):
    found = differences(stage, record)
    for kind, text in reasons(found):
        yield stage.name, f"{kind}: {text}"
    for role in (d.name for d in found if d.kind == "input"):
        now, before = stage.inputs.get(role, []), record["inputs"].get(role, [])
        sources = now if isinstance(now, list) else [now]
        places = before if isinstance(before, list) else [before]
        if len(sources) != len(places):
            yield stage.name, f"input: {len(places)} files as {role} then, {len(sources)} now"
            continue
        for source, place in zip(sources, places, strict=True):
            which = place["stage"], place["key"]
            if which in seen or which == (source.stage.name, source.stage.key):
                continue
            seen.add(which)
            earlier = read_record(f"{folder_of(which[0])}/{which[1]}/{SETTINGS_FILE}")
            if earlier is None or earlier["stage"] != source.stage.name:
                yield stage.name, f"input: {role} was {'/'.join(which)}, which is not here"
            else:
                yield from _causes(source.stage, earlier, seen)


def command_for(record: Mapping, config: str, files: list[str], cores: int | None) -> list[str]:
    """The call of snakemake, after `snakemake`, that makes a result's files."""
    resources = record["config"]["resources"]
    here = Path.cwd() == SNAKEFILE.parent
    return [
        *([] if here else ["--snakefile", str(SNAKEFILE)]),
        # with fewer cores than threads a training would get fewer of them
        *("--cores", str(cores or max(record["threads"], resources["threads"]))),
        *("--resources", f"gpu={resources['gpus_per_job']}"),
        *("--configfile", config, "--", *files),
    ]


def made_with(record: Mapping) -> str:
    """What else has a say in the last bits, and what of it is another here."""
    count = record["threads"]
    device = record["device"]  # "none" of a stage without the network
    text = f"made with {count} thread{'s' * (count != 1)}" + f" on {device}" * (device != "none")
    then = record["versions"]["torch"]
    now = metadata.version("torch")
    return text + ("" if then == now else f" and torch {then}; here it is torch {now}")


def say(text: str) -> None:
    print(text, file=sys.stderr)


def say_difference(record: Mapping, stage: Stage | None) -> None:
    """What would be another result now, and why."""
    if stage is None:
        say(f"warning: this configuration has no stage {record['stage']} now")
    elif stage.key != record["key"]:
        say(f"warning: this now makes {stage.folder}, not {record['key']}. What differs:")
        for name, text in causes(stage, record):
            say(f"    {name}: {text}")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("settings", metavar="PATH/settings.json", type=Path, help="of the result")
    parser.add_argument("--output", type=Path, help="write the configuration to this file")
    parser.add_argument("--run", action="store_true", help="make the result here, now")
    parser.add_argument("--cores", type=int, help="of that run (default: the threads it took)")
    arguments = parser.parse_args()
    path: Path = arguments.settings
    record = read_record(path / SETTINGS_FILE if path.is_dir() else path)
    try:
        if record is None or record["stage"] not in OUTPUTS:
            raise ConfigError("no settings.json of a result can be read there")
        content = configuration_of(record)
    except ConfigError as error:
        sys.exit(f"\n{path}: {error}\n")
    text = as_yaml(content, path)
    output: Path | None = arguments.output
    if arguments.run and output is None:
        output = Path(RESULTS, "plans", "rerun", f"{record['stage']}-{record['key']}.yaml")
    if output is None:
        print(text, end="", flush=True)
    else:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            sys.exit(f"\n{output}: cannot be written ({error.strerror})\n")
    problem, stage = None, None
    try:
        stage = stage_in(plan_of_text(text), record)
        say_difference(record, stage)
    except ConfigError as error:
        problem = f"\nit cannot be made here now:\n{error}\n"
    folder = stage.folder if stage else f"{folder_of(record['stage'])}/{record['key']}"
    if stage and is_finished(stage):
        say(f"{folder} is here already: the command has nothing to do")
    files = [f"{folder}/{name}" for name in (*OUTPUTS[record["stage"]], SETTINGS_FILE)]
    call = command_for(record, str(output or "again.yaml"), files, arguments.cores)
    say(f"{made_with(record)}; to make it again:\n\nsnakemake {shlex.join(call)}\n")
    if problem:
        sys.exit(problem)
    if arguments.run:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "snakemake", *call])


if __name__ == "__main__":
    run_program(main)
