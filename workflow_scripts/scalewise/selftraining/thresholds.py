"""How sure is sure enough: one entropy threshold per class.

From the first image not taken (the paper), or so that each class keeps the same share of its
pixels.
"""

from collections.abc import Sequence

import numpy as np

from scalewise.selftraining.selection import require_fit
from scalewise.taxonomy import IGNORE

ESTIMATORS = ("at_rank", "pooled", "none")  # of `class_thresholds`; the other one is "rate"
# float16 values from 0 to infinity are in the order of their bits, of which there are so many
_INFINITY = 0x7C00


def class_thresholds(
    rankings: Sequence[np.ndarray],
    take: np.ndarray,
    mean_entropy: np.ndarray,
    previous: np.ndarray | None,
    *,
    estimator: str = "at_rank",
    pool: int = 0,
    finite: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """tau_c, the threshold on the normalised entropy of class c (the method, step 3).

    The deciding image of a class is the one at rank n_c, counted from 0: the first that is not
    taken. Its mean normalised entropy of the class is tau_c. Two edges:

    - every ranked image is taken: the last of them decides (the released program never gets
      there, since its p / 19 is far below 1);
    - no image is ranked: the class keeps its previous threshold, and 1.0 before there is one, so
      that all its pixels but the least sure are reliable (docs/method.md rows 4 and 7).

    Args:
        rankings: for each class image indices, best first.
        take: (K,) int, n_c, at most the length of the ranking.
        mean_entropy: (n, K) float, mean normalised entropy of the class's pixels in the image.
        previous: (K,) float, the thresholds of the round before; None in the first.
        estimator: "at_rank", as above; or "pooled", the mean over the deciding image and the
            `pool` images before and after it in the ranking, as far as there are so many: one
            image alone is a noisy measure (docs/method.md row 5); or "none", thresholds off: every
            tau is infinite and no image decides.
        pool: images on each side, at least 0; read by "pooled" alone, where 0 is "at_rank".
        finite: refuse a threshold that is not finite. False is the released program's way, where
            a NaN switches the filter off for its class (docs/method.md row 3). Not read by "none".

    Returns:
        tau, (K,) float64, and the index of the deciding image, (K,) int64, -1 where there is none.

    Raises:
        ValueError: an unknown estimator, a negative pool, shapes that do not fit, or a threshold
            that is not finite.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}; known are {', '.join(ESTIMATORS)}")
    if pool < 0:
        raise ValueError(f"the pool is {pool} images on each side; it must be 0 or more")
    require_fit(rankings, take)
    classes = len(rankings)
    if np.ndim(mean_entropy) != 2 or np.shape(mean_entropy)[1] != classes:
        raise ValueError(f"mean entropy {np.shape(mean_entropy)} for {classes} classes")
    if previous is not None and np.shape(previous) != (classes,):
        raise ValueError(f"previous thresholds {np.shape(previous)} for {classes} classes")

    if estimator == "none":
        return np.full(classes, np.inf), np.full(classes, -1, dtype=np.int64)
    reach = pool if estimator == "pooled" else 0
    tau = np.ones(classes) if previous is None else np.array(previous, dtype=np.float64)
    image_index = np.full(classes, -1, dtype=np.int64)
    for index, (ranking, count) in enumerate(zip(rankings, take, strict=True)):
        if len(ranking) == 0:
            continue
        rank = min(int(count), len(ranking) - 1)
        around = ranking[max(rank - reach, 0) : rank + reach + 1]
        tau[index] = np.mean(np.asarray(mean_entropy)[around, index], dtype=np.float64)
        image_index[index] = ranking[rank]
    if finite and not np.isfinite(tau).all():
        broken = np.flatnonzero(~np.isfinite(tau)).tolist()
        raise ValueError(f"the thresholds of classes {broken} are not finite")
    return tau, image_index


def count_entropy(predicted: np.ndarray, entropy: np.ndarray, classes: int) -> np.ndarray:
    """How many pixels of each predicted class have which entropy, of all that float16 can hold.

    Args:
        predicted: uint8, any shape; `IGNORE` where there is no pixel (padding), which counts
            nowhere.
        entropy: float16, the same shape, normalised: from 0 to infinity, and NaN, which counts as
            0, since where it occurs it is always reliable (docs/method.md row 3).
        classes: number of classes K.

    Returns:
        (K, 31745) int64: column b counts the value whose bits are b. Counts of several blocks of
        pixels can be added up.

    Raises:
        ValueError: entropy of another dtype, or below 0.
    """
    if entropy.dtype != np.float16:
        raise ValueError(f"the entropy is {entropy.dtype}; its values can be counted in float16")
    real = predicted != IGNORE
    values = entropy[real]
    if (values < 0).any():
        raise ValueError("an entropy is below 0")
    bits = np.where(np.isnan(values), 0, values.view(np.uint16) & 0x7FFF)  # -0 is 0
    columns = _INFINITY + 1
    found = np.bincount(predicted[real] * np.int64(columns) + bits, minlength=classes * columns)
    return found.reshape(classes, columns)


def rate_thresholds(counts: np.ndarray, portion: float, previous: np.ndarray | None) -> np.ndarray:
    """tau_c that keeps the same share of the pixels of every class, the surest.

    As in class-balanced self-training (Zou et al., ECCV 2018), with the normalised
    entropy in the place of the probability: of the n_c pixels predicted as class c the
    int(n_c p) surest are below tau_c, and with them those whose entropy equals the last one's.

    Args:
        counts: (K, 31745) int, from `count_entropy`.
        portion: p, from 0 to 1.
        previous: (K,) float, the thresholds of the round before, which a class without a pixel
            keeps; None in the first round, where that is 1.

    Returns:
        (K,) float64: float16 values, the next one above the last entropy kept; 0, below which
        nothing is, for a class with so few pixels that int(n_c p) is 0.

    Raises:
        ValueError: a portion out of its range, or shapes that do not fit.
    """
    if not 0 <= portion <= 1:
        raise ValueError(f"the portion is {portion}; it must be from 0 to 1")
    classes = len(counts)
    if counts.shape != (classes, _INFINITY + 1):
        raise ValueError(f"counts are {counts.shape}, not (classes, {_INFINITY + 1})")
    if previous is not None and np.shape(previous) != (classes,):
        raise ValueError(f"previous thresholds {np.shape(previous)} for {classes} classes")
    tau = np.ones(classes) if previous is None else np.array(previous, dtype=np.float64)
    for index, below in enumerate(np.cumsum(counts, axis=1)):
        seen = int(below[-1])
        if seen:
            keep = int(seen * portion)
            last = int(np.searchsorted(below, keep))  # the first value with so many up to it
            bits = np.uint16(min(last + 1, _INFINITY) if keep else 0)
            tau[index] = bits.view(np.float16)
    return tau


def count_kept(
    predicted: np.ndarray, entropy: np.ndarray, tau: np.ndarray, *, nan_is_reliable: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of each predicted class, and those of them that their threshold keeps.

    Args:
        predicted: uint8, any shape; `IGNORE` where there is no pixel (padding), which counts
            nowhere.
        entropy: float, the same shape, normalised; infinity is never kept.
        tau: (K,) float, compared in float32.
        nan_is_reliable: as in `patches.reliable`.

    Returns:
        Two (K,) int64 arrays: pixels seen, pixels kept.
    """
    real = predicted != IGNORE
    predicted, entropy = predicted[real], entropy[real].astype(np.float32)
    limit = np.asarray(tau, dtype=np.float32)[predicted]
    kept = entropy < limit
    if nan_is_reliable:
        kept = ~(entropy >= limit) & (entropy != np.inf)
    counts = (np.bincount(p, minlength=len(tau)) for p in (predicted, predicted[kept]))
    return tuple(counts)
