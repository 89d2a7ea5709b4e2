"""What the stages of a plan take before they run: time, memory and disk.

Finished results tell it best ("measured"): those of the same stage, network and working size. Where
there are none it is computed, for the stages that run the network, from how many images go through
it and what one of them costs: `network_costs.csv`, counted and measured by
benchmarks/network_cost.py. docs/costs.md has the formulas and what they leave out.
"""

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scalewise.artifacts.benchmark_tsv import peak_memory
from scalewise.outlook import Durations, size_of_work, units_of
from scalewise.plan import NETWORK_STAGES, OUTPUTS, RESULTS, Source, Stage
from scalewise.selftraining.selection import step_count

TABLE = Path(__file__).with_name("network_costs.csv")
MEASURED_PIXELS = 512 * 1024  # of the image that the table is about
AT_ONCE = 8  # images of a pass: scalewise.inference.BATCH, which would import torch
LEAST_MEMORY = 250e6  # of a process with torch that does nothing
PATCH_BYTES = 4.1  # of patches.h5 for each pixel of a crop, on photographs (docs/costs.md)
MAP_BYTES = 0.1  # of predictions.h5 for each of its pixels


@dataclass(frozen=True)
class Machine:
    """What computes: a device that sustains so many operations a second, or, where that is None,
    so many threads of a processor like the one that the table was measured on."""

    threads: int
    operations: float | None = None


@dataclass(frozen=True)
class Work:
    """What goes through the network in a job, in pixels: `seen` in forward passes, `learnt` in
    training steps; `held` is what is in memory at once."""

    seen: float
    learnt: float
    held: float


@dataclass(frozen=True)
class Cost:
    """Of one job: seconds, bytes of memory at most, bytes on the disk when it is finished; None
    where nobody knows. `measured`: by what finished here; else computed."""

    seconds: float | None
    memory: float | None
    disk: float | None
    measured: bool

    @staticmethod
    def unknown() -> "Cost":
        return Cost(None, None, None, measured=False)


class Finished:
    """What finished jobs of one kind of stage left and held, by network and working size."""

    def __init__(self, records: Sequence[Mapping]):
        self._durations: dict[str, Durations] = {}
        self._disk: dict[str, list[float]] = {}
        self._memory: dict[str, list[float]] = {}
        for record in records:
            size = size_of_work(record.get("config"))
            self._durations.setdefault(size, Durations([])).add(record)
            files = record.get("files") or {}
            self._disk.setdefault(size, []).append(sum(f["bytes"] for f in files.values()))
            peak = peak_memory(f"{RESULTS}/benchmarks/{record['stage']}/{record['key']}.tsv")
            if peak is not None:
                self._memory.setdefault(size, []).append(peak * 1e6)

    def cost(self, stage: Stage) -> Cost | None:
        """None where no job of this network and working size tells."""
        size = size_of_work(_config(stage))
        if size not in self._durations:
            return None
        return Cost(
            self._durations[size].seconds_for(stage),
            max(self._memory.get(size, []), default=None),
            statistics.median(self._disk[size]),
            measured=True,
        )


def cost_of(stage: Stage, finished: Finished, machine: Machine) -> Cost:
    """What a job takes, as well as can be said now."""
    measured = finished.cost(stage)
    if measured is not None and measured.seconds is not None:
        return measured
    config = _config(stage)
    network = network_costs(config["network"]) if config else None
    if network is None or stage.name not in {*NETWORK_STAGES, "import_weights"}:
        return Cost.unknown()
    disk = _disk(stage, config, network)
    if stage.name == "import_weights":
        return Cost(None, None, disk, measured=False)
    work = work_of(stage, config)
    if work is None:
        return Cost(None, None, disk, measured=False)
    return Cost(_seconds(work, network, machine), _memory(work, network), disk, measured=False)


def longest_chain(seconds: Mapping[tuple[str, str], float], stages: Sequence[Stage]) -> float:
    """Seconds of the longest chain of jobs that wait for one another: no number of devices makes a
    run shorter. seconds: by stage and key; a job without any takes none."""
    of_key = {(stage.name, stage.key): stage for stage in stages}
    chains: dict[tuple[str, str], float] = {}

    def chain(which: tuple[str, str]) -> float:
        if which not in of_key:
            return 0.0  # it is finished
        if which not in chains:
            stage = of_key[which]
            before = [source.stage for source in stage.sources] + stage.after
            longest = max((chain((s.name, s.key)) for s in before), default=0.0)
            chains[which] = longest + seconds.get(which, 0.0)
        return chains[which]

    return max(map(chain, of_key), default=0.0)


def work_of(stage: Stage, config: Mapping) -> Work | None:
    """What goes through the network; None where the number of its images is unknown."""
    size = math.prod(config["data"]["size"])
    source = math.prod(config["data"]["source_size"] or config["data"]["size"])
    units = expected_units(stage)
    if units is None:
        return None
    settings = stage.settings
    if stage.name == "train_source":
        return Work(0, units * settings["batch"] * source, settings["batch"] * source)
    if stage.name == "retrain":
        parts = [settings["source_batch"] * source]
        if settings["target_weight"] > 0:
            parts.append(settings["target_batch"] * size)
        seen = parts[-1] if (settings.get("teacher") or {}).get("momentum") else 0
        return Work(units * seen, units * sum(parts), max(parts))
    views = 1.0
    if prediction := settings.get("prediction"):
        views = sum(s**2 for s in prediction["scales"]) * (2 if prediction["flip"] else 1)
    images = units
    if stage.name == "infer_patches":
        images += min(settings["claim_images"], units) * _patches(settings)
    return Work(images * views * size, 0, AT_ONCE * size)


def expected_units(stage: Stage) -> int | None:
    """`units_of` a stage, and where what it goes by is still to be made how many there may be: of a
    selection at most the portion p of the images."""
    known = units_of(stage)
    if known is not None:
        return known
    if stage.name in ("retrain", "infer_patches"):
        selected = _selected(stage.inputs["selected"])
        if selected is None:
            return None
        if stage.name == "retrain":
            return step_count(selected, stage.settings)
        return selected + stage.settings["extra_images"]
    images = stage.inputs.get("target_images") or stage.inputs.get("validation_images")
    return _images(images) if isinstance(images, Source) else None


def _selected(selection: Source) -> int | None:
    settings, scored = selection.stage.settings, selection.stage.inputs["scores"].stage
    while "target_images" not in scored.inputs:  # what was accepted stands for what scored it
        scored = scored.inputs["scores"].stage
    images = _images(scored.inputs["target_images"])
    if images is None:
        return None
    least = settings.get("minimum_per_class", 0) * len(settings["classes"])
    return min(images, max(math.ceil(settings["portion"] * images), least))


def _images(source: Source) -> int | None:
    """Images of a set that may not be scanned yet."""
    scan = source.stage
    if drawn := scan.inputs.get("drawn"):
        return drawn.stage.settings["images"]
    try:
        index = json.loads(Path(scan.locations["image_index"]).read_text(encoding="utf-8"))
        return len(index["files"])
    except (OSError, ValueError, KeyError):
        return None


# --- what the network costs -----------------------------------------------------------------------


@cache
def _table() -> dict[str, dict[str, float]]:
    with open(TABLE, encoding="utf-8", newline="") as file:
        return {
            row.pop("network"): {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        }


def network_costs(settings: Mapping) -> dict[str, float] | None:
    """The row of a network, of another width by its square; None where the table lacks it."""
    name = settings["name"]
    row = _table().get(f"{name}_{settings['variant']}" if name == "segformer" else name)
    if row is None:
        return None
    published = {"compact": 32}.get(name, 64)
    factor = (settings.get("width", published) / published) ** 2
    row = {column: value * factor for column, value in row.items()}
    if "forward_seconds" not in row:  # not measured: by its operations, at the rate of the largest
        like = _table()["segformer_b5"]
        share = row["forward_flop"] / like["forward_flop"]
        row.update({name: share * value for name, value in like.items() if name not in row})
    return row


def _seconds(work: Work, network: Mapping, machine: Machine) -> float:
    seen, learnt = work.seen / MEASURED_PIXELS, work.learnt / MEASURED_PIXELS
    if machine.operations:
        # a step is three passes: forward, and backward by inputs and by weights
        return (seen + 3 * learnt) * network["forward_flop"] / machine.operations
    one_thread = seen * network["forward_seconds"] + learnt * network["step_seconds"]
    return one_thread / machine.threads


def _memory(work: Work, network: Mapping) -> float:
    """Of weights (in training gradients and moments too), which do not grow, and of all else."""
    step = work.learnt > 0
    weights = network["parameters"] * 4 * (3 if step else 1) + LEAST_MEMORY
    peak = network["step_bytes" if step else "forward_bytes"]
    return weights + max(peak - weights, 0) * work.held / MEASURED_PIXELS


def _disk(stage: Stage, config: Mapping, network: Mapping) -> float | None:
    """Bytes of the files that a stage leaves; what is small beside them is left out."""
    disk = 0.0
    if "model.safetensors" in OUTPUTS[stage.name]:
        disk += 4 * network["parameters"]
    if stage.settings.get("carry_optimizer"):
        moments = 1 if stage.settings["optimizer"]["name"] == "sgd" else 2
        disk += moments * 4 * network["parameters"]
    if stage.name in ("infer_patches", "score_target"):
        images = expected_units(stage)
        if images is None:
            return None
        pixels = images * math.prod(config["data"]["size"])
        if stage.name == "score_target":
            return pixels / 16 * MAP_BYTES
        return pixels * _patches(stage.settings) * _share(stage.settings["scale"]) * PATCH_BYTES
    return disk


def _patches(settings: Mapping) -> int:
    """Of an image: one is enough where each would be the whole of it."""
    return 1 if settings["scale"] == 1 else settings["per_image"]


def _share(scale: float | list | dict) -> float:
    """Of an image that a crop covers, on average over several scales."""
    several = scale if isinstance(scale, list) else [scale]
    ends = [(s["from"], s["to"]) if isinstance(s, dict) else (s,) for s in several]
    return statistics.mean(statistics.mean(1 / max(e, 1) ** 2 for e in pair) for pair in ends)


def _config(stage: Stage) -> dict:
    return stage.config_of(next(iter(stage.users), None))
