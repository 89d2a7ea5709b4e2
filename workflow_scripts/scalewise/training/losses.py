"""Loss functions: per pixel, in float32, over pixels that are not ignored."""

import torch
import torch.nn.functional as functional
from torch import Tensor

from scalewise.models.network import upsample
from scalewise.taxonomy import IGNORE


def pixel_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every pixel, and how many pixels count.

    logits (N, K, h, w) at the network's stride, labels uint8 (N, H, W); returns float32 (N, H, W),
    0 where ignored, and the number of pixels that are not (at least 1).
    """
    scaled = upsample(logits, labels.shape[1:])
    # pixels as rows: with channels last this is no copy, and half the time of the four-axis form
    rows = scaled.permute(0, 2, 3, 1).reshape(-1, scaled.shape[1])
    losses = functional.cross_entropy(
        rows, labels.long().reshape(-1), ignore_index=IGNORE, reduction="none"
    )
    return losses.view(labels.shape), (labels != IGNORE).sum().clamp(min=1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pixels that are not ignored; 0 where there are none (docs/method.md row 11)."""
    losses, count = pixel_cross_entropy(logits, labels)
    return losses.sum() / count


def patch_loss(logits: Tensor, labels: Tensor, beta: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy and focal term of the patches (the method, step 5), both means over pixels.

    CE, and beta * mean[CE (1 - exp(-CE)) ** gamma]: exp(-CE) is the probability of the label, so
    that pixels the network is sure of weigh less.
    """
    losses, count = pixel_cross_entropy(logits, labels)
    plain = losses.sum() / count
    if beta == 0:
        return plain, torch.zeros_like(plain)
    # clamped: at CE = 0 the power of a small gamma has no finite slope
    doubt = (1 - torch.exp(-losses)).clamp(min=1e-8)
    return plain, beta * (losses * doubt**gamma).sum() / count
