"""ClassMix: half of the classes of a source image, pasted into a target image.

Olsson et al., "ClassMix" (WACV 2021), across domains as in Tranheden et al., "DACS" (WACV 2021).
"""

import cv2
import numpy as np

from scalewise.taxonomy import IGNORE


def class_mask(label: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """bool (H, W): the pixels of half of the classes of a label, uint8 (H, W), drawn at random.

    Of an odd number the smaller half, but at least one; ignored pixels are in no class.
    """
    present = np.unique(label)
    present = present[present != IGNORE]
    if not len(present):
        return np.zeros(label.shape, bool)
    chosen = np.zeros(256, bool)
    chosen[generator.choice(present, max(1, len(present) // 2), replace=False)] = True
    return chosen[label]


def fit(
    image: np.ndarray, label: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A source image and its label at the size of the patches, where they differ."""
    if label.shape == tuple(size):
        return image, label
    height, width = size
    smaller = height * width < label.size
    return (
        cv2.resize(
            image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        ),
        cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
    )
