"""clean_unused: list, and with --remove remove, results that nothing refers to any more.

    python workflow_scripts/clean_unused.py                  what could go, and how large it is
    python workflow_scripts/clean_unused.py --remove         remove it
    python workflow_scripts/clean_unused.py --plans          the plans that were run in this folder
    python workflow_scripts/clean_unused.py --plan NAME      what else could go without this plan

A result is in use when a plan that was ever run here (results/plans/) has it, or the plan of
config.yaml or of any file below configs/ as they are now. Only folders results/<stage>/<key>/ and
the saved states of these stages are looked at: no other file or folder, and nothing behind a
symbolic link. What a living job works on stays, and nothing is removed while a run is at work.

--plan takes the name of a project, for all of its plans, or that of one plan's file; with --remove
the plan's record goes too.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from scalewise.command_line import parser_of, run_program
from scalewise.comparison import read_record
from scalewise.config import ConfigError
from scalewise.plan import OUTPUTS, RESULTS, SETTINGS_FILE, folder_of
from scalewise.recorded import RecordedPlan, recorded_plans
from scalewise.stage_lock import holder_of, state_folder
from scalewise.workflow import DEFAULT_CONFIG, load_plan, lock_folder, state_of_result

KEY = re.compile("[0-9a-f]{16}")
Result = tuple[str, str]  # stage, key


@dataclass
class Unused:
    """A result that nothing refers to, with its folders: the files, a saved state, or both."""

    stage: str
    key: str
    folders: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(map(size_of, self.folders))


def named_plans(plans: list[RecordedPlan], names: Iterable[str]) -> list[RecordedPlan]:
    """The plans of these projects or files. Raises ConfigError for a name that none has."""
    found = []
    for name in names:
        of_name = [p for p in plans if name in (p.project, p.path.name, p.path.stem, str(p.path))]
        if not of_name:
            known = ", ".join(dict.fromkeys(p.project for p in plans)) or "there is none"
            raise ConfigError(f"--plan {name}: no plan of that name was run here ({known})")
        found += of_name
    return found


def settings_files(root: Path) -> list[Path | None]:
    """config.yaml alone (None), and every file below configs/."""
    files = {p for end in ("yaml", "yml") for p in root.joinpath("configs").rglob(f"*.{end}")}
    return [None, *sorted(files)]


def configured(root: Path) -> tuple[dict[str, frozenset[Result]], dict[str, str]]:
    """Name of a settings file -> the stages of its plan now; and -> why it has none now."""
    plans, problems = {}, {}
    for path in settings_files(root):
        name = str(path.relative_to(root)) if path else DEFAULT_CONFIG.name
        try:
            plans[name] = frozenset(load_plan([path] if path else []).stages)
        except (ConfigError, OSError) as error:
            problems[name] = str(error).splitlines()[0].split(". ")[0]
    return plans, problems


def results_here() -> dict[Result, list[Path]]:
    """Every result's folders in this folder: that of its files and that of a saved state."""
    found: dict[Result, list[Path]] = {}
    for stage in OUTPUTS:
        for path in _folders(Path(folder_of(stage))):
            if KEY.fullmatch(path.name):
                found.setdefault((stage, path.name), []).append(path)
    for path in _folders(Path(RESULTS, "state")):
        stage, _, key = path.name.rpartition("-")
        if stage in OUTPUTS and KEY.fullmatch(key):
            found.setdefault((stage, key), []).append(path)
    return found


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, none of them behind a symbolic link."""
    if path.is_symlink() or not path.is_dir():
        return []
    with os.scandir(path) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; links count as links."""
    files = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files)


def unused(used: Iterable[Result]) -> list[Unused]:
    """The results that are not among these, in the order in which stages run."""
    used = set(used)
    here = results_here().items()
    found = [Unused(*which, folders) for which, folders in here if which not in used]
    order = list(OUTPUTS)
    return sorted(found, key=lambda u: (order.index(u.stage), u.key))


def what_it_was(result: Unused) -> str:
    """Experiment, seed, round and step, as far as the result or its description says."""
    record = read_record(Path(folder_of(result.stage), result.key, SETTINGS_FILE))
    described = Path(RESULTS, "plans", "stages", result.stage, f"{result.key}.json")
    content = record if record and "title" in record else read_record(described) or record or {}
    title = content.get("title", "not known")
    if result.stage == "report" and content:
        title += f" of {content['settings'].get('project')}"
    return title if record else f"{title} (not finished)"


def is_running(result: Unused) -> bool:
    """Whether a living job works on it, by its progress or by its lock."""
    of = result.stage, result.key
    return state_of_result(*of)[0] == "running" or holder_of(state_folder(*of)) is not None


def remove(result: Unused) -> None:
    """Remove a result's folders. `settings.json` goes first: half a result is none."""
    for folder in result.folders:
        (folder / SETTINGS_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)  # unlinks symbolic links in it, and refuses to be given one


def readable(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def say_plans(plans: list[RecordedPlan]) -> None:
    present = {which for which, folders in results_here().items() if folders}
    for plan in plans:
        seeds = ", ".join(map(str, plan.seeds))
        print(f"{plan.path.stem}   project {plan.project}, seeds {seeds}")
        print(f"    {len(plan.stages & present)} of {len(plan.stages)} stages have files here")
        print(f"    {', '.join(plan.experiments)}")
    print(f"{len(plans)} plan{'s' * (len(plans) != 1)} recorded in {RESULTS}/plans/")


def say_whose(forgotten: list[RecordedPlan], others: dict[str, frozenset[Result]]) -> None:
    """Where a forgotten plan's stages are still in use."""
    stages = frozenset().union(*(plan.stages for plan in forgotten))
    for name, theirs in others.items():
        if stages & theirs:
            print(f"still in use by {name}: {len(stages & theirs)} of {len(stages)} stages")


def say_unused(found: list[Unused]) -> None:
    sizes = [result.size for result in found]
    for result, size in zip(found, sizes, strict=True):
        place = ", ".join(map(str, result.folders))
        running = "   RUNNING NOW: stays" if is_running(result) else ""
        print(f"{readable(size):>10}   {place}   {what_it_was(result)}{running}")
    word = "result" if len(found) == 1 else "results"
    print(f"{readable(sum(sizes)):>10}   in {len(found)} {word} that nothing refers to")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--remove", action="store_true", help="remove them, instead of a list")
    parser.add_argument("--plans", action="store_true", help="list the recorded plans")
    parser.add_argument(
        "--plan", action="append", default=[], metavar="NAME", help="forget a plan; repeatable"
    )
    arguments = parser.parse_args()
    if arguments.remove:
        lock_folder()  # what a run is about to read is in no living job's hands yet
    try:
        plans = recorded_plans()
        forgotten = named_plans(plans, arguments.plan)
    except ConfigError as error:
        sys.exit(f"\n{error}\n")
    if arguments.plans:
        say_plans(plans)
        return
    now, problems = configured(DEFAULT_CONFIG.parent)
    for name, problem in problems.items():
        print(f"{name} cannot be read now; what was recorded of it counts ({problem})")
    others = {p.path.stem: p.stages for p in plans if p not in forgotten} | now
    say_whose(forgotten, others)
    found = unused(frozenset().union(*others.values()))
    say_unused(found)
    if not arguments.remove:
        if found or forgotten:
            print("nothing was removed: add --remove")
        return
    try:
        for plan in forgotten:
            plan.path.unlink(missing_ok=True)
        for result in found:
            if not is_running(result):
                remove(result)
    except OSError as error:
        sys.exit(
            f"\n{error.filename}: cannot be removed ({error.strerror}); the rest is as it was\n"
        )
    gone = sum(not any(folder.exists() for folder in result.folders) for result in found)
    print(f"removed {gone} of {len(found)}")


if __name__ == "__main__":
    run_program(main)
