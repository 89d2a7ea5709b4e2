"""`scores.csv`: image x class: pixels predicted, mean max-probability, mean entropies.

One row for every class predicted in an image (paper, section 3: confident images)."""

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalewise.artifacts import table

_TYPES = {
    "image": str,
    "class": str,
    "pixels": int,
    "mean_probability": float,
    "mean_entropy": float,
    "entropy": float,
}


@dataclass(frozen=True)
class Scores:
    """images: n ids; pixels int64 (n, K); mean_probability, mean_entropy (normalised, 0..1) and
    entropy (the mean in nats) float64 (n, K), NaN where the class is not predicted in the image."""

    images: list[str]
    pixels: np.ndarray
    mean_probability: np.ndarray
    mean_entropy: np.ndarray
    entropy: np.ndarray


def write(path: str | Path, scores: Scores, classes: list[str]) -> None:
    def rows():
        for i, c in np.argwhere(scores.pixels > 0):
            yield (
                scores.images[i],
                classes[c],
                int(scores.pixels[i, c]),
                float(scores.mean_probability[i, c]),
                float(scores.mean_entropy[i, c]),
                float(scores.entropy[i, c]),
            )

    table.write(path, list(_TYPES), rows())


def read(path: str | Path, classes: list[str]) -> Scores:
    row: dict[str, int] = {}
    column = {name: i for i, name in enumerate(classes)}
    at, pixels, means = array("q"), array("q"), array("d")
    for image, name, count, *values in table.rows(path, _TYPES):
        at.append(row.setdefault(image, len(row)) * len(classes) + column[name])
        pixels.append(count)
        means.extend(values)
    size = len(row) * len(classes)

    def spread(values: np.ndarray, missing: float) -> np.ndarray:
        whole = np.full(size, missing, values.dtype)
        whole[np.asarray(at)] = values
        return whole.reshape(len(row), len(classes))

    columns = np.asarray(means).reshape(-1, 3)
    of_each = (spread(columns[:, k], np.nan) for k in range(3))
    return Scores(list(row), spread(np.asarray(pixels), 0), *of_each)
