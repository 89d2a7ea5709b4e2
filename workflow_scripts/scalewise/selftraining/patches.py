"""Patches: random crops of the selected images, scaled up, with the labels predicted before.

All scaling is bilinear on the grid where the corners of both images coincide (align_corners=True):
output row i of H lies at i (h - 1) / (H - 1) between the h input rows.
"""

from hashlib import blake2b
from math import isfinite

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.taxonomy import IGNORE

Size = tuple[int, int]  # height, width

UPSCALINGS = ("nearest", "bilinear")


def crop_size(image_size: Size, scale: float) -> Size:
    """Size (h, w) of the crop that fills the image once scaled by `scale` (the method, step 4).

    Each side is divided and rounded (a half to the even number), at least 1.

    Raises:
        ValueError: a scale below 1, where a crop would be larger than its image.
    """
    if not (isfinite(scale) and scale >= 1):
        raise ValueError(f"the scale of a patch is {scale}; it must be a number, 1 or more")
    height, width = image_size
    return max(round(height / scale), 1), max(round(width / scale), 1)


def crop_positions(
    seed: int, round_number: int, image: str, count: int, image_size: Size, crop_size: Size
) -> np.ndarray:
    """Where to cut `count` random crops, uniformly over all positions (the method, step 4).

    A function of its arguments alone, so that a crop depends neither on which other images were
    selected nor on the order of the work; each crop hashes its own number, so the first crops stay
    when `count` grows; and a hash, unlike a random generator, is the same in every numpy.

    Args:
        seed: the seed of the run.
        round_number: the round.
        image: the image's id.
        count: number of crops; two of them may coincide.
        image_size: (H, W).
        crop_size: (h, w), at most (H, W).

    Returns:
        (count, 2) int64: top and left, from 0 to H - h and W - w, both included.

    Raises:
        ValueError: the crop does not fit into the image, or a negative count.
    """
    rows, columns = (outer - inner + 1 for outer, inner in zip(image_size, crop_size, strict=True))
    if min(crop_size) < 1 or min(rows, columns) < 1:
        raise ValueError(f"a crop of {crop_size} does not fit into an image of {image_size}")
    if count < 0:
        raise ValueError(f"cannot cut {count} crops")
    positions = np.empty((count, 2), dtype=np.int64)
    for number in range(count):
        text = f"{seed}\n{round_number}\n{number}\n{image}"
        digest = blake2b(text.encode(), digest_size=16).digest()
        # 64 bits against at most thousands of positions: the bias of the remainder is nil.
        top = int.from_bytes(digest[:8], "big") % rows
        left = int.from_bytes(digest[8:], "big") % columns
        positions[number] = top, left
    return positions


def scaled_labels(probabilities: Tensor, size: Size) -> Tensor:
    """The most probable class after bilinear scaling to `size` (the method, step 4).

    A bilinear value is a convex combination of four neighbours, which keeps the order of two
    classes: where the four share their most probable class, that is the label. So only the pixels
    at the borders between classes are interpolated: a third of the time of scaling everything
    where they are a tenth of the pixels, and no more than twice it where they are all. The result
    is the same, but for pixels where two classes tie up to the rounding of float32.

    Args:
        probabilities: (N, K, h, w) float, K at most 255; computed in float32.
        size: (H, W), at least (h, w).

    Returns:
        (N, H, W) uint8.

    Raises:
        ValueError: not four dimensions, more than 255 classes, or a smaller size.
    """
    if probabilities.ndim != 4 or probabilities.shape[1] > 255:
        raise ValueError(
            f"expected (images, at most 255 classes, h, w), got {tuple(probabilities.shape)}"
        )
    probabilities = probabilities.float()
    classes, height, width = probabilities.shape[1:]
    _require_larger((height, width), size)
    top, bottom, down = _neighbours(height, size[0], probabilities.device)
    left, right, across = _neighbours(width, size[1], probabilities.device)

    small = probabilities.argmax(dim=1).to(torch.uint8)
    upper, lower = small[:, top], small[:, bottom]
    labels = upper[:, :, left]
    same = (labels == upper[:, :, right]) & (labels == lower[:, :, left])
    same &= labels == lower[:, :, right]

    image, row, column = torch.nonzero(~same, as_tuple=True)
    above, below = (image * height + top[row]) * width, (image * height + bottom[row]) * width
    left, right = left[column], right[column]
    across, down = across[column], down[row]
    neighbours = torch.stack([above + left, above + right, below + left, below + right], dim=1)
    weights = torch.stack(
        [
            (1 - down) * (1 - across),
            (1 - down) * across,
            down * (1 - across),
            down * across,
        ],
        dim=1,
    )
    # An embedding bag is the weighted sum of a few rows of a table: here of the neighbours' rows
    # of K probabilities. It gathers and adds in one pass.
    table = probabilities.permute(0, 2, 3, 1).reshape(-1, classes)
    mixed = F.embedding_bag(neighbours, table, per_sample_weights=weights, mode="sum")
    labels[image, row, column] = mixed.argmax(dim=1).to(torch.uint8)
    return labels


def scale_images(images: Tensor, size: Size) -> Tensor:
    """Images scaled bilinearly to `size` and rounded to whole grey levels (the method, step 4).

    Args:
        images: (N, h, w, 3) uint8.
        size: (H, W), at least (h, w).

    Returns:
        (N, H, W, 3) uint8.

    Raises:
        ValueError: other dtype or shape, or a smaller size.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"expected (images, h, w, 3) of uint8, got {tuple(images.shape)} of {images.dtype}"
        )
    _require_larger(images.shape[1:3], size)
    planes = images.permute(0, 3, 1, 2).float()
    scaled = F.interpolate(planes, size, mode="bilinear", align_corners=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def reliable(
    prediction: Tensor,
    normalised: Tensor,
    tau: Tensor,
    *,
    classes_in_source: Tensor | None = None,
    nan_is_reliable: bool = False,
) -> Tensor:
    """Where a prediction is sure enough to teach: entropy below its class's threshold (step 4).

    Args:
        prediction: (N, h, w) integer, below K.
        normalised: (N, h, w) float, the normalised entropy.
        tau: (K,) float, from `thresholds.class_thresholds`; compared in float32.
        classes_in_source: (K,) bool; a class that the source lacks is never reliable. None trusts
            every class, as the released program does (docs/method.md row 7).
        nan_is_reliable: count an undefined entropy or threshold as reliable, as the released
            program does (docs/method.md row 3).

    Returns:
        (N, h, w) bool.

    Raises:
        ValueError: shapes differ.
    """
    if prediction.shape != normalised.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and normalised entropy"
            f" {tuple(normalised.shape)} differ"
        )
    tau = torch.as_tensor(tau, dtype=torch.float32, device=prediction.device)
    index = prediction.long()
    limit = tau[index]
    below = ~(normalised >= limit) if nan_is_reliable else normalised < limit
    if classes_in_source is not None:
        in_source = torch.as_tensor(classes_in_source, dtype=torch.bool, device=prediction.device)
        if in_source.shape != tau.shape:
            raise ValueError(f"{len(in_source)} classes in the source, {len(tau)} thresholds")
        below &= in_source[index]
    return below


def filter_labels(labels: Tensor, reliable: Tensor, *, upscaling: str = "nearest") -> Tensor:
    """The labels, with `IGNORE` where the prediction below them is unreliable (step 4).

    Args:
        labels: (N, H, W) uint8, from `scaled_labels`.
        reliable: (N, h, w) bool, before scaling.
        upscaling: which prediction is "below" a label. "nearest": the one nearest to it on the
            grid of coinciding corners; of two equally near, the lower or the right one.
            "bilinear", the released program: the label stays when any of its bilinear neighbours
            is reliable, so that unreliable regions shrink (docs/method.md row 8).

    Returns:
        (N, H, W) uint8.

    Raises:
        ValueError: an unknown upscaling, or sizes that do not fit.
    """
    if upscaling not in UPSCALINGS:
        raise ValueError(f"unknown upscaling {upscaling!r}; known are {', '.join(UPSCALINGS)}")
    if labels.ndim != 3 or reliable.ndim != 3 or len(labels) != len(reliable):
        raise ValueError(
            f"expected labels (N, H, W) and reliable (N, h, w), got {tuple(labels.shape)} and"
            f" {tuple(reliable.shape)}"
        )
    small, large = reliable.shape[1:], labels.shape[1:]
    _require_larger(small, large)
    if upscaling == "nearest":
        rows = _nearest(small[0], large[0], labels.device)
        columns = _nearest(small[1], large[1], labels.device)
        keep = reliable[:, rows][:, :, columns]
    else:
        share = F.interpolate(reliable[:, None].float(), large, mode="bilinear", align_corners=True)
        keep = share[:, 0] != 0
    return labels.masked_fill(~keep, IGNORE)


def _neighbours(small: int, large: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `large` positions the two of `small` around it and the weight of the second.

    In float32 as torch's own bilinear scaling does it, so that both use the same weights.
    """
    step = torch.tensor(small - 1, dtype=torch.float32) / max(large - 1, 1)
    place = torch.arange(large, dtype=torch.float32) * step
    first = place.long().clamp(max=small - 1)
    weight = place - first
    # A neighbour of weight 0 does not matter: name the first one twice.
    second = torch.where(weight > 0, (first + 1).clamp(max=small - 1), first)
    return first.to(device), second.to(device), weight.to(device)


def _nearest(small: int, large: int, device: torch.device) -> Tensor:
    """For each of `large` positions the nearest of `small`; in whole numbers, so exactly."""
    steps = max(large - 1, 1)
    return (2 * torch.arange(large, device=device) * (small - 1) + steps) // (2 * steps)


def _require_larger(small: Size, large: Size) -> None:
    if large[0] < small[0] or large[1] < small[1]:
        raise ValueError(f"patches are scaled up: from {tuple(small)} to {tuple(large)} is down")
