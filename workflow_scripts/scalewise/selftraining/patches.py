"""Patches: random crops of the selected images, scaled up, with the labels predicted before.

All scaling is bilinear on the grid where the corners of both images coincide (align_corners=True):
output row i of H lies at i (h - 1) / (H - 1) between the h input rows.
"""

from collections.abc import Mapping, Sequence
from math import exp, isfinite, log
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.selftraining.hashing import two_numbers
from scalewise.taxonomy import IGNORE

Size = tuple[int, int]  # height, width
# one number; several in turn; or {"from": a, "to": b}, a range to draw from
Scale = float | Sequence[float] | Mapping[str, float]

UPSCALINGS = ("nearest", "bilinear")


class Crop(NamedTuple):
    """A part of an image, in working-size pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, maps: Tensor) -> Tensor:
        """The part of maps (..., H, W)."""
        top, left, height, width = self
        return maps[..., top : top + height, left : left + width]


class CutPatches(NamedTuple):
    """n patches of one image, of any sizes (h, w).

    Attributes:
        image: uint8 (h, w, 3) each, at the crop's own size.
        predicted: uint8 (h, w) each, the class predicted at the original scale.
        entropy: float32 (h, w) each, its entropy, normalised in the whole image.
        labels: uint8 (n, H, W), the labels scaled up, not yet filtered.
    """

    image: list[Tensor]
    predicted: list[Tensor]
    entropy: list[Tensor]
    labels: Tensor


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


def patch_scales(
    scale: Scale, seed: int, round_number: int, image: str, numbers: Sequence[int]
) -> list[float]:
    """The scale of each crop of an image (the method, step 4).

    Args:
        scale: a number, for all crops; a list, of which crop k gets item k modulo its length; or
            {"from": a, "to": b}: log-uniform between a and b (1 to 2 is as likely as 2 to 4),
            drawn by hash of seed, round, image and the crop's number.
        seed, round_number, image: as in `crop_positions`.
        numbers: the crops' numbers.

    Raises:
        ValueError: an empty list, or a range that does not grow from a number above 0.
    """
    if isinstance(scale, Mapping):
        low, high = scale["from"], scale["to"]
        if not 0 < low <= high < float("inf"):
            raise ValueError(f"scales from {low} to {high} are no range")
        scales = []
        for number in numbers:
            share = two_numbers("scale", seed, round_number, number, image)[0] / 2**64
            drawn = exp(log(low) + share * (log(high) - log(low)))
            scales.append(min(max(drawn, low), high))  # rounding must not leave the range
        return scales
    if isinstance(scale, Sequence):
        if not scale:
            raise ValueError("there is no scale in the list of scales")
        return [scale[number % len(scale)] for number in numbers]
    return [scale for _ in numbers]


def crop_positions(
    seed: int,
    round_number: int,
    image: str,
    count: int,
    image_size: Size,
    crop_size: Size,
    *,
    first: int = 0,
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
        first: number of the first crop.

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
    for k in range(count):
        down, across = two_numbers(seed, round_number, first + k, image)
        # 64 bits against at most thousands of positions: the bias of the remainder is nil.
        positions[k] = down % rows, across % columns
    return positions


def image_crops(
    seed: int,
    round_number: int,
    image: str,
    count: int,
    image_size: Size,
    scale: Scale,
    *,
    occurrence: int = 0,
) -> list[Crop]:
    """The crops of one image, of the scales and at the places that their numbers give (step 4).

    Args:
        seed, round_number, image: as in `crop_positions`.
        count: number of crops. Where each would be the whole image, one is enough, and given.
        image_size: (H, W).
        scale: as in `patch_scales`.
        occurrence: how often the image came before in this round: the crops go on from those that
            it got then.

    Raises:
        ValueError: as `patch_scales`, `crop_size` and `crop_positions`.
    """
    numbers = range(occurrence * count, (occurrence + 1) * count)
    sizes = [
        crop_size(image_size, s) for s in patch_scales(scale, seed, round_number, image, numbers)
    ]
    if all(size == tuple(image_size) for size in sizes):
        numbers, sizes = numbers[:1], sizes[:1]
    crops = []
    for number, size in zip(numbers, sizes, strict=True):
        ((top, left),) = crop_positions(
            seed, round_number, image, 1, image_size, size, first=number
        )
        crops.append(Crop(int(top), int(left), *size))
    return crops


def cut_patches(
    image: Tensor,
    probabilities: Tensor,
    prediction: Tensor,
    normalised: Tensor,
    crops: Sequence[Crop],
    size: Size,
) -> CutPatches:
    """Cut an image and what the network says of it, and scale the labels up (step 4).

    Args:
        image: (H, W, 3) uint8.
        probabilities: (K, H, W) float.
        prediction: (H, W) uint8.
        normalised: (H, W) float32, the normalised entropy.
        crops: at least one.
        size: the training size, to which the labels are scaled.

    Raises:
        ValueError: a crop that is not inside the image, or larger than the training size.
    """
    height, width = prediction.shape
    for crop in crops:
        inside = crop.top + crop.height <= height and crop.left + crop.width <= width
        if min(crop) < 0 or min(crop.height, crop.width) < 1 or not inside:
            raise ValueError(f"{crop} is not inside an image of {(height, width)}")
    planes = image.permute(2, 0, 1)
    return CutPatches(
        [crop.of(planes).permute(1, 2, 0).contiguous() for crop in crops],
        [crop.of(prediction) for crop in crops],
        [crop.of(normalised) for crop in crops],
        torch.cat([scaled_labels(crop.of(probabilities)[None], size) for crop in crops]),
    )


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
    prediction: Tensor, normalised: Tensor, tau: Tensor, *, nan_is_reliable: bool = False
) -> Tensor:
    """Where a prediction is sure enough to teach: entropy below its class's threshold (step 4).

    Args:
        prediction: (N, h, w) integer, below K.
        normalised: (N, h, w) float, the normalised entropy; infinity is never reliable.
        tau: (K,) float, from `thresholds.class_thresholds`; compared in float32. Nothing is below
            0, which is how a class that the source lacks is kept out.
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
    limit = tau[prediction.long()]
    if nan_is_reliable:
        return ~(normalised >= limit) & (normalised != torch.inf)  # nor where the limit is NaN
    return normalised < limit


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


def pseudo_labels(
    labels: Tensor,
    prediction: Tensor,
    normalised: Tensor,
    tau: Tensor,
    *,
    reliability: str = "nearest",
    constant_entropy: str = "zero",
) -> Tensor:
    """The labels that may teach: the filter of step 4 as a whole.

    Args:
        labels: (N, H, W) uint8, from `scaled_labels`.
        prediction, normalised, tau: as in `reliable`.
        reliability: the `upscaling` of `filter_labels`.
        constant_entropy: "nan" counts what is undefined as reliable (docs/method.md row 3).

    Returns:
        (N, H, W) uint8, 255 where there is none.

    Raises:
        ValueError: as `reliable` and `filter_labels`.
    """
    tau = torch.as_tensor(tau)
    sure = reliable(prediction, normalised, tau, nan_is_reliable=constant_entropy == "nan")
    labels = filter_labels(labels, sure, upscaling=reliability)
    # between two reliable classes a third may win that the source lacks (its tau is 0)
    never = torch.zeros(256, dtype=torch.bool)
    never[: len(tau)] = tau <= 0
    return labels.masked_fill(never.to(labels.device)[labels.long()], IGNORE)


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
