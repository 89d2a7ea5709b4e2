"""Loss functions: per pixel, in float32, over pixels that are not ignored."""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

from scalewise.models.network import upsample
from scalewise.taxonomy import IGNORE
from scalewise.training.shares import summed


def pixel_cross_entropy(logits: Tensor, labels: Tensor, *, align_corners: bool = False) -> Tensor:
    """Cross-entropy of every pixel, 0 where it is ignored.

    logits (N, K, h, w) at the network's stride, labels uint8 (N, H, W); returns float32 (N, H, W).
    align_corners: see `scalewise.models.network.upsample`.
    """
    scaled = upsample(logits, labels.shape[1:], align_corners=align_corners)
    # pixels as rows: with channels last this is no copy, and half the time of the four-axis form
    rows = scaled.permute(0, 2, 3, 1).reshape(-1, scaled.shape[1])
    losses = functional.cross_entropy(
        rows, labels.long().reshape(-1), ignore_index=IGNORE, reduction="none"
    )
    return losses.view(labels.shape)


def labelled_mean(
    losses: Tensor, labels: Tensor, empty: str = "zero", weights: Tensor | None = None
) -> Tensor:
    """Mean over the pixels that are not ignored, of all processes where they share a batch.

    losses (N, H, W), 0 where ignored; labels uint8 (N, H, W). weights: of the pixels, float
    (N, H, W), 0 to 1: each loss times its weight, over the same number of pixels, so that a batch
    of little trust teaches little. empty: the mean where there are no
    such pixels, "zero", or "nan" as a plain mean gives (the released program, docs/method.md row
    11). Either way such a mean has no gradient, so that the other terms of a loss still teach.
    """
    count = summed((labels != IGNORE).sum())
    if weights is not None:
        losses = losses * weights
    mean = summed(losses.sum()) / count.clamp(min=1)
    return mean.masked_fill(count == 0, math.nan) if empty == "nan" else mean


def cross_entropy(logits: Tensor, labels: Tensor, *, align_corners: bool = False) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where there are none."""
    return labelled_mean(pixel_cross_entropy(logits, labels, align_corners=align_corners), labels)


def focal_term(
    losses: Tensor,
    labels: Tensor,
    beta: float,
    gamma: float,
    over: str = "pixels",
    empty: str = "zero",
    weights: Tensor | None = None,
) -> Tensor:
    """beta * mean[CE (1 - exp(-CE)) ** gamma] (the method, step 5).

    exp(-CE) is the probability of the label, so that pixels the network is sure of weigh less.
    losses: CE, float32 (N, H, W), 0 where ignored; labels uint8 (N, H, W). over: "pixels", as
    above; or "mean", beta * m (1 - exp(-m)) ** gamma with m the mean of CE over the pixels of the
    batch (the released program's DeepLab, docs/method.md row 9). empty, weights: see
    `labelled_mean`.
    """
    if beta == 0:
        return torch.zeros((), device=losses.device)
    if over == "mean":
        losses = labelled_mean(losses, labels, empty, weights)
    # clamped: at CE = 0 the power of a small gamma has no finite slope
    doubt = (1 - torch.exp(-losses)).clamp(min=1e-8)
    term = losses * doubt**gamma
    return beta * (term if over == "mean" else labelled_mean(term, labels, empty, weights))


def soft_cross_entropy(
    logits: Tensor, wanted: Tensor, labels: Tensor, *, align_corners: bool = False
) -> Tensor:
    """Cross-entropy of every pixel between wanted and predicted probabilities, 0 where ignored.

    Args:
        logits: (N, K, h, w) at the network's stride.
        wanted: float32 (N, K, H, W), held fixed.
        labels: uint8 (N, H, W); 255 says which pixels are ignored, and nothing else is read.

    Returns: float32 (N, H, W).
    """
    scaled = upsample(logits, labels.shape[1:], align_corners=align_corners)
    losses = -(wanted * torch.log_softmax(scaled, 1)).sum(1)
    return losses.masked_fill(labels == IGNORE, 0)


def consistency(
    logits: Tensor, smaller: Tensor, outside: Tensor, *, align_corners: bool = False
) -> Tensor:
    """How far a network contradicts itself between two scales of the same images.

    The mean over pixels of the cross-entropy between the probabilities for the images scaled down,
    which are held fixed and scaled up, and those for the images as they are: labelled or not.

    Args:
        logits: (N, K, h, w) for the images, with gradient.
        smaller: (N, K, h', w') for the images scaled down.
        outside: bool (N, H, W), padding, which does not count.
    """
    size = outside.shape[1:]
    with torch.no_grad():
        wanted = torch.softmax(smaller.float(), 1)
        wanted = upsample(wanted, size, align_corners=align_corners)
    no_label = outside.to(torch.uint8) * IGNORE
    losses = soft_cross_entropy(logits, wanted, no_label, align_corners=align_corners)
    return summed(losses.sum()) / summed((~outside).sum()).clamp(min=1)
