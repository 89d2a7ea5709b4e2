"""Patches: the selected images at other scales, with the labels predicted before.

A patch is as large as an image. Scaled up, it is a random crop; scaled down, the whole image at a
random place, with nothing around it. Labels are scaled bilinearly on the grid where the corners of
both coincide (align_corners=True): output row i of H lies at i (h - 1) / (H - 1) between the h
input rows.
"""

from collections.abc import Mapping, Sequence
from math import exp, isfinite, log
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalewise.scaled_labels import scaled_labels
from scalewise.selftraining.hashing import two_numbers
from scalewise.taxonomy import IGNORE

Size = tuple[int, int]  # height, width
# one number, or {"from": a, "to": b}, a range to draw from; or several of these in turn
Scale = float | Mapping[str, float] | Sequence[float | Mapping[str, float]]

UPSCALINGS = ("nearest", "bilinear")


class Box(NamedTuple):
    """A part of an image or of a patch, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, maps: Tensor) -> Tensor:
        """The part of maps (..., H, W)."""
        top, left, height, width = self
        return maps[..., top : top + height, left : left + width]


class Patch(NamedTuple):
    """What is cut of an image, and where in the patch it comes, scaled to the size of the place."""

    crop: Box
    place: Box


class CutPatches(NamedTuple):
    """n patches of one image, of any sizes (h, w).

    Attributes:
        image: uint8 (h, w, 3) each, at the crop's own size.
        predicted: uint8 (h, w) each, the class predicted at the original scale.
        entropy: float32 (h, w) each, its entropy, normalised in the whole image.
        labels: uint8 (n, H, W), the labels scaled, not yet filtered; `IGNORE` where there is none.
    """

    image: list[Tensor]
    predicted: list[Tensor]
    entropy: list[Tensor]
    labels: Tensor


def inner_size(image_size: Size, scale: float) -> Size:
    """Size (h, w) of the smaller of crop and place, the other being all (the method, step 4).

    From scale 1 on that is the crop, which fills the patch once scaled up: each side is divided by
    the scale. Below 1 it is the whole image scaled down: each side is multiplied by it. Rounded (a
    half to the even number), at least 1.

    Raises:
        ValueError: a scale that is not above 0.
    """
    if not (isfinite(scale) and scale > 0):
        raise ValueError(f"the scale of a patch is {scale}; it must be a number above 0")
    height, width = image_size
    if scale >= 1:
        return max(round(height / scale), 1), max(round(width / scale), 1)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def patch_scales(
    scale: Scale, seed: int, round_number: int, image: str, numbers: Sequence[int]
) -> list[float]:
    """The scale of each patch of an image (the method, step 4).

    Args:
        scale: a number, for all patches; {"from": a, "to": b}: log-uniform between a and b (1 to 2
            is as likely as 2 to 4), drawn by hash of seed, round, image and the patch's number; or
            a list of these, of which patch k gets item k modulo its length.
        seed, round_number, image: as in `crop_positions`.
        numbers: the patches' numbers.

    Raises:
        ValueError: an empty list, or a range that does not grow from a number above 0.
    """
    several = scale if isinstance(scale, Sequence) else [scale]
    if not several:
        raise ValueError("there is no scale in the list of scales")
    scales = []
    for number in numbers:
        item = several[number % len(several)]
        if isinstance(item, Mapping):
            low, high = item["from"], item["to"]
            if not 0 < low <= high < float("inf"):
                raise ValueError(f"scales from {low} to {high} are no range")
            share = two_numbers("scale", seed, round_number, number, image)[0] / 2**64
            drawn = exp(log(low) + share * (log(high) - log(low)))
            item = min(max(drawn, low), high)  # rounding must not leave the range
        scales.append(item)
    return scales


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


def image_patches(
    seed: int,
    round_number: int,
    image: str,
    count: int,
    image_size: Size,
    scale: Scale,
    *,
    occurrence: int = 0,
) -> list[Patch]:
    """The patches of one image, of the scales and at the places that their numbers give (step 4).

    Scaled up, a random box of the image becomes the whole patch; scaled down, the whole image
    becomes a random box of the patch.

    Args:
        seed, round_number, image: as in `crop_positions`.
        count: number of patches. Where each would be the whole image at its own size, one is
            enough, and given.
        image_size: (H, W), of a patch too.
        scale: as in `patch_scales`.
        occurrence: how often the image came before in this round: the patches go on from those
            that it got then.

    Raises:
        ValueError: as `patch_scales`, `inner_size` and `crop_positions`.
    """
    numbers = range(occurrence * count, (occurrence + 1) * count)
    scales = patch_scales(scale, seed, round_number, image, numbers)
    sizes = [inner_size(image_size, s) for s in scales]
    if all(size == tuple(image_size) for size in sizes):
        numbers, scales, sizes = numbers[:1], scales[:1], sizes[:1]
    whole, patches = Box(0, 0, *image_size), []
    for number, s, size in zip(numbers, scales, sizes, strict=True):
        ((top, left),) = crop_positions(
            seed, round_number, image, 1, image_size, size, first=number
        )
        inner = Box(int(top), int(left), *size)
        patches.append(Patch(inner, whole) if s >= 1 else Patch(whole, inner))
    return patches


def cut_patches(
    image: Tensor,
    probabilities: Tensor,
    prediction: Tensor,
    normalised: Tensor,
    patches: Sequence[Patch],
    size: Size,
) -> CutPatches:
    """Cut an image and what the network says of it, and scale the labels (step 4).

    Args:
        image: (H, W, 3) uint8.
        probabilities: (K, H, W) float.
        prediction: (H, W) uint8.
        normalised: (H, W) float32, the normalised entropy.
        patches: at least one.
        size: (H, W) of a patch.

    Raises:
        ValueError: a crop that is not inside the image, or a place that is not inside the patch.
    """
    for crop, place in patches:
        _require_inside(crop, prediction.shape, "an image")
        _require_inside(place, size, "a patch")
    labels = prediction.new_full((len(patches), *size), IGNORE)
    for patch, (crop, place) in zip(labels, patches, strict=True):
        place.of(patch)[:] = scaled_labels(
            crop.of(probabilities)[None],
            (place.height, place.width),
            highest=crop.of(prediction)[None],
        )[0]
    planes = image.permute(2, 0, 1)
    return CutPatches(
        [crop.of(planes).permute(1, 2, 0).contiguous() for crop, _ in patches],
        [crop.of(prediction) for crop, _ in patches],
        [crop.of(normalised) for crop, _ in patches],
        labels,
    )


def _require_inside(box: Box, size: Size, what: str) -> None:
    inside = box.top + box.height <= size[0] and box.left + box.width <= size[1]
    if min(box) < 0 or min(box.height, box.width) < 1 or not inside:
        raise ValueError(f"{box} is not inside {what} of {tuple(size)}")


def scale_images(images: Tensor, size: Size) -> Tensor:
    """Images scaled bilinearly to `size` and rounded to whole grey levels (the method, step 4).

    Scaled down, each pixel is a mean over all that it covers, as a camera would see it: four
    neighbours would leave out the others. Torch can do that for coinciding pixel edges, not
    corners, so the image lies less than half a pixel off its labels there.

    Args:
        images: (N, h, w, 3) uint8.
        size: (H, W).

    Returns:
        (N, H, W, 3) uint8.

    Raises:
        ValueError: other dtype or shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"expected (images, h, w, 3) of uint8, got {tuple(images.shape)} of {images.dtype}"
        )
    planes = images.permute(0, 3, 1, 2).float()
    down = size[0] < images.shape[1] or size[1] < images.shape[2]
    scaled = F.interpolate(planes, size, mode="bilinear", align_corners=not down, antialias=down)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def patch_image(crop: Tensor, place: Box, size: Size) -> Tensor:
    """The image of a patch: the crop scaled to its place, and around it the crop's mean colour.

    Args:
        crop: (h, w, 3) uint8.
        place: inside `size`.
        size: (H, W).

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: as `scale_images`, or a place that is not inside.
    """
    _require_inside(place, size, "a patch")
    scaled = scale_images(crop[None], (place.height, place.width))[0]
    if scaled.shape[:2] == tuple(size):
        return scaled
    mean = scaled.float().mean((0, 1)).round().to(torch.uint8)
    image = mean.expand(*size, 3).contiguous()
    top, left, height, width = place
    image[top : top + height, left : left + width] = scaled
    return image


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
        reliable: (N, h, w) bool, before scaling up or down.
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
    after = labels.shape[1:]
    if upscaling == "nearest":
        keep = nearest_of(reliable, after)
    else:
        share = F.interpolate(reliable[:, None].float(), after, mode="bilinear", align_corners=True)
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
    if not never.any():
        return labels
    return labels.masked_fill(never.to(labels.device)[labels.long()], IGNORE)


def nearest_of(maps: Tensor, size: Size) -> Tensor:
    """Maps (N, h, w) at `size` (H, W): each pixel has the value of the one nearest to it on the
    grid of coinciding corners; of two equally near, the lower or the right one."""
    rows = _nearest(maps.shape[1], size[0], maps.device)
    columns = _nearest(maps.shape[2], size[1], maps.device)
    return maps[:, :, columns].index_select(1, rows)  # single values of the few rows, then rows


def _nearest(before: int, after: int, device: torch.device) -> Tensor:
    """For each of `after` positions the nearest of `before`; in whole numbers, so exactly."""
    steps = max(after - 1, 1)
    return (2 * torch.arange(after, device=device) * (before - 1) + steps) // (2 * steps)
