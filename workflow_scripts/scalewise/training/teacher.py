"""A mean teacher: a moving average of the student's weights, which labels the target as they go.

Tarvainen and Valpola (NeurIPS 2017); for segmentation across domains as in DACS (Tranheden et al.,
WACV 2021).
"""

import copy

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from scalewise.taxonomy import IGNORE


class Teacher:
    """The moving average, on the student's device; begins as a copy of the student.

    Args:
        student: the network that is trained.
        momentum: share of the average that stays at each step, from the first on: the student is
            trained already, so there is no beginning to be forgotten.
    """

    def __init__(self, student: nn.Module, momentum: float):
        self.network = copy.deepcopy(student).eval().requires_grad_(False)
        self._momentum = momentum

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Take in the student's weights after a step."""
        for own, new in zip(self.network.parameters(), student.parameters(), strict=True):
            own.lerp_(new, 1 - self._momentum)
        for own, new in zip(self.network.buffers(), student.buffers(), strict=True):
            own.copy_(new)


def labels_and_trust(
    logits: Tensor, outside: Tensor, confidence: float, never: Tensor
) -> tuple[Tensor, Tensor]:
    """What a teacher says of a batch, and how far each image's labels are trusted.

    Args:
        logits: float32 (N, K, H, W).
        outside: bool (N, H, W), padding, which has no label.
        confidence: the probability from which a pixel counts as sure.
        never: bool (K,), the classes that are no label, such as those that the source lacks.

    Returns:
        labels uint8 (N, H, W), and per image the share of its pixels that are sure, float32 (N,):
        the weight of all of its pixels (DACS).
    """
    highest, labels = torch.softmax(logits, 1).max(1)
    labels = labels.to(torch.uint8).masked_fill(outside | never[labels], IGNORE)
    inside = (~outside).sum((1, 2)).clamp(min=1)
    sure = ((highest >= confidence) & ~outside).sum((1, 2))
    return labels, sure / inside


def wanted_probabilities(logits: Tensor, labels: Tensor, pasted: Tensor, never: Tensor) -> Tensor:
    """What the student is to say where labels are soft: the teacher's probabilities, and where
    source pixels are pasted in their labels.

    logits: float32 (N, K, H, W) of the teacher; labels: uint8 (N, H, W), read where pasted, bool
    (N, H, W); never: bool (K,), as in `labels_and_trust`: such a class is wanted nowhere. Returns
    float32 (N, K, H, W).
    """
    classes = logits.shape[1]
    true = functional.one_hot(labels.long().clamp(max=classes - 1), classes).permute(0, 3, 1, 2)
    allowed = logits.masked_fill(never[:, None, None], -torch.inf)
    return torch.where(pasted[:, None], true.to(logits.dtype), torch.softmax(allowed, 1))
