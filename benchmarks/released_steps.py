"""The released program's work on one selected image after the network, in its own way: slow.

Written from the description of what it does (docs/method.md): a pass over the image for each class,
all classes of every crop interpolated, each pixel of each patch looked at by Python, and PNG files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

IGNORE = 255


def normalised_entropy(probabilities: np.ndarray) -> np.ndarray:
    """float32 (H, W), of probabilities float32 (K, H, W); NaN where a class has but one value."""
    entropy = -(probabilities * np.log(probabilities + np.float32(1e-12))).sum(0)
    prediction = probabilities.argmax(0)
    normalised = np.zeros_like(entropy)
    for c in range(len(probabilities)):
        mine = prediction == c
        if mine.any():
            low, high = entropy[mine].min(), entropy[mine].max()
            with np.errstate(invalid="ignore"):
                normalised[mine] = (entropy[mine] - low) / (high - low)
    return normalised


def reliable(probabilities: np.ndarray, normalised: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """float32 (H, W): 1 where the entropy is not at or above the threshold of its class, else 0."""
    prediction = probabilities.argmax(0)
    sure = np.zeros_like(normalised)
    for c in range(len(probabilities)):
        sure[(prediction == c) & ~(normalised >= np.float32(tau[c]))] = 1
    return sure


def scaled(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 (C, h, w) at another size, bilinear on the grid of coinciding corners."""
    values = torch.from_numpy(np.ascontiguousarray(maps, np.float32))[None]
    return F.interpolate(values, size, mode="bilinear", align_corners=True)[0].numpy()


def make_patches(
    image: np.ndarray,
    probabilities: np.ndarray,
    tau: np.ndarray,
    corners: Sequence[tuple[int, int]],
    folder: Path,
    name: str,
) -> list[np.ndarray]:
    """Patches of half an image's height and width, scaled up by 2, written to `folder` as PNG.

    Args:
        image: uint8 (H, W, 3).
        probabilities: float32 (K, H, W).
        tau: (K,), the thresholds.
        corners: top and left of each patch.
        name: what the files' names begin with.

    Returns:
        The labels, uint8 (H, W) each, 255 where there is none.
    """
    height, width = size = image.shape[:2]
    sure = reliable(probabilities, normalised_entropy(probabilities), tau)
    labels = []
    for number, (top, left) in enumerate(corners):
        rows, columns = slice(top, top + height // 2), slice(left, left + width // 2)
        picture = scaled(image[rows, columns].transpose(2, 0, 1), size)
        label = scaled(probabilities[:, rows, columns], size).argmax(0).astype(np.uint8)
        share = scaled(sure[None, rows, columns], size)[0]
        for y in range(height):
            for x in range(width):
                if share[y, x] == 0:
                    label[y, x] = IGNORE
        picture = np.rint(picture).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(picture).save(folder / f"{name}_{number}_image.png")
        Image.fromarray(label).save(folder / f"{name}_{number}_label.png")
        labels.append(label)
    return labels
