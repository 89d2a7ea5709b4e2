"""Confusion matrix and IoU at the label's own size."""

import numpy as np

from scalewise.taxonomy import IGNORE


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """int64 (K, K): pixels by label (row) and prediction (column); ignored labels do not count.

    label, prediction: uint8 of one shape; every prediction is below K.
    """
    counted = label != IGNORE
    pairs = label[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_iou(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """IoU in percent (NaN where a class occurs neither in labels nor in predictions), intersection,
    union and label pixels of every class: float64 and three int64 arrays (K,)."""
    intersection = np.diag(matrix)
    pixels = matrix.sum(1)
    union = pixels + matrix.sum(0) - intersection
    with np.errstate(invalid="ignore"):
        iou = np.where(union > 0, 100 * intersection / union, np.nan)
    return iou, intersection, union, pixels
