"""Stop and go on: when a state is saved, and work by item that goes on where it was stopped."""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from scalewise import processes
from scalewise.errors import UserError
from scalewise.job import Job

log = logging.getLogger(__name__)


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """Collect a first SIGINT or SIGTERM instead of raising it, so that a step is never cut in two;
    a later one raises KeyboardInterrupt at once. What tells a whole group of processes to stop
    often tells each of them twice: two signals within a second are one."""
    caught: list[int] = []
    first = 0.0

    def note(number: int, frame: object) -> None:
        nonlocal first
        if not caught:
            first = time.monotonic()
        elif time.monotonic() - first > 1:
            raise KeyboardInterrupt
        caught.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Saving:
    """Says when a state is due: after so many minutes, or, where that is set, so many steps."""

    def __init__(self, job: Job, first: int):
        self._job, self._step, self._time = job, first, time.monotonic()

    def is_due(self, step: int) -> bool:
        """step: what has been done before it."""
        if self._job.save_steps:
            return step - self._step >= self._job.save_steps
        return time.monotonic() - self._time > 60 * self._job.save_minutes

    def save(self, step: int, arrays: Mapping[str, np.ndarray], **facts: object) -> bool:
        """Save the job's state; returns whether that could be done. A disk that is full is no
        reason to lose the work that goes on: it is said, and tried again when the next is due."""
        self._step, self._time = step, time.monotonic()
        try:
            self._job.save(step, arrays, **facts)
        except OSError as error:
            self._job.warn(
                f"{self._job.state.file}: the state of step {step} could not be saved "
                f"({error.strerror or error}): make room; the state before it is kept"
            )
            return False
        return True


class Items:
    """Work on the items of a stage, in order. See `items`."""

    def __init__(self, job: Job, total: int, first: int, keep: Callable, told_to_stop: list[int]):
        self.first, self._done, self._total = first, first, total
        self._job, self._keep, self._told_to_stop = job, keep, told_to_stop
        self._saving = Saving(job, first)

    def advance(self, count: int) -> None:
        """Say that `count` more items are done; what they gave is with `keep()` now. Raises
        KeyboardInterrupt when told to stop, after the state is saved. All processes of a job
        call it alike: what one is told, all do."""
        self._done += count
        self._job.progress.advance(count)
        due = self._done < self._total and self._saving.is_due(self._done)
        stop, due = processes.any_of(bool(self._told_to_stop), due)
        if stop or due:
            self._save()
        if stop:
            raise KeyboardInterrupt

    def keep_what_is_done(self) -> None:
        """Save the state before an error that the user can mend ends the job. Raises
        KeyboardInterrupt where it was told to stop: then the error is no more than its sign."""
        if self._done > self.first:
            self._save()
        if self._told_to_stop:
            raise KeyboardInterrupt

    def _save(self) -> None:
        self._saving.save(self._done, self._keep() if self._job.leads else {})


@contextmanager
def items(
    job: Job,
    total: int,
    unit: str,
    keep: Callable[[], Mapping[str, np.ndarray]],
    restore: Callable[[dict[str, np.ndarray]], None],
) -> Iterator[Items]:
    """Work on `total` items from where an earlier run stopped: those from `first` on are left.

    keep: all that was found so far, as arrays; restore: takes such arrays back. Whoever works in
    batches calls `advance` once for each, so that the next run has the same batches, and reads
    all that a batch needs before it works on it: at a file that cannot be read what was done
    before is saved. In the further processes of a job neither is called.
    """
    with job.state, deferred_interrupt() as told_to_stop:
        saved = job.saved
        if saved:
            if job.leads:
                restore(saved.arrays)
            log.info("going on from %s %d", unit, saved.step)
        work = Items(job, total, saved.step if saved else 0, keep, told_to_stop)
        job.progress.start(total, unit, work.first)
        try:
            yield work
        except UserError:
            work.keep_what_is_done()
            raise
