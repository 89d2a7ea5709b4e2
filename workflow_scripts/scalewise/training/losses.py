"""Loss functions: per pixel, in float32, over pixels that are not ignored."""

import torch
import torch.nn.functional as functional
from torch import Tensor

from scalewise.models.network import upsample
from scalewise.taxonomy import IGNORE


def pixel_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every pixel, 0 where it is ignored.

    logits (N, K, h, w) at the network's stride, labels uint8 (N, H, W); returns float32 (N, H, W).
    """
    scaled = upsample(logits, labels.shape[1:])
    # pixels as rows: with channels last this is no copy, and half the time of the four-axis form
    rows = scaled.permute(0, 2, 3, 1).reshape(-1, scaled.shape[1])
    losses = functional.cross_entropy(
        rows, labels.long().reshape(-1), ignore_index=IGNORE, reduction="none"
    )
    return losses.view(labels.shape)


def labelled_mean(losses: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pixels that are not ignored; 0 where there are none (docs/method.md row 11).

    losses (N, H, W), 0 where ignored; labels uint8 (N, H, W).
    """
    return losses.sum() / (labels != IGNORE).sum().clamp(min=1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; 0 where there are none."""
    return labelled_mean(pixel_cross_entropy(logits, labels), labels)


def focal_term(losses: Tensor, labels: Tensor, beta: float, gamma: float) -> Tensor:
    """beta * mean[CE (1 - exp(-CE)) ** gamma] (the method, step 5), per pixel.

    exp(-CE) is the probability of the label, so that pixels the network is sure of weigh less.
    losses: CE, float32 (N, H, W), 0 where ignored; labels uint8 (N, H, W).
    """
    if beta == 0:
        return torch.zeros((), device=losses.device)
    # clamped: at CE = 0 the power of a small gamma has no finite slope
    doubt = (1 - torch.exp(-losses)).clamp(min=1e-8)
    return beta * labelled_mean(losses * doubt**gamma, labels)
