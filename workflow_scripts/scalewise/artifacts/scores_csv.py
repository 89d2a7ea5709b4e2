"""`scores.csv`: image x class: pixels predicted, mean max-probability, mean entropies.

One row for every class predicted in an image (paper, section 3: confident images)."""

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
    columns = table.read(path, _TYPES)
    images = list(dict.fromkeys(columns["image"]))
    row = {name: i for i, name in enumerate(images)}
    column = {name: i for i, name in enumerate(classes)}
    at = (
        np.array([row[name] for name in columns["image"]], dtype=np.intp),
        np.array([column[name] for name in columns["class"]], dtype=np.intp),
    )
    shape = (len(images), len(classes))
    pixels = np.zeros(shape, np.int64)
    pixels[at] = columns["pixels"]

    def mean(name: str) -> np.ndarray:
        values = np.full(shape, np.nan)
        values[at] = columns[name]
        return values

    return Scores(images, pixels, mean("mean_probability"), mean("mean_entropy"), mean("entropy"))
