"""Which target images are taken: for each class those in which the network is most confident."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalewise.selftraining.hashing import two_numbers


@dataclass(frozen=True, eq=False)
class Selection:
    """The images taken in one round, in the order in which they were first taken.

    Attributes:
        images: (M,) int64, indices of images, none twice.
        classes: for each of them the classes for which it was taken, in class order; where all
            classes share one order, those for which it is ranked, which may be none.
        score: (M,) float64, its mean probability for the first of these classes; where all classes
            share one order, that of all its pixels.
    """

    images: np.ndarray
    classes: tuple[tuple[int, ...], ...]
    score: np.ndarray


def counts_to_take(
    predicted_in: np.ndarray, portion: float, divisor: int, minimum_per_class: int
) -> np.ndarray:
    """How many images to take for each class: n_c = int(N_c * p / K) (the method, step 2).

    The product and the quotient are taken from left to right in double precision and cut, as the
    released program does, so the last bit of p can count: 0.4 * 285 / 19 is 6, but the
    0.39999999999999997 to which 0.1 + 0.05 + ... + 0.05 adds up gives 5.

    Args:
        predicted_in: (K,) int, N_c: the number of images that are ranked for each class.
        portion: p, at least 0.
        divisor: K in the formula, at least 1: the classes that the source has; 19 always in the
            released program (docs/method.md row 7).
        minimum_per_class: take at least this many of a class that is ranked in so many images, and
            all of them otherwise; 0 in the released program (docs/method.md row 6).

    Returns:
        (K,) int64; never more than N_c.

    Raises:
        ValueError: an argument is out of its range.
    """
    predicted_in = np.asarray(predicted_in, dtype=np.int64)
    if not (np.isfinite(portion) and portion >= 0):
        raise ValueError(f"the portion is {portion}; it must be a number, 0 or more")
    if divisor < 1:
        raise ValueError(f"the divisor is {divisor}; it must be 1 or more")
    if minimum_per_class < 0:
        raise ValueError(f"the minimum per class is {minimum_per_class}; it must be 0 or more")
    if (predicted_in < 0).any():
        raise ValueError("a class is predicted in fewer than 0 images")
    counts = np.floor(predicted_in * float(portion) / divisor)
    return np.minimum(np.maximum(counts, minimum_per_class), predicted_in).astype(np.int64)


def rank_images(
    pixels: np.ndarray,
    mean_probability: np.ndarray,
    *,
    classes_in_source: np.ndarray,
    min_pixels: int,
) -> list[np.ndarray]:
    """For each class the images in which it is predicted, most confident first (step 2).

    Args:
        pixels: (n, K) int, pixels predicted as each class in each image.
        mean_probability: (n, K) float, their mean probability; not read where pixels are too few.
        classes_in_source: (K,) bool; a class that the source lacks ranks nothing
            (docs/method.md row 7).
        min_pixels: an image with fewer pixels of a class is not ranked for it. Never below 1 in
            effect; 1 in the released program (docs/method.md row 3).

    Returns:
        K int64 arrays of image indices; equal scores keep the order of the images.

    Raises:
        ValueError: shapes differ, or a score that counts is not finite.
    """
    pixels, mean_probability = np.asarray(pixels), np.asarray(mean_probability)
    classes_in_source = np.asarray(classes_in_source)
    if pixels.ndim != 2 or mean_probability.shape != pixels.shape:
        raise ValueError(
            f"pixels {pixels.shape} and mean probability {mean_probability.shape} must both be"
            " (images, classes)"
        )
    if classes_in_source.dtype != bool or classes_in_source.shape != pixels.shape[1:]:
        raise ValueError(f"classes_in_source must be {pixels.shape[1]} booleans")
    counts = (pixels >= max(min_pixels, 1)) & classes_in_source
    broken = np.argwhere(counts & ~np.isfinite(mean_probability))
    if len(broken):
        image, index = broken[0]
        raise ValueError(f"image {image} has pixels of class {index} but no finite score for it")
    rankings = []
    for index in range(pixels.shape[1]):
        images = np.flatnonzero(counts[:, index])
        order = np.argsort(-mean_probability[images, index], kind="stable")
        rankings.append(images[order])
    return rankings


def select_images(
    rankings: Sequence[np.ndarray], take: np.ndarray, mean_probability: np.ndarray
) -> Selection:
    """The union over the classes of the first n_c images of each (the method, step 2).

    Args:
        rankings: for each class image indices, best first, from `rank_images`.
        take: (K,) int, n_c, from `counts_to_take`.
        mean_probability: (n, K) float, the scores that made the rankings.

    Raises:
        ValueError: `take` does not fit the rankings.
    """
    require_fit(rankings, take)
    taken_for: dict[int, list[int]] = {}  # a dict keeps the order of first taking
    for index, (ranking, count) in enumerate(zip(rankings, take, strict=True)):
        for image in ranking[:count]:
            taken_for.setdefault(int(image), []).append(index)
    images = np.array(list(taken_for), dtype=np.int64)
    first_class = np.array([classes[0] for classes in taken_for.values()], dtype=np.int64)
    return Selection(
        images=images,
        classes=tuple(tuple(classes) for classes in taken_for.values()),
        score=np.asarray(mean_probability, dtype=np.float64)[images, first_class],
    )


def image_scores(pixels: np.ndarray, mean_probability: np.ndarray) -> np.ndarray:
    """(n,) float64: the mean highest probability over all pixels of each image.

    Args:
        pixels: (n, K) int, pixels predicted as each class.
        mean_probability: (n, K) float, their mean highest probability; not read without pixels.

    Raises:
        ValueError: shapes differ, or an image without pixels.
    """
    pixels, mean_probability = np.asarray(pixels), np.asarray(mean_probability)
    if pixels.ndim != 2 or mean_probability.shape != pixels.shape:
        raise ValueError(
            f"pixels {pixels.shape} and mean probability {mean_probability.shape} must both be"
            " (images, classes)"
        )
    total = pixels.sum(axis=1, dtype=np.int64)
    if (total == 0).any():
        raise ValueError(f"image {np.flatnonzero(total == 0)[0]} has no pixels of any class")
    sums = np.where(pixels > 0, pixels * mean_probability.astype(np.float64), 0)
    return sums.sum(axis=1) / total


def select_globally(
    taken: np.ndarray, rankings: Sequence[np.ndarray], take: np.ndarray, score: np.ndarray
) -> Selection:
    """The selection where all classes share one order of the images, and the first are taken.

    Args:
        taken: (M,) int, the images taken, in that order.
        rankings: for each class image indices, in that order.
        take: (K,) int, how many of them are among those taken.
        score: (n,) float, from `image_scores`.

    Raises:
        ValueError: `take` does not fit the rankings.
    """
    require_fit(rankings, take)
    taken_for: dict[int, list[int]] = {int(image): [] for image in taken}
    for index, (ranking, count) in enumerate(zip(rankings, take, strict=True)):
        for image in ranking[:count]:
            taken_for[int(image)].append(index)
    images = np.array(list(taken_for), dtype=np.int64)
    return Selection(
        images=images,
        classes=tuple(tuple(classes) for classes in taken_for.values()),
        score=np.asarray(score, dtype=np.float64)[images],
    )


def images_to_process(
    selected: Sequence[str], *, round_number: int, seed: int, resample: bool, extra_images: int
) -> list[tuple[str, int]]:
    """The images of which patches are cut, in order: by default each selected image once.

    Args:
        selected: ids of the selected images, in the order of the selection.
        round_number: the round, from 1.
        seed: the seed of the run.
        resample: from the second round on draw as many images as are selected, with replacement,
            instead of using each once (the released program, docs/method.md row 1). The draws are
            hashes of seed and round.
        extra_images: go on for so many images beyond the end of that list, from its start again
            (1 in the released program, which reads a list that repeats; which image it meets
            there is not known, so this choice is ours; docs/method.md row 2).

    Returns:
        (image, occurrence) pairs; the occurrence counts from 0 how often the image came before,
        so that a repeated image can be given further crops and not the same ones again.
    """
    images = list(selected)
    if resample and round_number > 1:
        draws = (two_numbers("resample", seed, round_number, k)[0] for k in range(len(selected)))
        images = [selected[draw % len(selected)] for draw in draws]
    if images:
        images = [images[k % len(images)] for k in range(len(images) + extra_images)]
    seen: Counter[str] = Counter()
    processed = []
    for image in images:
        processed.append((image, seen[image]))
        seen[image] += 1
    return processed


def require_fit(rankings: Sequence[np.ndarray], take: np.ndarray) -> None:
    """Raise ValueError unless `take` asks each class for 0 to all of its ranked images."""
    if len(take) != len(rankings):
        raise ValueError(f"{len(take)} counts for {len(rankings)} rankings")
    for index, (ranking, count) in enumerate(zip(rankings, take, strict=True)):
        if not 0 <= count <= len(ranking):
            raise ValueError(f"cannot take {count} of {len(ranking)} images for class {index}")


def step_count(selected: int, settings: Mapping) -> int:
    """Steps of a round on so many selected images. Every patch that an image would give is seen
    once per epoch (the method, step 5); an experiment without patches, or with one for each image,
    makes as many steps."""
    images = selected + settings["extra_images"]
    patches = images * settings["epochs"] * settings["per_image"]
    return math.ceil(patches / settings["target_batch"])
