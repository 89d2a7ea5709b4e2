"""`iou.csv`: per class IoU in percent and its pixels; `confusion.csv`: what was taken for what."""

from pathlib import Path

import numpy as np

from scalewise.artifacts import table

COLUMNS = {"class": str, "iou": float, "intersection": int, "union": int, "pixels": int}


def write_confusion(path: str | Path, matrix: np.ndarray, classes: list[str]) -> None:
    """matrix: int64 (K, K), rows the label, columns the prediction, in pixels."""
    table.write(
        path,
        ["label", *classes],
        ([name, *map(int, row)] for name, row in zip(classes, matrix, strict=True)),
    )


def write_iou(
    path: str | Path,
    classes: list[str],
    iou: np.ndarray,
    intersection: np.ndarray,
    union: np.ndarray,
    pixels: np.ndarray,
) -> None:
    """iou in percent, NaN (an empty cell) where the union is empty; the rest in pixels."""
    table.write(
        path,
        list(COLUMNS),
        (
            [name, float(i), int(n), int(u), int(p)]
            for name, i, n, u, p in zip(classes, iou, intersection, union, pixels, strict=True)
        ),
    )
