"""What precision, memory layout, compiling and batch size do to the passes of a network.

    python benchmarks/network_passes.py [--threads 1] [--repeats 9] [--compile]

First CPU time of a training step (forward, loss, backward) and of scoring (forward alone) of the
compact network at the embedded default's size, for each way that `precision` offers, in turns; the
ratio is that to float32 with channels last. With --compile torch.compile stands among them, which
takes a minute to begin. Then CPU time per image of scoring, for several batch sizes. What a way
computes is compared with float32 before it is timed.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from timing import interleaved, median_ratio, table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from scalewise.models.compact import Compact  # noqa: E402
from scalewise.models.precision import FLOAT32, forward, to_device  # noqa: E402
from scalewise.training.losses import cross_entropy  # noqa: E402

CLASSES = 19
WAYS = {
    "float32, channels last": {},
    "float32": {"channels_last": False},
    "bfloat16, channels last": {"autocast": "bfloat16"},
    "float16, channels last": {"autocast": "float16"},
}
COMPILED = {
    "float32, channels last, compiled": {"compile": True},
    "bfloat16, channels last, compiled": {"autocast": "bfloat16", "compile": True},
}


def network(width: int, precision: dict) -> Compact:
    torch.manual_seed(0)
    made = Compact(CLASSES, width=width, dropout=0).train()
    to_device(made, torch.device("cpu"), {**FLOAT32, **precision})
    return made


def step(made: Compact, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    def work() -> None:
        cross_entropy(forward(made, images), labels).backward()

    return work


def scoring(made: Compact, images: torch.Tensor) -> Callable[[], None]:
    made = made.eval()

    @torch.inference_mode()
    def work() -> None:
        forward(made, images)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--width", type=int, default=32, help="of the network")
    parser.add_argument("--size", type=int, nargs=2, default=[96, 192])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ways = {**WAYS, **(COMPILED if arguments.compile else {})}
    draws = torch.Generator().manual_seed(torch.seed() % 2**63)
    images = torch.randn(max(arguments.batches), 3, *arguments.size, generator=draws)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (arguments.batch, *arguments.size), generator=draws)
    batch = images[: arguments.batch], labels.to(torch.uint8)

    trained = {name: network(arguments.width, way) for name, way in ways.items()}
    asked = {name: network(arguments.width, way) for name, way in ways.items()}
    first = next(iter(ways))
    with torch.no_grad():
        expected = forward(trained[first], batch[0])
        for name, made in trained.items():
            close = 0.1 if "16" in name else 1e-3
            torch.testing.assert_close(forward(made, batch[0]), expected, atol=close, rtol=close)

    steps = interleaved({n: step(m, *batch) for n, m in trained.items()}, arguments.repeats)
    scores = interleaved({n: scoring(m, batch[0]) for n, m in asked.items()}, arguments.repeats)
    rows = []
    for name in ways:
        row = [name]
        for seconds in (steps, scores):
            row.append(f"{1e3 * median(seconds[name]):.1f}")
            row.append(f"{median_ratio(seconds[name], seconds[first]):.2f}")
        rows.append(row)
    print(table(["", "step ms", "ratio", "scoring ms", "ratio"], rows))

    made = asked[first]
    works = {size: scoring(made, images[:size]) for size in arguments.batches}
    seconds = interleaved({str(size): work for size, work in works.items()}, arguments.repeats)
    rows = [[size, f"{1e3 * median(s) / int(size):.2f}"] for size, s in seconds.items()]
    print()
    print(table(["batch", "scoring ms per image"], rows))


if __name__ == "__main__":
    main()
