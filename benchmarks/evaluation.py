"""What evaluating an image at the label's own size costs beside the network.

    python benchmarks/evaluation.py

From the logits of a 512 x 1024 input, at stride 4 and 8, to labels of 1024 x 2048 and their
confusion matrix, as `evaluate` computes them, against interpolating all classes and taking
torch.argmax (and torch.max, which is several times as fast) without any matrix. CPU time, one
thread.

Before anything is timed: labels may differ where two classes tie within the rounding of float32,
nowhere else, and the matrix must be that of a naive count. Bounds: 3 times less than with argmax
at 10 % of the pixels at a border (segmentation_like.py), and 15 ms for the matrix.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from segmentation_like import SHARES, border_share, draw_logits, seeded
from timing import interleaved, median_ratio, table

from scalewise.evaluation import confusion_matrix
from scalewise.scaled_labels import scaled_labels
from scalewise.taxonomy import IGNORE

TIE = 1e-5  # of the largest logit


def everything(logits: torch.Tensor, size: tuple[int, int], align_corners: bool) -> torch.Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)


def count_ties(logits: torch.Tensor, size: tuple[int, int], align_corners: bool) -> int:
    """Pixels whose label is another than that of interpolating everything. Ends the program where
    the logits of both classes do not tie."""
    found = scaled_labels(logits, size, align_corners=align_corners).long()
    values = everything(logits, size, align_corners)
    expected = values.argmax(dim=1)
    gap = values.gather(1, expected[:, None]) - values.gather(1, found[:, None])
    if gap.max() > TIE * values.abs().max():
        sys.exit("evaluation: labels differ from those of interpolating everything by no tie")
    return int((found != expected).sum())


def draw_label(prediction: np.ndarray, classes: int, generator: torch.Generator) -> np.ndarray:
    """A label that agrees with a prediction in places: it is moved down by a tenth, some pixels are
    of any class, and some do not count."""
    draws = np.random.default_rng(int(torch.randint(0, 2**31, (1,), generator=generator)))
    label = np.roll(prediction, prediction.shape[0] // 10, axis=0)
    other = draws.random(label.shape) < 0.01
    label[other] = draws.integers(classes, size=other.sum())
    label[-label.shape[0] // 8 :] = IGNORE
    return label


def naive_matrix(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """As many passes as there are pairs of classes."""
    return np.array(
        [
            [np.count_nonzero((label == a) & (prediction == b)) for b in range(classes)]
            for a in range(classes)
        ]
    )


def row(stride: int, share: float, args, generator: torch.Generator) -> tuple:
    """A row of the table, after the results were compared."""
    inner = tuple(side // stride for side in args.size)
    size = tuple(2 * side for side in args.size)
    logits = draw_logits(args.classes, inner, share, generator)
    align_corners = args.align_corners
    ties = count_ties(logits, size, align_corners)

    def labels() -> np.ndarray:
        return scaled_labels(logits, size, align_corners=align_corners)[0].numpy()

    prediction = labels()
    label = draw_label(prediction, args.classes, generator)
    matrix = confusion_matrix(label, prediction, args.classes)
    if not np.array_equal(matrix, naive_matrix(label, prediction, args.classes)):
        sys.exit("evaluation: the confusion matrix is not that of a naive count")
    works = {
        "argmax": lambda: everything(logits, size, align_corners).argmax(dim=1),
        "max": lambda: everything(logits, size, align_corners).max(dim=1).indices,
        "ours": lambda: confusion_matrix(label, labels(), args.classes),
        "matrix": lambda: confusion_matrix(label, prediction, args.classes),
    }
    seconds = interleaved(works, args.repeats)
    return (
        stride,
        f"{border_share(logits):.1%}",
        *(f"{1000 * np.median(times):.1f}" for times in seconds.values()),
        *(f"{median_ratio(seconds[name], seconds['ours']):.1f}" for name in ("argmax", "max")),
        f"{ties} of {prediction.size}",
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--strides", type=int, nargs="+", default=(4, 8))
    parser.add_argument("--align-corners", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--seed", type=int)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    generator = seeded(args.seed)
    rows = [row(stride, share, args, generator) for stride in args.strides for share in args.shares]
    print(f"\none image, {2 * args.size[0]} x {2 * args.size[1]}, {args.classes} classes: CPU time")
    head = ["stride", "at a border", "argmax, ms", "max, ms", "ours, ms", "its matrix, ms"]
    print(table([*head, "argmax / ours", "max / ours", "ties"], rows))


if __name__ == "__main__":
    main()
