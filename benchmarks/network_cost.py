"""What a network costs at the paper's size, an image and a step: operations, CPU time, memory.

    python benchmarks/network_cost.py                  # all networks: about 15 minutes of one core
    python benchmarks/network_cost.py --networks compact --repeats 5
    python benchmarks/network_cost.py --table workflow_scripts/scalewise/network_costs.csv

Of each network with drawn weights and 19 classes, on drawn images of 512 x 1024 in float32 with
one thread: the forward pass of an image, scaled up to its size, and a training step on one image
(forward, loss, backward, optimiser as in the network's configuration). Operations are counted by
torch without computing anything: a multiplication and an addition are two, and a step is three
forward passes (backward, one for the inputs of each layer and one for its weights). CPU seconds are
the median of the repeats, after one that is not timed; memory is the peak of a process that does
this and nothing else, torch itself included. With --table it writes what `make explain` goes by.

What is compared here is networks and not two ways to one result, so that there is nothing to check
for equality.
"""

import argparse
import csv
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from timing import table

SIZE, CLASSES = (512, 1024), 19
SEGFORMERS = {f"segformer_{v}": {"name": "segformer", "variant": v} for v in
              ("b0", "b1", "b2", "b3", "b4", "b5")}  # fmt: skip
NETWORKS = {
    "compact": {"name": "compact", "width": 32, "dropout": 0.1},
    "fcn8s_vgg16": {"name": "fcn8s_vgg16", "width": 64, "hidden": 4096, "dropout": 0.5},
    "deeplabv2_resnet101": {
        "name": "deeplabv2_resnet101",
        "width": 64,
        "classifier_branches": 4,
        "freeze_batchnorm_affine": True,
    },
    **{k: {**v, "dropout": 0.1, "drop_path": 0.1} for k, v in SEGFORMERS.items()},
}
TIMED = ("compact", "fcn8s_vgg16", "deeplabv2_resnet101", "segformer_b0", "segformer_b5")
SGD = {"name": "sgd", "learning_rate": 1e-6, "weight_decay": 5e-4, "momentum": 0.9,
       "beta2": 0.99, "bias_rate": 1, "classifier_rate": 10}  # fmt: skip
COLUMNS = (
    "network", "parameters", "forward_flop", "forward_seconds", "step_seconds", "forward_bytes",
    "step_bytes",
)  # fmt: skip


def forward(model, images):
    """Logits of normalised images (N, 3, H, W) at their own size."""
    from scalewise.models.network import upsample

    return upsample(model(images), SIZE, align_corners=model.align_corners)


def prepared(name: str, step: bool, device: str):
    """A network, and a function that does the work once."""
    import torch

    from scalewise.models import store
    from scalewise.models.network import freeze_batchnorm
    from scalewise.training.losses import cross_entropy
    from scalewise.training.optimization import make_optimizer

    with torch.device(device):
        model = store.build(NETWORKS[name], CLASSES)
        images = torch.randn(1, 3, *SIZE)
        labels = torch.randint(CLASSES, (1, *SIZE))
    if device != "meta":
        model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    if not step:
        model.eval()
        return model, lambda: forward(model, images)
    freeze_batchnorm(model.train())
    optimizer = {**SGD, "name": "sgd" if "deeplab" in name else "adam"}
    optimizer = make_optimizer(model, optimizer) if device != "meta" else None

    def work():
        cross_entropy(model(images), labels, align_corners=model.align_corners).backward()
        if optimizer:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return model, work


def counted(name: str) -> tuple[int, int]:
    """Parameters, and operations of the forward pass; nothing is computed. (Torch counts too many
    in the backward pass of convolutions by groups.)"""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, work = prepared(name, False, "meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


def measured(name: str, step: bool, repeats: int) -> tuple[float, int]:
    """CPU seconds, and peak bytes of this process."""
    import torch

    torch.set_num_threads(1)
    _, work = prepared(name, step, "cpu")
    seconds = []
    with torch.set_grad_enabled(step):
        for _ in range(repeats + 1):
            begun = time.process_time()
            work()
            seconds.append(time.process_time() - begun)
    return median(seconds[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_a_process_of_its_own(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def row_of(name: str, repeats: int) -> dict:
    parameters, operations = in_a_process_of_its_own(counted, name)
    row = {"network": name, "parameters": parameters, "forward_flop": operations}
    if name in TIMED:
        for work, step in (("forward", False), ("step", True)):
            seconds, peak = in_a_process_of_its_own(measured, name, step, repeats)
            row[f"{work}_seconds"], row[f"{work}_bytes"] = f"{seconds:.3g}", peak
    return row


def shown(row: dict) -> list[str]:
    def of(column: str, unit: float, form: str) -> str:
        return format(float(row[column]) / unit, form) if column in row else "-"

    return [
        row["network"],
        of("parameters", 1e6, ".2f"),
        of("forward_flop", 1e9, ".0f"),
        of("forward_seconds", 1, ".2f"),
        of("forward_bytes", 2**30, ".1f"),
        of("step_seconds", 1, ".2f"),
        of("step_bytes", 2**30, ".1f"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", type=Path, help="write the numbers here as well (CSV)")
    arguments = parser.parse_args()
    rows: list[dict] = []
    for name in arguments.networks:
        rows.append(row_of(name, arguments.repeats))
        if arguments.table:
            write(arguments.table, rows)  # each as it comes: the large ones take minutes
    head = ["network", "M parameters", "image: GFLOP", "CPU s", "GiB", "step: CPU s", "GiB"]
    print(table(head, [shown(row) for row in rows]))


def write(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
