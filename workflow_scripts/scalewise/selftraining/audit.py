"""How right are the pseudo-labels? Counted against labels of the target, for the report alone:
nothing that is trained, selected or thresholded may read what is counted here."""

import numpy as np

from scalewise.selftraining.thresholds import count_kept
from scalewise.taxonomy import IGNORE


def count_right(
    predicted: np.ndarray,
    entropy: np.ndarray,
    label: np.ndarray,
    tau: np.ndarray,
    *,
    nan_is_reliable: bool,
) -> np.ndarray:
    """Count the pixels of each predicted class, those that its threshold keeps, and how many of
    both are predicted as their label says.

    Args:
        predicted: uint8 (h, w), below K.
        entropy: float (h, w), normalised.
        label: uint8 (h, w), class index; K and more, such as `IGNORE`, where there is none.
        tau: (K,) float, one threshold for each class.
        nan_is_reliable: as in `thresholds.count_kept`, which says what is kept.

    Returns:
        int64 (5, K): seen, kept, right, right and kept, and pixels without a label, which are in
        none of the others.

    Raises: ValueError where the shapes differ.
    """
    if not predicted.shape == entropy.shape == label.shape:
        shapes = predicted.shape, entropy.shape, label.shape
        raise ValueError(f"prediction, entropy and label have other shapes: {shapes}")
    labelled = label < len(tau)

    def counts(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.where(where, predicted, IGNORE)
        return count_kept(chosen, entropy, tau, nan_is_reliable=nan_is_reliable)

    seen, kept = counts(labelled)
    right, right_kept = counts(labelled & (predicted == label))
    ignored, _ = counts(~labelled)
    return np.stack([seen, kept, right, right_kept, ignored])
