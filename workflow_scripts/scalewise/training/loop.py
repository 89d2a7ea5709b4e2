"""The training loop, shared by source training and the rounds."""

import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.training.optimization import learning_rate, make_optimizer
from scalewise.training.optimizer_state import restore_moments
from scalewise.training.randomness import derived_seed
from scalewise.training.state import StateInUse, TrainingState

Batch = TypeVar("Batch")
AHEAD = 4  # batches made while the network works
CHECK_EVERY = 20  # steps between looks at the loss: looking makes a GPU wait


def prefetch(make: Callable[[int], Batch], first: int, end: int) -> Iterator[tuple[int, Batch]]:
    """Yield (step, make(step)) in order; the next few are made meanwhile in another thread."""
    pool = ThreadPoolExecutor(1)
    try:
        waiting = [pool.submit(make, step) for step in range(first, min(first + AHEAD, end))]
        for step in range(first, end):
            batch = waiting.pop(0).result()
            if step + AHEAD < end:
                waiting.append(pool.submit(make, step + AHEAD))
            yield step, batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


def train(
    job: Job,
    model: nn.Module,
    make_batch: Callable[[int], Batch],
    loss_parts: Callable[[Batch], Iterable[dict[str, Tensor]]],
    *,
    terms: list[str],
    steps: int,
    seed: int,
    optimizer_settings: dict,
    schedule: dict,
    finish: Callable[[list[str], np.ndarray, torch.optim.Optimizer], None],
    may_be_nan: Collection[str] = (),
    carried: dict[str, Tensor] | None = None,
) -> None:
    """Train in place from the last saved state, or from the start.

    Args:
        job: says how often the state is saved, and where.
        model: on its device, in the mode it is to be trained in.
        make_batch: step -> batch; a function of the seed and the step alone. Runs in a thread.
        loss_parts: batch -> parts of its loss, the sum of which is minimised. A part is its terms
            by name, `loss` among them; its gradient is taken, and its memory given back, before
            the next part is asked for.
        terms: names of the terms, in the order of the columns; those of all parts are summed.
        steps: number of steps.
        seed: seed of this training.
        optimizer_settings, schedule: see `scalewise.training.optimization`.
        finish: writes the results, given the columns of training.csv, float64 (steps, columns) and
            the optimiser; the saved state is removed only after it.
        may_be_nan: terms that may be NaN without an end to the training.
        carried: moments of an earlier optimiser to begin with, see `optimizer_state`.

    Raises: UserError when the loss is not finite, or another process trains this stage;
        KeyboardInterrupt when told to stop, after the state is saved.
    """
    optimizer = make_optimizer(model, optimizer_settings)
    if carried:
        restore_moments(optimizer, model, carried)
    excused = np.array([term in may_be_nan for term in terms])
    columns = ["learning_rate", *terms]
    rows = np.zeros((steps, len(columns)))
    waiting: list[tuple[int, Tensor]] = []
    said: dict[str, float] = {}

    def settle() -> None:
        """Bring the losses over from the device; stop where one is not finite."""
        if not waiting:
            return
        values = torch.stack([v for _, v in waiting]).cpu().double().numpy()
        for (step, _), value in zip(waiting, values, strict=True):
            rows[step, 1:] = value
            if not (np.isfinite(value) | (excused & np.isnan(value))).all():
                shown = ", ".join(f"{k} {v:g}" for k, v in zip(terms, value, strict=True))
                raise UserError(
                    f"the loss is not finite at step {step} ({shown}): lower the learning rate "
                    "(optimizer.learning_rate) of this training, or look at its data"
                )
        waiting.clear()
        said["loss"] = float(values[:, terms.index("loss")].mean())

    # the order of sums, and so the last bits, are those of the threads and of the kind of device
    kind = next(model.parameters()).device.type
    try:
        with (
            TrainingState(job.state_folder, f"{job.key}, {job.threads} threads, {kind}") as state,
            deferred_interrupt() as told_to_stop,
        ):
            first = state.load(model, optimizer, rows)
            job.progress.start(steps, "step", first)
            saved = time.monotonic()
            with closing(prefetch(make_batch, first, steps)) as batches:
                for step, batch in batches:
                    rate = learning_rate(optimizer_settings, schedule, step, steps)
                    for group in optimizer.param_groups:
                        group["lr"] = rate * group["factor"]
                    rows[step, 0] = rate
                    torch.manual_seed(derived_seed(seed, "dropout", step))
                    optimizer.zero_grad(set_to_none=True)
                    sums: dict[str, Tensor] = {}
                    for part in loss_parts(batch):
                        part["loss"].backward()
                        for name, value in part.items():
                            value = value.detach()
                            sums[name] = sums[name] + value if name in sums else value
                    optimizer.step()
                    waiting.append((step, torch.stack([sums[name] for name in terms])))
                    if len(waiting) == CHECK_EVERY:
                        settle()
                    job.progress.advance(1, **said)
                    if told_to_stop or time.monotonic() - saved > 60 * job.save_minutes:
                        settle()
                        state.save(step + 1, model, optimizer, rows[: step + 1])
                        saved = time.monotonic()
                    if told_to_stop:
                        raise KeyboardInterrupt
            settle()
            finish(columns, rows, optimizer)
            state.remove()
    except StateInUse as error:
        raise UserError(str(error)) from None
