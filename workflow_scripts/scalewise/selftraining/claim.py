"""The paper's claim, measured: on scaled-up patches the network is less sure than before."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scalewise.selftraining.confidence import Confidence


def _sums(index: Tensor, weights: Tensor | None, classes: int) -> np.ndarray:
    flat = index.reshape(-1).long().cpu()
    values = None if weights is None else weights.reshape(-1).double().cpu()
    return torch.bincount(flat, values, minlength=classes).double().numpy()


class ClaimCounter:
    """Adds up, per class predicted at the original scale, entropy before and after scaling up."""

    def __init__(self, classes: int):
        self._classes = classes
        self._sums = {
            name: np.zeros(classes)
            for name in ("pixels", "entropy", "scaled_pixels", "scaled_entropy", "agreeing")
        }

    def add(self, predicted: Tensor, entropy: Tensor, labels: Tensor, scaled: Confidence) -> None:
        """predicted, entropy: (n, h, w) on the crops at the original scale; labels: uint8
        (n, H, W), the same scaled up; scaled: what the network says of the scaled-up crops."""
        total, k = self._sums, self._classes
        total["pixels"] += _sums(predicted, None, k)
        total["entropy"] += _sums(predicted, entropy, k)
        total["scaled_pixels"] += _sums(labels, None, k)
        total["scaled_entropy"] += _sums(labels, scaled.entropy, k)
        total["agreeing"] += _sums(labels, (scaled.prediction == labels), k)

    @property
    def sums(self) -> dict[str, np.ndarray]:
        """What was added up so far, float64 (K,) each."""
        return self._sums

    def add_all(self, sums: Mapping[str, np.ndarray]) -> None:
        """Add what another counter has."""
        for name, values in sums.items():
            self._sums[name] += values

    def columns(self) -> dict[str, np.ndarray]:
        """float64 (K,) each: pixels, mean entropy (nats) at the original scale; pixels, mean
        entropy and share of agreeing predictions on the scaled-up crops; NaN where none."""
        t = self._sums
        with np.errstate(invalid="ignore"):
            return {
                "pixels": t["pixels"].copy(),
                "entropy": t["entropy"] / t["pixels"],
                "scaled_pixels": t["scaled_pixels"].copy(),
                "scaled_entropy": t["scaled_entropy"] / t["scaled_pixels"],
                "agreement": t["agreeing"] / t["scaled_pixels"],
            }
