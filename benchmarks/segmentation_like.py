"""What a network might say of an image, drawn at random: areas of one class with smooth borders.

A pixel counts as at a border where it and its neighbours to the right and below are not all of one
class: what lies between these four, scaled up, has to be interpolated. So of a map in which 10 % of
the pixels are at a border, 10 % of the scaled-up pixels are. (Pixels with a neighbour of another
class on any side are about twice as many.)
"""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

SHARES = (0.05, 0.1, 0.2)  # of pixels at a border; bounds are for the second
BOUND = SHARES[1]
CONFIDENCE = 0.9  # mean highest probability, as of a trained network


def border_share(values: Tensor) -> float:
    """Share of pixels at a border between classes; values: (N, K, h, w)."""
    label = values.max(dim=1).indices
    same = label[:, 1:, 1:] == label[:, :-1, :-1]
    same &= label[:, 1:, :-1] == label[:, :-1, :-1]
    same &= label[:, :-1, 1:] == label[:, :-1, :-1]
    return 1 - same.double().mean().item()


def draw_logits(
    classes: int, size: tuple[int, int], share: float, generator: torch.Generator
) -> Tensor:
    """float32 (1, K, H, W): smooth random fields, as coarse as `share` says.

    Raises:
        ValueError: no field of this size and number of classes has such a share of borders.
    """
    height, width = size
    noise = torch.randn(1, classes, height + 2, width + 2, generator=generator)

    def fields(cell: float) -> Tensor:
        """A value of the noise in every `cell` pixels, and what lies between."""
        few = noise[:, :, : ceil(height / cell) + 1, : ceil(width / cell) + 1]
        return F.interpolate(few, scale_factor=cell, mode="bicubic")[:, :, :height, :width]

    fine, coarse = 1.0, max(size) / 2
    for _ in range(14):
        cell = (fine * coarse) ** 0.5
        fine, coarse = (cell, coarse) if border_share(fields(cell)) > share else (fine, cell)
    found = fields(coarse)
    if abs(border_share(found) - share) > 0.2 * share:
        raise ValueError(
            f"{border_share(found):.1%} of {size[0]} x {size[1]} pixels are at a border, not "
            f"{share:.0%}: too small, or too few classes"
        )
    return found * _sharpness(found)


def _sharpness(fields: Tensor) -> float:
    """The factor by which their softmax is as sure as `CONFIDENCE`."""
    low, high = 0.1, 1000.0
    few = fields.flatten(2)[..., ::7]
    for _ in range(20):
        factor = (low * high) ** 0.5
        sure = (few * factor).softmax(1).amax(1).mean() > CONFIDENCE
        low, high = (low, factor) if sure else (factor, high)
    return factor


def seeded(seed: int | None) -> torch.Generator:
    """A generator; by a new seed where none is given, which is printed so that it can be."""
    generator = torch.Generator()
    print(
        f"seed {generator.seed() if seed is None else generator.manual_seed(seed).initial_seed()}"
    )
    return generator
