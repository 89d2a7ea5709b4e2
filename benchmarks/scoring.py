"""What scoring an image costs beside the network, against the least that has to be touched.

    python benchmarks/scoring.py

Softmax, maximum, entropy, normalisation and class sums of one image together, as `score_target`
computes them from logits at the working size, against a bare torch.log_softmax over the same
logits, on the CPU with one thread (CPU time) and on CUDA where there is a device (time until it is
done). Before anything is timed, the results are compared with plain formulas and a loop over the
classes: all but the means, which are summed in another order, must be the same bits.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from segmentation_like import SHARES, border_share, draw_logits, seeded
from timing import interleaved, median_ratio, table

from scalewise.selftraining.confidence import (
    Confidence,
    class_statistics,
    normalised_entropy,
    pixel_confidence,
)


def score(logits: torch.Tensor) -> tuple[Confidence, torch.Tensor, tuple]:
    """The confidence, the normalised entropy and the statistics of logits (1, K, H, W)."""
    classes = logits.shape[1]
    sure = pixel_confidence(logits.softmax(dim=1))
    normalised = normalised_entropy(sure.entropy, sure.prediction, classes)
    found = class_statistics(sure.prediction, sure.maximum, normalised, sure.entropy, classes)
    return sure, normalised, found


def compared(logits: torch.Tensor) -> None:
    """End the program where the scores are not those of the plain formulas."""
    sure, normalised, found = score(logits)
    p = logits.softmax(dim=1)
    entropy = -(p * (p + 1e-12).log()).sum(dim=1)
    same = [
        torch.equal(sure.maximum, p.amax(dim=1)),
        torch.equal(sure.prediction.long(), p.argmax(dim=1)),
        torch.equal(sure.entropy, entropy),
    ]
    prediction, entropy = sure.prediction.numpy(), entropy.numpy()
    maps = [sure.maximum.numpy(), normalised.numpy(), entropy]
    for c in range(logits.shape[1]):
        mine = prediction == c
        same.append(found[0][0, c] == mine.sum())
        if not mine.any():
            continue
        low, high = entropy[mine].min(), entropy[mine].max()
        scaled = (entropy[mine] - low) / (high - low) if high > low else np.zeros(mine.sum())
        same.append(np.array_equal(maps[1][mine], scaled.astype(np.float32)))
        means = [values[mine].mean(dtype=np.float64) for values in maps]
        same.append(np.allclose([m[0, c] for m in found[1:]], means, rtol=1e-12, atol=0))
    if not all(same):
        sys.exit("scoring: the scores are not those of the plain formulas")


def timed(logits: torch.Tensor, repeats: int) -> tuple[dict[str, float], float]:
    """Median seconds of both, and the ratio."""
    clock = time.process_time

    if logits.is_cuda:

        def clock() -> float:
            torch.cuda.synchronize(logits.device)
            return time.perf_counter()

    works = {
        "log_softmax": lambda: torch.log_softmax(logits, dim=1),
        "scoring": lambda: score(logits),
    }
    seconds = interleaved(works, repeats, clock)
    ratio = median_ratio(seconds["scoring"], seconds["log_softmax"])
    return {name: float(np.median(times)) for name, times in seconds.items()}, ratio


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    generator = seeded(args.seed)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for share in args.shares:
        logits = draw_logits(args.classes, args.size, share, generator)
        compared(logits)
        for device in devices:
            times, ratio = timed(logits.to(device), args.repeats)
            milliseconds = (f"{1000 * t:.2f}" for t in times.values())
            rows.append((device, f"{border_share(logits):.1%}", *milliseconds, f"{ratio:.2f}"))
    print(f"\none image, {args.size[0]} x {args.size[1]}, {args.classes} classes")
    print(table(["device", "at a border", "log_softmax, ms", "scoring, ms", "ratio"], rows))
    if len(devices) == 1:
        print("CUDA: skipped, there is no device")


if __name__ == "__main__":
    main()
