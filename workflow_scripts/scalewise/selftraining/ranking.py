"""From the scores of a round to who is taken: shared by the selection and the thresholds."""

from collections.abc import Sequence

import numpy as np

from scalewise.selftraining.selection import counts_to_take, rank_images


def source_classes(pixels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """bool (K,): which classes have a pixel in some source label. pixels: per image (K,)."""
    return np.asarray(pixels, np.int64).reshape(-1, classes).sum(0) > 0


def rank_and_count(
    pixels: np.ndarray,
    mean_probability: np.ndarray,
    in_source: np.ndarray,
    settings: dict,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Rankings per class, and how many images of each are taken (the method, step 2).

    settings: portion, minimum_per_class, min_pixels. K in n_c = int(N_c p / K) counts the classes
    that the source has.
    """
    rankings = rank_images(
        pixels,
        mean_probability,
        classes_in_source=in_source,
        min_pixels=settings["min_pixels"],
    )
    take = counts_to_take(
        np.array([len(r) for r in rankings]),
        settings["portion"],
        int(in_source.sum()),
        settings["minimum_per_class"],
    )
    return rankings, take
