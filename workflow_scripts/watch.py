"""watch: how far the plan is, what is at work now, and about how long the rest takes.

    python workflow_scripts/watch.py                                (or make watch)
    python workflow_scripts/watch.py --configfile configs/mine.yaml
    python workflow_scripts/watch.py --follow                       a line whenever it changes

Without settings it shows the plan of the run that is at work in this folder, or of the one that was
last; where none was run yet, that of config.yaml. On a terminal the picture is drawn anew every two
seconds, until nothing is left to do and no run is at work, or until Ctrl-C. Elsewhere it is printed
once. It only reads.

A cell of the table is an experiment's round (round 0: source-only, with what comes before it): how
many of its stages are done of how many there are, and what is at work; `-`: nothing is begun. Where
the table is too wide, `*` stands for what is at work, `!` for what failed, and `ok` for done; where
it has more rows than fit, the seeds of an experiment share a row. The last column is the newest
round that is evaluated, and its mIoU in percent (the mean over the seeds that have it).
"""

import math
import os
import shutil
import signal
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scalewise.artifacts import table
from scalewise.command_line import add_settings, parser_of, plan_of, run_program
from scalewise.comparison import read_record, records_of
from scalewise.config import ConfigError
from scalewise.outlook import Durations, clock, to_run
from scalewise.plan import NETWORK_STAGES, RESULTS, SETTINGS_FILE, Plan, Stage
from scalewise.recorded import last_run, read_plan, stages_of
from scalewise.taxonomy import ALL_CLASSES
from scalewise.workflow import holder_of_folder, is_finished, progress_of, state_told

SECONDS = 2.0  # between two looks
SILENT = 120.0  # seconds without a word after which a job is called silent,
SILENT_STEPS = 10  # or as many of its steps, where these take longer
ROWS = 40  # lines of the table, where no terminal says how many fit
Which = tuple[str, str]  # name, key of a stage
Row = tuple[str, int]  # experiment, seed


@dataclass(frozen=True)
class Job:
    """A stage that is running, failed or was killed. said: the content of its progress file."""

    which: Which
    title: str
    state: str
    detail: str
    said: Mapping


@dataclass
class Cell:
    """The stages of a round (of one seed, or of several): how many, how many of them are left, the
    names of those at work, and how many failed or were killed."""

    stages: int = 0
    left: int = 0
    at_work: list[str] = field(default_factory=list)
    failed: int = 0


@dataclass(frozen=True)
class View:
    """What is shown. run: who is at work; cells: row -> round -> its stages; miou: row -> (round,
    percent); classes: what the mIoU is over, in words; seconds: about what is left, with as many
    jobs at once as `slots`; unknown: how many stages that does not count; time: seconds since 1970.
    """

    project: str
    run: str | None
    stages: int
    left: int
    jobs: list[Job]
    cells: dict[Row, dict[int, Cell]]
    miou: dict[Row, tuple[int, float]]
    classes: str
    seconds: float
    unknown: int
    slots: int
    time: float

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do and no run is at work."""
        return not self.left and self.run is None


class Watched:
    """A plan that is looked at again and again: it is read once, and after that only files that can
    have changed. A stage that was finished once counts as finished."""

    def __init__(
        self,
        project: str,
        experiments: Sequence[str],
        seeds: Sequence[int],
        stages: Mapping[Which, Stage],
        report: Stage,
    ):
        self.project, self._stages = project, stages
        self._settings = report.settings
        self._rows = [(name, seed) for name in experiments for seed in seeds]
        self._left = {(s.name, s.key): s for s in to_run(stages, report) if not is_finished(s)}
        kinds = dict.fromkeys(name for name, _ in self._left)
        self._durations = {name: Durations(records_of(name)) for name in kinds}
        rows = set(self._rows)
        self._places: dict[Which, list[tuple[Row, int]]] = {
            which: [
                ((name, seed), number or 0)
                for name, seed, number in stage.users
                if (name, seed) in rows
            ]
            for which, stage in stages.items()
        }
        self._miou: dict[Row, tuple[int, float]] = {}
        for which in stages.keys() - self._left.keys():
            self._take_miou(which)
        self._times = self._times_of_left()

    def look(self, now: float) -> View:
        """The plan as it is now (seconds since 1970)."""
        self._take_finished()
        run = holder_of_folder()
        jobs = list(self._jobs(run))
        seconds, unknown, slots = self._rest(jobs)
        return View(
            self.project, run, len(self._stages), len(self._left), jobs, self._cells(jobs),
            dict(self._miou), self._classes(), seconds, unknown, slots, now,
        )  # fmt: skip

    def _take_finished(self) -> None:
        new = [which for which, stage in self._left.items() if is_finished(stage)]
        for which in new:
            stage = self._left.pop(which)
            self._take_miou(which)
            record = read_record(f"{stage.folder}/{SETTINGS_FILE}")
            if record:
                self._durations[stage.name].add(record)
        if new:
            self._times = self._times_of_left()

    def _times_of_left(self) -> dict[Which, float | None]:
        return {w: self._durations[w[0]].seconds_for(stage) for w, stage in self._left.items()}

    def _take_miou(self, which: Which) -> None:
        if which[0] != "evaluate":
            return
        newer = [
            (row, number)
            for row, number in self._places[which]
            if row not in self._miou or number > self._miou[row][0]
        ]
        if newer and (miou := self._mean_iou(f"{self._stages[which].folder}/iou.csv")) is not None:
            self._miou.update({row: (number, miou) for row, number in newer})

    def _mean_iou(self, path: str) -> float | None:
        """Of the classes of the headline that have an IoU; None where there is none."""
        try:
            found = table.read(path, {"class": str, "iou": float})
        except (OSError, ValueError):
            return None
        wanted = self._settings["subsets"].get(self._settings["headline"], found["class"])
        pairs = zip(found["class"], found["iou"], strict=True)
        values = [iou for name, iou in pairs if name in wanted and not math.isnan(iou)]
        return statistics.fmean(values) if values else None

    def _classes(self) -> str:
        headline = self._settings["headline"]
        return f"{len(self._settings['classes'])} classes" if headline == ALL_CLASSES else headline

    def _jobs(self, run: str | None) -> Iterator[Job]:
        """Those of stages that are left. What an earlier run left undone waits once a run is at
        work, which tries it anew."""
        for path in sorted(Path(RESULTS, "progress").glob("*.json")):
            name, _, key = path.stem.rpartition("-")
            stage = self._left.get((name, key))
            if stage is None:
                continue
            said = progress_of(name, key)
            try:
                state, detail = state_told(said)
            except (KeyError, TypeError):
                continue  # no progress file of ours
            of_this_run = run is None or f"process {said.get('run')} " in f"{run} "
            if state == "running" or (state in ("failed", "killed") and of_this_run):
                yield Job((name, key), stage.title, state, " ".join(detail.split()), said)

    def _cells(self, jobs: Iterable[Job]) -> dict[Row, dict[int, Cell]]:
        cells: dict[Row, dict[int, Cell]] = {row: {} for row in self._rows}
        for which, places in self._places.items():
            left = which in self._left
            for row, number in places:
                cell = cells[row].setdefault(number, Cell())
                cell.stages += 1
                cell.left += left
        for job in jobs:
            for row, number in self._places[job.which]:
                if job.state == "running":
                    cells[row][number].at_work.append(job.which[0])
                else:
                    cells[row][number].failed += 1
        return cells

    def _rest(self, jobs: Iterable[Job]) -> tuple[float, int, int]:
        """Seconds of all that is left, of how many stages they are unknown, and how many jobs with
        the network are at work side by side, by which the seconds were divided."""
        times = dict(self._times)
        running = [job for job in jobs if job.state == "running"]
        for job in running:
            if isinstance(left := job.said.get("seconds_left"), int | float):
                times[job.which] = left
        known = [t for t in times.values() if t is not None]
        slots = max(1, sum(job.which[0] in NETWORK_STAGES for job in running))
        return sum(known) / slots, len(times) - len(known), slots


def of_plan(plan: Plan) -> Watched:
    """A plan by its settings."""
    project = plan.project
    names = [e.name for e in project.experiments]
    return Watched(project.name, names, project.settings.seeds, plan.stages, plan.report)


def of_record(path: Path) -> Watched:
    """A plan as it was written down when it ran. Raises ConfigError where that cannot be read."""
    plan = read_plan(path)
    stages = stages_of(plan)
    reports = [stage for stage in stages.values() if stage.name == "report"]
    if not reports:
        raise ConfigError(f"{path}: a plan without a report: name the settings (--configfile)")
    return Watched(plan.project, plan.experiments, plan.seeds, stages, reports[0])


class LastRun:
    """Looks at the plan that is at work in this folder or was last, also when that becomes another
    one; before anything was run here, at that of `otherwise`."""

    def __init__(self, otherwise: Callable[[], Watched]):
        self._otherwise = otherwise
        self._run: tuple[Path, int] | None = None
        self._watched: Watched | None = None

    def look(self, now: float) -> View:
        """As `Watched.look`. Raises ConfigError where the record of the plan cannot be read."""
        run = last_run()
        if self._watched is None or run != self._run:
            self._watched = of_record(run[0]) if run else self._otherwise()
            self._run = run
        return self._watched.look(now)


# --- in words -------------------------------------------------------------------------------------


def head(view: View) -> list[str]:
    """How much is done, who is at work, and about how long the rest takes."""
    states = [job.state for job in view.jobs]
    running, failed, killed = (states.count(s) for s in ("running", "failed", "killed"))
    parts = [f"{view.stages - view.left} of {view.stages} stages done"]
    parts += [f"{running} running", f"{view.left - len(states)} waiting"]
    parts += [f"{failed} failed"] * bool(failed) + [f"{killed} killed"] * bool(killed)
    return [f"{view.project}: {', '.join(parts)}", _time(view), _run(view.run)]


def _run(run: str | None) -> str:
    return f"a run is at work ({run})" if run else "no run is at work"


def _time(view: View) -> str:
    if not view.left:
        return "nothing is left to do"
    if view.unknown == view.left:
        return "the time left is unknown: no earlier result tells"
    slots = "one after the other" if view.slots == 1 else f"{view.slots} at once"
    jobs = "job" if view.unknown == 1 else "jobs"
    unknown = f", and {view.unknown} {jobs} of unknown time" if view.unknown else ""
    return f"about {clock(view.seconds)} left, {slots}{unknown}"


def job_lines(job: Job, now: float) -> list[str]:
    """Title, and below it how far the job is and when it last said so; of a job that does not work
    any more what happened, in one line."""
    if job.state != "running":
        return [f"{job.state}: {job.detail}"]
    said = job.said
    age = max(0.0, now - said.get("time", now))
    parts = []
    if said.get("steps"):
        parts.append(f"{said['unit']} {said['step']} of {said['steps']}")
    rate = said.get("rate") or 0.0
    if rate:
        parts.append(f"{rate:.3g}/s")
    if said.get("steps") and isinstance(said.get("seconds_left"), int | float):
        parts.append(f"{clock(said['seconds_left'])} left")
    numbers = said.get("said") or {}
    shown = {"loss": numbers["loss"]} if "loss" in numbers else numbers
    parts += [f"{name} {value:.4g}" for name, value in shown.items()]
    silent = age > max(SILENT, SILENT_STEPS / rate if rate else 0.0)
    process = f"process {said.get('pid')}"
    # first where it matters: the end of the line may not fit
    parts = [f"SILENT for {clock(age)}", *parts] if silent else parts
    parts.append(process if silent else f"{process}: {age:.0f} s ago")
    return [job.title, f"    {', '.join(parts)}"]


def cell_text(cell: Cell | None, short: bool = False) -> str:
    """`3/7 retrain`; short: `3/7*`. `!`: something failed or was killed."""
    if cell is None:
        return ""
    if not cell.left:
        return "ok" if short else "done"
    count = f"{cell.stages - cell.left}/{cell.stages}"
    if short:
        words = "*" * bool(cell.at_work) + "!" * bool(cell.failed)
        text = count + words
    else:
        names = list(dict.fromkeys(name.split("_")[0] for name in cell.at_work))
        words = " ".join([*names[:1], *["..."] * bool(names[1:]), *["failed"] * bool(cell.failed)])
        text = f"{count} {words}"
    return text if words else "-" if cell.left == cell.stages else count


def together(cells: Iterable[Cell | None]) -> Cell | None:
    """Several cells as one."""
    there = [cell for cell in cells if cell]
    if not there:
        return None
    return Cell(
        sum(cell.stages for cell in there),
        sum(cell.left for cell in there),
        [name for cell in there for name in cell.at_work],
        sum(cell.failed for cell in there),
    )


def _miou_text(found: Sequence[tuple[int, float]], rows: int) -> str:
    """`3: 44.2`: the newest round and the mean over the rows that have it, of so many."""
    if not found:
        return ""
    newest = max(number for number, _ in found)
    values = [miou for number, miou in found if number == newest]
    several = f" ({len(values)} of {rows})" if len(values) < rows else ""
    return f"{newest}: {statistics.fmean(values):.1f}{several}"


def _rank(cells: Iterable[Cell | None]) -> int:
    """0: something is at work or failed, 1: something waits, 2: all is done."""
    cell = together(cells) or Cell()
    return 0 if cell.at_work or cell.failed else 1 if cell.left else 2


def table_lines(view: View, width: float = math.inf, height: float = ROWS) -> list[str]:
    """The table: a row for each experiment and seed, or for each experiment where there are more
    of these than fit; where even they do not, those that are at work or still to run come first."""
    room = int(max(4, height)) - 3  # heading, rule, what the mIoU is over
    groups = {(name, str(seed)): [(name, seed)] for name, seed in view.cells}
    merged = len(groups) > room
    if merged:
        by_name: dict[str, list[Row]] = {}
        for name, seed in view.cells:
            by_name.setdefault(name, []).append((name, seed))
        groups = {(name, str(len(rows))): rows for name, rows in by_name.items()}
    last = max((number for cells in view.cells.values() for number in cells), default=0)
    cells = {
        label: [together(view.cells[m].get(number) for m in members) for number in range(last + 1)]
        for label, members in groups.items()
    }
    shown, more = list(groups), []
    if len(shown) > room:
        kept = sorted(shown, key=lambda label: _rank(cells[label]))[: max(1, room - 1)]
        ranks = [_rank(cells[label]) for label in shown if label not in kept]
        words = ("at work or failed", "waiting", "done")
        counts = ", ".join(f"{n} {words[rank]}" for rank in range(3) if (n := ranks.count(rank)))
        more = [f"and {len(ranks)} more: {counts}"]
        shown = [label for label in shown if label in kept]

    def rows(texts: Callable[[list[Cell | None]], list[str]], headings: list[str]) -> list[str]:
        mious = {
            label: _miou_text([view.miou[m] for m in groups[label] if m in view.miou], len(members))
            for label, members in groups.items()
        }
        start = ["experiment", "seeds" if merged else "seed"]
        return aligned(
            [
                [*start, *headings, "mIoU"],
                *([*label, *texts(cells[label]), mious[label]] for label in shown),
            ]
        )

    numbers = [str(number) for number in range(last + 1)]
    headings = ["round 0", *numbers[1:]]
    lines = rows(lambda of_row: [cell_text(cell) for cell in of_row], headings)
    if len(lines[0]) > width:
        lines = rows(lambda of_row: [cell_text(cell, short=True) for cell in of_row], numbers)
    if len(lines[0]) > width:
        lines = rows(lambda of_row: [cell_text(together(of_row))], ["stages"])
    footnote = f"mIoU in percent over {view.classes}, after the number of its round"
    return [lines[0], "-" * len(lines[0]), *lines[1:], *more, footnote]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, two spaces between them."""
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(text + " " * (w - columns_of(text)) for text, w in zip(row, widths, strict=True))
        for row in rows
    ]


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def fitted(text: str, width: float = math.inf) -> str:
    """A line of at most so many columns, without characters that steer a terminal."""
    text = "".join(c if c.isprintable() else "?" for c in text).rstrip()
    if columns_of(text) <= width:
        return text
    while text and columns_of(text) > width - 3:
        text = text[:-1]
    return f"{text}..."[: int(width)]


def lines(view: View, width: float = math.inf, height: float = math.inf) -> list[str]:
    """The whole picture, in at most so many columns and lines."""
    told = [job_lines(job, view.time) for job in view.jobs]
    room = max(3, height // 2 - 3)
    shown: list[str] = []
    for count, of_job in enumerate(told):
        rest = len(told) - count
        if len(shown) + len(of_job) + (rest > 1) > room:
            shown.append(f"and {rest} more")
            break
        shown += of_job
    below = ["", *shown] if shown else []
    above = [*head(view), ""]
    of_table = ROWS if math.isinf(height) else height - len(above) - len(below)
    picture = [*above, *table_lines(view, width, of_table), *below]
    shorter = picture if math.isinf(height) else picture[: int(height)]
    return [fitted(line, width) for line in shorter]


def changes(before: View | None, now: View) -> list[str]:
    """What happened between two looks, a line each; of the first look, what is."""
    told = []
    if before is None or before.run != now.run:
        told.append(_run(now.run))
    earlier = {job.which: job for job in before.jobs} if before else {}
    present = {job.which: job for job in now.jobs}
    for which, job in earlier.items():
        if which not in present and job.state == "running":
            told.append(f"no longer running: {job.title}")
    for which, job in present.items():
        if which not in earlier or earlier[which].state != job.state:
            is_running = job.state == "running"
            told.append(f"running: {job.title}" if is_running else f"{job.state}: {job.detail}")
    for row, found in now.miou.items():
        if before is not None and before.miou.get(row) != found:
            told.append(f"{row[0]}, seed {row[1]}, round {found[0]}: mIoU {found[1]:.1f}")
    if before is None or before.left != now.left:
        told.append(f"{head(now)[0]}; {_time(now)}")
    return told


# --- on the screen --------------------------------------------------------------------------------


@contextmanager
def screen() -> Iterator[Callable[[list[str]], None]]:
    """Draws pictures in place, on a screen of their own. However it ends, the terminal gets its
    cursor back, and what stood on it."""
    out = sys.stdout

    def draw(picture: list[str]) -> None:
        # one write, and nothing is wiped before it is written over: no flicker
        out.write("\x1b[H" + "\x1b[K\n".join(picture) + "\x1b[K\x1b[J")
        out.flush()

    out.write("\x1b[?1049h\x1b[?25l")
    try:
        yield draw
    finally:
        out.write("\x1b[?25h\x1b[?1049l")
        out.flush()


def on_terminal(look: Callable[[], View]) -> None:
    """Draw until all is over; the last picture stays."""
    view = look()
    try:
        if not view.is_over:
            with screen() as draw:
                while not view.is_over:
                    draw(lines(view, *_size()))
                    time.sleep(SECONDS)
                    view = look()
    finally:
        print("\n".join(lines(view, _size()[0])))


def _size() -> tuple[int, int]:
    """Columns and lines of the terminal, as they are now."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        size = (0, 0)
    return tuple(size if all(size) else shutil.get_terminal_size())


def follow(look: Callable[[], View]) -> None:
    """A line whenever something changes, until all is over."""
    before = None
    while before is None or not before.is_over:
        if before:
            time.sleep(SECONDS)
        view = look()
        for line in changes(before, view):
            print(time.strftime("%H:%M:%S", time.localtime(view.time)), fitted(line), flush=True)
        before = view


def main() -> None:
    parser = parser_of(__doc__)
    add_settings(parser)
    parser.add_argument("--follow", action="store_true", help="a line whenever something changes")
    arguments = parser.parse_args()

    def by_settings() -> Watched:
        return of_plan(plan_of(arguments))

    def look() -> View:
        return watched.look(time.time())

    sys.stdout.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        named = arguments.configfile or arguments.config
        watched = by_settings() if named else LastRun(by_settings)
        if arguments.follow:
            follow(look)
        elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            on_terminal(look)
        else:
            print("\n".join(lines(look())))
    except ConfigError as error:
        sys.exit(f"\n{error}\n")
    except KeyboardInterrupt:
        pass  # that is how one stops to look


if __name__ == "__main__":
    run_program(main)
