"""Progress of a job: a bar for a person, lines in the log otherwise, a small file for other tools.

The file `results/progress/<stage>-<key>.json` holds title, process id, host, process id of the run
that started the job, state (running, failed, interrupted), step, steps, rate (steps per
second), seconds left, and what the job last said of itself; `docs/formats.md` describes it.
"""

import json
import logging
import os
import socket
import sys
import time
from pathlib import Path

from tqdm import tqdm

from scalewise.artifacts.atomic import write_text

log = logging.getLogger(__name__)
RUN_VARIABLE = "SCALEWISE_RUN"  # process id of the run that started a job
FILE_SECONDS = 2.0
LOG_SECONDS = 15.0


class Progress:
    """Counts the steps of one job; silent: for itself alone."""

    def __init__(self, path: Path, title: str, *, silent: bool = False):
        self._path, self._title, self._silent = path, title, silent
        self._step = self._steps = self._first = 0
        self._unit = "step"
        self._said: dict[str, float] = {}
        self._bar: tqdm | None = None
        self._begun = self._wrote = self._logged = time.monotonic()

    def begin(self) -> None:
        """Say that the job works; it holds its stage by now."""
        self._write("running")

    def start(self, steps: int, unit: str, first: int = 0) -> None:
        """Begin to count `steps` units; `first` of them were done by an earlier run."""
        self._steps, self._step, self._first, self._unit = steps, first, first, unit
        self._begun = self._wrote = self._logged = time.monotonic()
        if self._bar is not None:
            self._bar.close()
        if sys.stderr.isatty() and not self._silent:
            self._bar = tqdm(
                total=steps, initial=first, desc=self._title, unit=f" {unit}s", leave=False
            )
        self._write("running")

    def advance(self, count: int = 1, **said: float) -> None:
        """Say that `count` more units are done, and any numbers worth showing."""
        self._step += count
        self._said.update(said)
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(count)
            if said:
                self._bar.set_postfix({k: f"{v:.3f}" for k, v in said.items()}, refresh=False)
        if now - self._wrote >= FILE_SECONDS:
            self._wrote = now
            self._write("running")
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            numbers = "".join(f", {k} {v:.4f}" for k, v in self._said.items())
            log.info(
                "%s %d of %d, %.1f per second, %s left%s",
                self._unit, self._step, self._steps, self._rate(), _clock(self._left()), numbers,
            )  # fmt: skip

    @property
    def work(self) -> dict:
        """The units that are done, those of earlier runs of the job included."""
        return {"units": self._step, "unit": self._unit}

    def _rate(self) -> float:
        seconds = time.monotonic() - self._begun
        return (self._step - self._first) / seconds if seconds > 0 else 0.0

    def _left(self) -> float | None:
        rate = self._rate()
        return (self._steps - self._step) / rate if rate > 0 else None

    def _write(self, state: str, detail: str = "") -> None:
        if self._silent:
            return
        content = {
            "title": self._title,
            "state": state,
            "detail": detail,
            "pid": os.getpid(),
            "run": int(os.environ.get(RUN_VARIABLE, 0)),
            "host": socket.gethostname(),
            "unit": self._unit,
            "step": self._step,
            "steps": self._steps,
            "rate": self._rate(),
            "seconds_left": self._left(),
            "said": self._said,
            "time": time.time(),
        }
        try:
            write_text(self._path, json.dumps(content, indent=1) + "\n")
        except OSError as error:  # progress is a courtesy: a full disk must not end the work here
            log.warning("%s: progress not written (%s)", self._path, error)

    def close(self, state: str, detail: str = "") -> None:
        if self._bar is not None:
            self._bar.close()
        if state == "finished" and not self._silent:
            self._path.unlink(missing_ok=True)
        else:
            self._write(state, detail)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
