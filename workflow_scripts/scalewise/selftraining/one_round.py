"""One round from class probabilities to patches: the entry point for repeating a comparison.

It composes the functions that the stages of the workflow use, without files, networks or settings
of a project, so that anyone can hold them against another program on the same probabilities.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from scalewise.artifacts.scores_csv import Scores
from scalewise.selftraining.confidence import (
    Confidence,
    class_statistics,
    normalised_entropy,
    pixel_confidence,
)
from scalewise.selftraining.patches import (
    Box,
    Patch,
    Size,
    cut_patches,
    pseudo_labels,
    scale_images,
)
from scalewise.selftraining.ranking import rank_and_count

BATCH = 8


class RoundResult(NamedTuple):
    """What a round makes of n images, K classes and m crops.

    Attributes:
        scores: pixels, mean_probability and mean_entropy, (n, K) each.
        selected: names of the selected images, in order.
        thresholds: float64 (K,).
        patch_images: uint8 (m, H, W, 3), the crops scaled up.
        patch_labels: uint8 (m, H, W), 255 where there is no label.
    """

    scores: Scores
    selected: list[str]
    thresholds: np.ndarray
    patch_images: np.ndarray
    patch_labels: np.ndarray


def repeat_round(
    probabilities: np.ndarray,
    images: np.ndarray,
    names: Sequence[str],
    *,
    in_source: np.ndarray,
    crops: np.ndarray,
    size: Size,
    settings: Mapping,
    previous: np.ndarray | None = None,
) -> RoundResult:
    """Scores, selection, thresholds and patches of one round (the method, steps 1 to 4).

    Args:
        probabilities: float32 (n, K, h, w), a distribution over the K classes at every pixel, at
            the size of the images.
        images: uint8 (n, h, w, 3).
        names: n names, all different.
        in_source: bool (K,), which classes the source has.
        crops: int (m, 5): index of the image, top, left, height, width; of any images, selected or
            not.
        size: the training size (H, W), to which crops are scaled.
        settings: portion, and as in the configuration scope, minimum_per_class, min_pixels and
            missing_classes of `selection`; estimator, pool and constant_entropy of `threshold`;
            reliability of `patches`. See `ranking.rank_and_count`, `Ranking.thresholds` and
            `patches.pseudo_labels`.
        previous: float (K,), the thresholds of the round before; None in the first.

    Raises:
        ValueError: arrays that do not fit each other, or as the functions of this package.
    """
    if images.shape != (len(probabilities), *probabilities.shape[2:], 3):
        raise ValueError(f"images {images.shape} for probabilities {probabilities.shape}")
    if len(names) != len(images) or len(set(names)) != len(names):
        raise ValueError(f"{len(set(names))} different names for {len(images)} images")
    scores = score_images(probabilities, names, constant_entropy=settings["constant_entropy"])
    ranking = rank_and_count(scores, np.asarray(in_source, dtype=bool), settings)
    tau, _ = ranking.thresholds(previous, settings)
    patch_images, patch_labels = make_patches(
        probabilities,
        images,
        crops,
        size,
        tau,
        reliability=settings["reliability"],
        constant_entropy=settings["constant_entropy"],
    )
    selected = [names[image] for image in ranking.selection().images]
    return RoundResult(scores, selected, tau, patch_images, patch_labels)


def score_images(
    probabilities: np.ndarray, names: Sequence[str], *, constant_entropy: str
) -> Scores:
    """The scores of n images (the method, step 1); arguments as in `repeat_round`."""
    parts = []
    for first in range(0, len(probabilities), BATCH):
        sure, normalised = _confidence(probabilities[first : first + BATCH], constant_entropy)
        classes = probabilities.shape[1]
        parts.append(
            class_statistics(sure.prediction, sure.maximum, normalised, sure.entropy, classes)
        )
    columns = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return Scores(list(names), *columns)


def make_patches(
    probabilities: np.ndarray,
    images: np.ndarray,
    crops: np.ndarray,
    size: Size,
    tau: np.ndarray,
    *,
    reliability: str,
    constant_entropy: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The scaled-up crops and their labels, for given thresholds (the method, step 4).

    Arguments and result as in `repeat_round`; tau: float (K,).
    """
    patch_images = np.empty((len(crops), *size, 3), np.uint8)
    patch_labels = np.empty((len(crops), *size), np.uint8)
    for number, (index, *place) in enumerate(np.asarray(crops).tolist()):
        sure, normalised = _confidence(probabilities[index : index + 1], constant_entropy)
        cut = cut_patches(
            torch.from_numpy(images[index]),
            sure.probabilities[0],
            sure.prediction[0],
            normalised[0],
            [Patch(Box(*place), Box(0, 0, *size))],
            size,
        )
        patch_images[number] = scale_images(cut.image[0][None], size)[0]
        patch_labels[number] = pseudo_labels(
            cut.labels,
            cut.predicted[0][None],
            cut.entropy[0][None],
            tau,
            reliability=reliability,
            constant_entropy=constant_entropy,
        )[0]
    return patch_images, patch_labels


def _confidence(
    probabilities: np.ndarray, constant_entropy: str
) -> tuple[Confidence, torch.Tensor]:
    sure = pixel_confidence(torch.from_numpy(probabilities))
    normalised = normalised_entropy(
        sure.entropy,
        sure.prediction,
        probabilities.shape[1],
        constant_entropy=constant_entropy,
    )
    return sure, normalised
