"""The training loop, shared by source training and the rounds."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scalewise import processes
from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.made_ahead import made_ahead
from scalewise.models.precision import gradient_scaler
from scalewise.resuming import Saving, deferred_interrupt
from scalewise.training import shares, state
from scalewise.training.optimization import learning_rate, make_optimizer
from scalewise.training.optimizer_state import restore_moments
from scalewise.training.randomness import derived_seed

log = logging.getLogger(__name__)
Batch = TypeVar("Batch")
AHEAD = 4  # batches made before they are asked for; as many as there are threads, if that is more
CHECK_EVERY = 20  # steps between looks at the loss: looking makes a GPU wait


def prefetch(make: Callable[[int], Batch], first: int, end: int) -> Iterator[tuple[int, Batch]]:
    """Yield (step, make(step)) in order; see `made_ahead`."""
    return made_ahead(make, range(first, end), max(AHEAD, torch.get_num_threads()))


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
    describe: Callable[[int], str] = lambda step: "",
    after_step: Callable[[int, float], None] = lambda step, rate: None,
    teacher: nn.Module | None = None,
) -> None:
    """Train in place from the last saved state, or from the start.

    Args:
        job: says how often the state is saved, and where.
        model: on its device, in the mode it is to be trained in.
        make_batch: step -> batch; a function of the seed and the step alone. Runs in several
            threads.
        loss_parts: batch -> parts of its loss, the sum of which is minimised. A part is its terms
            by name, `loss` among them; its gradient is taken, and its memory given back, before
            the next part is asked for. Where several processes share a batch, each has fewer images
            and takes the gradient of all parts at once, as DistributedDataParallel needs it.
        terms: names of the terms, in the order of the columns; those of all parts are summed.
        steps: number of steps.
        seed: seed of this training.
        optimizer_settings, schedule: see `scalewise.training.optimization`.
        finish: writes the results, given the columns of training.csv, float64 (steps, columns) and
            the optimiser.
        may_be_nan: terms that may be NaN without an end to the training.
        carried: moments of an earlier optimiser to begin with, see `optimizer_state`.
        describe: step -> what its batch is made of, for the message when its loss is not finite.
        after_step: called with the number of the step and its learning rate when the optimiser has
            changed the weights.
        teacher: a network beside the model that steps change too: a part of the state.

    Raises: UserError when loss or weights are not finite, or another process trains this stage;
        KeyboardInterrupt when told to stop, and whatever making a batch raises, both after the
        state is saved.
    """
    shares.share_layers(model)
    optimizer = make_optimizer(model, optimizer_settings)
    scaler = gradient_scaler(model)
    if carried:
        restore_moments(optimizer, model, carried)
    excused = np.array([term in may_be_nan for term in terms])
    columns = ["learning_rate", *terms]
    rows = np.zeros((steps, len(columns)))
    waiting: list[tuple[int, Tensor]] = []
    said: dict[str, float] = {}

    def diverged(step: int, what: str) -> UserError:
        made_of = describe(step)
        return UserError(
            f"{what} at step {step}: lower the learning rate (optimizer.learning_rate) of this "
            f"training, or look at its data{f' ({made_of})' if made_of else ''}. "
            f"{kept or 'No state was saved yet'}"
        )

    def settle() -> None:
        """Bring the losses over from the device; stop where one is not finite."""
        if not waiting:
            return
        values = torch.stack([v for _, v in waiting]).cpu().double().numpy()
        for (step, _), value in zip(waiting, values, strict=True):
            rows[step, 1:] = value
            if not (np.isfinite(value) | (excused & np.isnan(value))).all():
                shown = ", ".join(f"{k} {v:g}" for k, v in zip(terms, value, strict=True))
                raise diverged(step, f"the loss is not finite ({shown})")
        waiting.clear()
        said["loss"] = float(values[:, terms.index("loss")].mean())

    def settle_all(done: int) -> None:
        """`settle`, and stop where a weight is not finite: neither may be saved as good."""
        settle()
        if not all(bool(p.isfinite().all()) for p in model.parameters()):
            raise diverged(done - 1, "a weight is no longer finite after the step")

    def keep(done: int) -> None:
        nonlocal kept
        settle_all(done)
        arrays = {}
        if job.leads:
            arrays = state.arrays(model, optimizer, rows[:done], teacher, scaler)
        if saving.save(done, arrays):
            kept = f"The state of step {done} is kept in {job.state.folder}"

    with job.state, deferred_interrupt() as told_to_stop:
        first, kept = 0, ""
        if job.saved:
            first = job.saved.step
            state.restore(job.saved.arrays, model, optimizer, rows, teacher, scaler)
            kept = f"The state of step {first} is kept in {job.state.folder}"
            log.info("going on from step %d", first)
        job.progress.start(steps, "step", first)
        saving = Saving(job, first)
        in_parallel = None
        if processes.count() > 1:
            in_parallel = shares.in_parallel(model, loss_parts)
        with closing(prefetch(make_batch, first, steps)) as batches:
            for step in range(first, steps):
                failure = None
                try:
                    _, batch = next(batches)
                except Exception as error:
                    failure = error
                if processes.any_of(failure is not None)[0]:
                    if step > first:
                        keep(step)  # the steps before the file that cannot be read
                    told = processes.first_of(str(failure or ""))
                    raise failure or UserError(told)
                rate = learning_rate(optimizer_settings, schedule, step, steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                rows[step, 0] = rate
                shares.begin_step(derived_seed(seed, "dropout", step))
                optimizer.zero_grad(set_to_none=True)
                sums: dict[str, Tensor] = {}
                for part in [in_parallel(batch)] if in_parallel else loss_parts(batch):
                    scaler.scale(part["loss"]).backward()
                    shares.add(sums, {name: value.detach() for name, value in part.items()})
                scaler.step(optimizer)
                scaler.update()
                after_step(step, rate)
                waiting.append((step, torch.stack([sums[name] for name in terms])))
                if len(waiting) == CHECK_EVERY:
                    settle()
                job.progress.advance(1, **said)
                due = step + 1 < steps and saving.is_due(step + 1)
                stop, due = processes.any_of(bool(told_to_stop), due)
                if stop or due:
                    keep(step + 1)
                if stop:
                    raise KeyboardInterrupt
        settle_all(steps)
        if job.leads:
            finish(columns, rows, optimizer)
