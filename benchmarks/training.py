"""Steps of the two trainings against a bare loop over tensors that are in memory already.

    python benchmarks/training.py [--threads 2] [--turns 9] [--steps 40]

Draws streets, runs the stages before, and then `train_source` and `retrain` as they are, with the
embedded default's network, sizes, batches and augmentation. Every so many steps the training stops
and a bare loop makes as many: the same network, loss, optimiser, batch, threads and precision, on
images that are normalised already; nothing is read, augmented, checked, written down or saved in
it. So both take turns in one process. That both compute the same loss is asserted before.

A row for images that are kept in memory after they were decoded once (what the default does), and
one where every image and patch is decoded anew each time, as with a set that does not fit.
Ratio: steps per second of the training, divided by those of the bare loop.
"""

import argparse
import contextlib
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import yaml
from timing import median_ratio, table

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

import retrain  # noqa: E402
import train_source  # noqa: E402
from scalewise.data import dataset  # noqa: E402
from scalewise.data.cache import ArrayCache  # noqa: E402
from scalewise.job import Job  # noqa: E402
from scalewise.models.network import normalise  # noqa: E402
from scalewise.models.precision import forward  # noqa: E402
from scalewise.plan import Stage  # noqa: E402
from scalewise.training import losses, patch_batches, shares  # noqa: E402
from scalewise.training.optimization import make_optimizer  # noqa: E402
from scalewise.workflow import load_plan  # noqa: E402

KEPT = 8  # batches in the memory of the bare loop
STAGES = {"train_source": train_source, "retrain": retrain}


def settings(images: int) -> dict:
    return {
        "project": "training",
        "data": {
            "source": {"images": images, "seed": 1},
            "target": {"images": images, "seed": 2},
            "validation": {"images": 1, "seed": 3},
        },
        "source_training": {"steps": 30},
        "rounds": {"portions": [1.0]},
        "selection": {"minimum_per_class": 1},
        "experiments": [{"name": "lse", "role": "method"}],
    }


def run_all_before(stage: Stage, threads: int, done: set[str]) -> None:
    """Run what a stage needs, in the order of its needs, each as a program of its own."""
    for source in stage.sources:
        if source.stage.key in done:
            continue
        run_all_before(source.stage, threads, done)
        done.add(source.stage.key)
        script = SCRIPTS / f"{source.stage.name}.py"
        command = [sys.executable, str(script), source.stage.description_path]
        options = ["--threads", str(threads), "--log", "run.log"]
        subprocess.run([*command, *options], check=True)


def bare_loss(s: dict, network, batch) -> torch.Tensor:
    """The loss of a step, of images that are normalised: (images, labels[, patches' labels])."""
    images, labels, *of_patches = batch
    align = network.align_corners
    logits = forward(network, images)
    if not of_patches:
        return losses.cross_entropy(logits, labels, align_corners=align)
    parts = logits.split([len(labels), len(of_patches[0])])
    total = 0
    for k, (part, true) in enumerate(zip(parts, (labels, *of_patches), strict=True)):
        each = losses.pixel_cross_entropy(part, true, align_corners=align)
        total = total + losses.labelled_mean(each, true)
        if k:
            total = total + losses.focal_term(each, true, **s["focal"])
    return total


def in_memory(batch, preprocessing: dict) -> tuple:
    """A batch as the bare loop has it."""
    (images, labels), patches = batch if not isinstance(batch[0], torch.Tensor) else (batch, None)
    labels = [labels]
    if patches is not None:
        images, labels = torch.cat([images, patches.images]), [*labels, patches.labels]
    x = normalise(images, preprocessing).contiguous(memory_format=torch.channels_last)
    return (x, *labels)


class Turns:
    """Stands where the training calls its loop: runs it, with a bare loop in turns."""

    def __init__(self, turns: int, steps: int):
        self._turns, self._steps = turns, steps
        # of each turn: seconds and CPU seconds of a step
        self.training: list[tuple[float, float]] = []
        self.bare: list[tuple[float, float]] = []

    def __call__(self, train: Callable, job: Job, network, make_batch, loss_parts, **kwargs):
        s = job.settings
        given = kwargs.get("carried")
        assert not given, "the default carries nothing"
        own = copy.deepcopy(network)
        optimizer = make_optimizer(own, s["optimizer"])
        made = [make_batch(k) for k in range(KEPT)]
        preprocessing = s["network"]["preprocessing"] if "network" in s else self.preprocessing
        kept = [in_memory(batch, preprocessing) for batch in made]
        self._require_equal(s, network, own, loss_parts, made, kept)

        def bare() -> None:
            for k in range(self._steps):
                optimizer.zero_grad(set_to_none=True)
                bare_loss(s, own, kept[k % KEPT]).backward()
                optimizer.step()

        count, begun = 0, self._now()
        progress, advance = job.progress, job.progress.advance

        def advanced(*args, **said) -> None:
            nonlocal count, begun
            advance(*args, **said)
            count += 1
            if count % self._steps:
                return
            of_training = self._since(begun)
            begun = self._now()
            bare()
            if count > self._steps:  # the first turn warms up
                self.training.append(of_training)
                self.bare.append(self._since(begun))
            begun = self._now()

        progress.advance = advanced
        kwargs["steps"] = self._steps * (self._turns + 1)
        train(job, network, make_batch, loss_parts, **kwargs)

    def _require_equal(self, s, network, own, loss_parts, made, kept) -> None:
        """Both compute the same loss; without dropout, which each draws for itself."""
        modes = {m: m.training for n in (network, own) for m in n.modules()}
        for module in modes:
            module.eval()
        with torch.no_grad():
            shares.begin_step(0)
            for batch, mine in zip(made, kept, strict=True):
                total = sum(part["loss"] for part in loss_parts(batch))
                torch.testing.assert_close(bare_loss(s, own, mine), total)
        for module, mode in modes.items():
            module.training = mode

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def _since(self, begun: tuple[float, float]) -> tuple[float, float]:
        return tuple((b - a) / self._steps for a, b in zip(begun, self._now(), strict=True))


@contextlib.contextmanager
def decoding_anew():
    """Within this nothing that was decoded is kept."""
    before = dataset.ArrayCache
    nothing = partial(ArrayCache, 0)
    dataset.ArrayCache = patch_batches.ArrayCache = nothing
    try:
        yield
    finally:
        dataset.ArrayCache = patch_batches.ArrayCache = before


def measured(stage: Stage, threads: int, turns: int, steps: int) -> Turns:
    """Run the script of a stage, with a bare loop in turns."""
    result, script = Turns(turns, steps), STAGES[stage.name]
    if stage.name == "retrain":
        before = next(source.stage for source in stage.sources if source.stage.name in STAGES)
        result.preprocessing = before.settings["network"]["preprocessing"]
    job = Job(stage.description(), threads, 1)
    job.save_minutes = 1e9
    job.folder.mkdir(parents=True, exist_ok=True)
    train = script.train
    script.train = partial(result, train)
    try:
        with job.state:
            getattr(script, stage.name)(job)
    finally:
        script.train = train
        job.state.remove()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40, help="of a turn")
    parser.add_argument("--images", type=int, default=80, help="of each set")
    parser.add_argument("--settings", help="that differ, as YAML, such as 'network: {width: 16}'")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        Path("settings.yaml").write_text(yaml.safe_dump(settings(arguments.images)))
        layers = ["settings.yaml"]
        if arguments.settings:
            Path("more.yaml").write_text(arguments.settings)
            layers.append("more.yaml")
        plan = load_plan([Path(layer) for layer in layers])
        plan.record()
        stages = {name: stage for r in plan.rounds for name, stage in r.stages.items()}
        done: set[str] = set()
        for name in STAGES:
            run_all_before(stages[name], arguments.threads, done)
        for name in STAGES:
            for how, caching in (("kept", contextlib.nullcontext), ("anew", decoding_anew)):
                with caching():
                    found = measured(
                        stages[name], arguments.threads, arguments.turns, arguments.steps
                    )
                (wall, cpu), (bare_wall, bare_cpu) = (
                    zip(*times, strict=True) for times in (found.training, found.bare)
                )
                rows.append(
                    [
                        f"{name}, {how}",
                        *(f"{1 / median(t):.2f}" for t in (bare_wall, wall)),
                        f"{median_ratio(bare_wall, wall):.3f}",
                        *(f"{1e3 * median(t):.1f}" for t in (bare_cpu, cpu)),
                        f"{median_ratio(bare_cpu, cpu):.3f}",
                    ]
                )
    head = ["", "bare steps/s", "steps/s", "ratio", "bare CPU ms", "CPU ms", "ratio by CPU time"]
    print(f"{arguments.threads} threads, {arguments.turns} turns of {arguments.steps} steps")
    print(table(head, rows))


if __name__ == "__main__":
    main()
