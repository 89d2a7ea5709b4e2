"""Source images in the colours of the target: the labelled images come to look like the others.

Histogram matching, channel by channel: the simplest of the ways in which the field has source
images look like target images without a label or a network; another is Yang and Soatto, "FDA" (CVPR
2020).
"""

import numpy as np


def histograms(image: np.ndarray) -> np.ndarray:
    """int64 (3, 256): how many pixels of an image, uint8 (H, W, 3), have each value."""
    return np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)])


def match_histograms(image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """An image whose channels are spread like those of another.

    Each value becomes the one that has as many of the other's pixels below it: order is kept, so
    that what was brighter in a channel is not darker after.

    Args:
        image: uint8 (H, W, 3).
        wanted: (3, 256), `histograms` of the other, of any size.

    Returns: uint8 (H, W, 3).
    """
    matched = np.empty_like(image)
    for channel, (own, other) in enumerate(zip(histograms(image), wanted, strict=True)):
        below = (np.cumsum(own) - own / 2) / own.sum()
        values = np.interp(below, np.cumsum(other) / other.sum(), np.arange(256))
        matched[..., channel] = np.round(values).astype(np.uint8)[image[..., channel]]
    return matched
