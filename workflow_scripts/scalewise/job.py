"""What every stage's script shares: arguments, log, progress, errors, `settings.json` at the end.

Nothing here has a say in what a stage computes (see `scalewise.code_digest.UNCOUNTED`).
"""

import argparse
import gc
import json
import logging
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np

from scalewise import processes
from scalewise.artifacts.atomic import write_text
from scalewise.artifacts.integrity import describe, require_whole
from scalewise.code_digest import PACKAGE, CodeBase
from scalewise.errors import UserError, of_the_system
from scalewise.progress import Progress
from scalewise.stage_lock import StageInUse, state_folder
from scalewise.stage_state import FollowedState, Saved, StageState

# tables of thousands of images: to look through all rows for cycles again and again took a quarter
# of the time that scoring does beside the network
gc.set_threshold(100_000, 20, 20)

log = logging.getLogger("scalewise")
FORMAT_VERSION = 1


class Job:
    """One run of a stage's script.

    settings, inputs (role -> path or list of paths), locations, folder: as the plan wrote them;
    threads and gpus: what the job was given; device: filled in by the stages that use the network;
    leads: false in the further processes of a job on several devices (`scalewise.processes`).
    """

    def __init__(self, description: dict, threads: int, gpus: int):
        self.stage: str = description["stage"]
        self.key: str = description["key"]
        self.title: str = description["title"]
        self.folder = Path(description["folder"])
        self.settings: dict = description["settings"]
        self.contents: dict[str, str] = description["contents"]
        self.locations: dict[str, str] = description["locations"]
        self.threads, self.gpus = threads, gpus
        self.device = "none"
        self.deterministic = True
        self.save_minutes, self.save_steps = 5.0, 0
        self.notes: dict[str, object] = {}
        self.leads = processes.rank() == 0
        self.state = (StageState if self.leads else FollowedState)(self.state_folder, self.key)
        self._begun = time.monotonic()
        self._description = description
        self.progress = Progress(
            Path("results", "progress", f"{self.stage}-{self.key}.json"),
            self.title,
            silent=not self.leads,
        )

    def input(self, role: str) -> Path:
        return Path(self._description["inputs"][role]["path"])

    def inputs(self, role: str) -> list[Path]:
        return [Path(item["path"]) for item in self._description["inputs"][role]]

    @property
    def input_paths(self) -> list[Path]:
        """The files of all roles."""
        values = self._description["inputs"].values()
        flat = [item for v in values for item in (v if isinstance(v, list) else [v])]
        return [Path(item["path"]) for item in flat]

    def has_input(self, role: str) -> bool:
        return role in self._description["inputs"]

    def output(self, name: str) -> Path:
        return self.folder / name

    @property
    def state_folder(self) -> Path:
        """Where a stage keeps its state: no declared output, so the engine leaves it alone."""
        return state_folder(self.stage, self.key)

    @cached_property
    def saved(self) -> Saved | None:
        """What an earlier run of this job left, its warnings included; the state is to be held."""
        saved = self.state.load()
        if saved:
            for text in saved.facts.get("warnings", []):
                self.warn(text)
        return saved

    def take_saved_threads(self) -> None:
        """Go on with as many threads as the saved state was begun with, whatever this run was
        given: the number of threads is in the last bits of every sum."""
        threads = self.saved.facts["threads"] if self.saved else self.threads
        if threads != self.threads:
            log.info("begun with %d threads, so it goes on with them", threads)
            self.threads = threads

    def warn_of_another_maker(self) -> None:
        """Say where the saved state is of another kind of device or another torch: it is used."""
        facts = self.saved.facts if self.saved else {}
        begun, torch = facts.get("device", self.device), _version("torch")
        was, here = (f"{n} processes" for n in (facts.get("processes", 1), processes.count()))
        for then, now, same in (
            (was, here, not facts or was == here),
            (begun, self.device, _kind(begun) == _kind(self.device)),
            (
                f"torch {facts.get('torch', torch)}",
                f"torch {torch}",
                facts.get("torch", torch) == torch,
            ),
        ):
            if not same:
                self.warn(
                    f"begun on {then} and goes on on {now}: its last bits are not those of a run "
                    "that stayed on either"
                )

    def save(self, step: int, arrays: Mapping[str, np.ndarray], **facts: object) -> None:
        """Save the state of this job; raises OSError when it cannot be written."""
        self.state.save(
            step,
            arrays,
            **facts,
            threads=self.threads,
            processes=processes.count(),
            device=self.device,
            torch=_version("torch"),
            seconds=self.seconds,
            warnings=self.notes.get("warnings", []),
        )

    @property
    def seconds(self) -> float:
        """Time that the work took until now, earlier runs included."""
        earlier = self.saved.facts["seconds"] if self.saved else 0.0
        return earlier + time.monotonic() - self._begun

    def warn(self, text: str) -> None:
        """Say something in the log and, for the report, in settings.json; there once."""
        said = self.notes.setdefault("warnings", [])
        if text not in said:
            said.append(text)
        log.warning("%s", text)

    def write_settings(self) -> None:
        """Write `settings.json`, the last file of a stage."""
        packages = ["torch", "numpy", "pillow", "opencv-python-headless", "h5py", "safetensors"]
        packages += ["transformers"] * ("transformers" in sys.modules)
        content = {
            "format": FORMAT_VERSION,
            **{k: self._description[k] for k in ("stage", "key", "identity", "code", "contents")},
            "title": self.title,
            # what `explain` and `rerun` go by
            **{k: self._description.get(k) for k in ("code_files", "users", "config")},
            "settings": self.settings,
            "inputs": self._description["inputs"],
            "locations": self.locations,
            "seed": self.settings.get("seed"),
            "threads": self.threads,
            "processes": processes.count(),
            "device": self.device,
            "machine": _machine(),
            "versions": {
                "python": platform.python_version(),
                **{name: _version(name) for name in packages},
            },
            "files": describe(self.folder),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 2),
            "work": self.progress.work,
            "notes": self.notes,
        }
        write_text(self.output("settings.json"), json.dumps(content, indent=1, sort_keys=True))


def _kind(device: str) -> str:
    """Of a device as it is written down, such as "cuda:0 (NVIDIA ...)": cuda."""
    return device.split(":")[0].split(" ")[0]


def _machine() -> str:
    """Processor, cores and system; not its name in the network, since reports are handed on."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass  # another system, or a processor that does not say its name there
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def _version(package: str) -> str | None:
    """None where a distribution goes by another name (conda's opencv): no reason to fail now."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _set_up_log(path: str | None) -> None:
    """To a file, or to standard error; of the processes of a job the leader alone says more than
    errors."""
    handlers: list[logging.Handler] = []
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="a", encoding="utf-8"))
    else:
        handlers.append(logging.StreamHandler(sys.stderr))
    rank = processes.rank()
    logging.basicConfig(
        level=logging.ERROR if rank else logging.INFO,
        handlers=handlers,
        format=f"%(asctime)s process {rank}: %(message)s" if rank else "%(asctime)s %(message)s",
        force=True,
    )
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a log that cannot be written must not hide the one message


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say(message: str, log_file: str | None) -> None:
    """An error goes to the person and to the log, once where these are the same."""
    print(message, file=sys.stderr, flush=True)
    if log_file:
        log.error("%s", message)


def _refuse_other_code(description: dict) -> None:
    """The key holds the code as it was when the plan was made; other code must not fill it."""
    script = Path(sys.argv[0]).resolve()
    if script.name != f"{description['stage']}.py" or not (script.parent / PACKAGE).is_dir():
        return  # a program that only borrows the frame, such as a test's
    if CodeBase(script.parent).digest(description["stage"]) != description["code"]:
        raise UserError(
            "the code of this stage was changed since the run began: start again, so that the "
            "result gets the key of the code that made it"
        )


def _warn_of_other_makers(job: Job) -> None:
    """Say when an input was made with another torch or on another kind of device: it is used."""
    mine = {"torch": _version("torch"), "device": _kind(job.device)}
    for path in job.input_paths:
        try:
            record = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
            theirs = {
                "torch": record["versions"]["torch"],
                "device": _kind(record["device"]),
            }
        except (OSError, ValueError, KeyError):
            continue
        for what, value in theirs.items():
            if "none" not in (value, mine[what]) and value != mine[what]:
                warning = f"{path} was made with {what} {value}, this job runs with {mine[what]}"
                job.warn(warning)


def run(work: Callable[[Job], None], manual: str | None, *, shared: bool = False) -> None:
    """Run a stage's script as a program: read its description, work, write `settings.json`.

    shared: whether the work knows how to share itself among processes: then there is one for each
    device. Exits with 1 after a user's mistake (one message), with 130 when interrupted.
    """
    parser = argparse.ArgumentParser(
        description=manual, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "description", metavar="STAGE.json",
        help="what to do, as written by the plan: results/plans/stages/<stage>/<key>.json",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="threads to use (default 1)")
    parser.add_argument("--gpus", type=int, default=1, help="devices to use (default 1)")
    parser.add_argument("--save-minutes", type=float, default=5.0, help="minutes between states")
    parser.add_argument("--save-steps", type=int, default=0, help="or steps (images) between them")
    parser.add_argument(
        "--any-order",
        action="store_true",
        help="on CUDA, take faster kernels whose last bits differ from run to run",
    )
    parser.add_argument("--log", help="log file (default: standard error)")
    arguments = parser.parse_args()
    if shared and arguments.gpus > 1 and not processes.are_started():
        sys.exit(processes.launch(arguments.gpus))
    # for libraries that start their threads later; torch is told by scalewise.runtime
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(max(1, arguments.threads // processes.count()))
    try:
        _set_up_log(arguments.log)
    except OSError as error:
        sys.exit(f"\n{of_the_system(error) or error}\n")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        description = json.loads(Path(arguments.description).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{arguments.description}: no stage description ({error})")
    gpus = processes.count() if processes.are_started() else arguments.gpus
    job = Job(description, arguments.threads, gpus)
    job.save_minutes, job.save_steps = arguments.save_minutes, arguments.save_steps
    job.deterministic = not arguments.any_order
    try:
        _refuse_other_code(description)
        log.info("%s [%s/%s], threads %d", job.title, job.stage, job.key, job.threads)
        with job.state:
            if job.leads:
                job.progress.begin()
                for left in job.folder.rglob(".*.tmp"):  # by a process killed while it wrote
                    left.unlink(missing_ok=True)
                require_whole(job.input_paths)
            work(job)
            if job.leads:
                _warn_of_other_makers(job)
                job.write_settings()
            # it is finished: a signal that comes now must not make it look as if it were not
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            job.state.remove()  # not before: what is finished must not be lost
    except KeyboardInterrupt:
        job.progress.close("interrupted")
        log.info("interrupted; the next run goes on")
        sys.exit(130)
    except Exception as error:
        told = error if isinstance(error, UserError) else of_the_system(error)
        if told:
            if not job.leads:
                sys.exit(1)  # the leader has the same to say
            if not isinstance(error, StageInUse):  # the file belongs to who works on the stage
                job.progress.close("failed", str(told))
            _say(f"\n{job.title}:\n{told}\n", arguments.log)
            sys.exit(1)
        job.progress.close("failed", f"{type(error).__name__}: {error}")
        log.error("%s", traceback.format_exc())
        place = f"; details in {arguments.log}" if arguments.log else ""
        _say(f"\n{job.title}:\nunexpected {type(error).__name__}: {error}{place}\n", arguments.log)
        sys.exit(1)
    job.progress.close("finished")
    log.info("finished in %.1f s", job.seconds)
