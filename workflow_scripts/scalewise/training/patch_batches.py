"""Batches of scaled patches with their filtered labels; seed and step say which and how."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scalewise.artifacts import patches_h5
from scalewise.data.augmentation import augment
from scalewise.data.cache import ArrayCache
from scalewise.selftraining.patches import Box, patch_image, pseudo_labels
from scalewise.taxonomy import IGNORE
from scalewise.training.randomness import batch_items, generator


class PatchBatches:
    """Makes the batch of any step.

    Args:
        path: `patches.h5`.
        tau: float (K,), the entropy thresholds.
        seed: seed of the round.
        batch: patches per step.
        augmentation: see `scalewise.data.augmentation.augment`.
        reliability, constant_entropy: see `scalewise.selftraining.patches.pseudo_labels`.
    """

    def __init__(
        self,
        path: Path,
        tau: np.ndarray,
        seed: int,
        batch: int,
        augmentation: dict,
        *,
        reliability: str = "nearest",
        constant_entropy: str = "zero",
    ):
        self._patches = patches_h5.PatchReader(path)
        self._tau = torch.from_numpy(tau)
        self._rules = {"reliability": reliability, "constant_entropy": constant_entropy}
        self._seed, self._batch, self._augmentation = seed, batch, augmentation
        self._cache = ArrayCache()
        self._without_label: set[int] = set()

    @property
    def empty(self) -> int:
        """How many of the patches seen so far have no reliable pixel: they add nothing."""
        return len(self._without_label)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The patch, uint8 (H, W, 3), and its label, uint8 (H, W), 255 = none or unreliable."""
        fields = self._patches.patch(number, ("image", "predicted", "entropy", "label", "place"))
        place = Box(*fields.pop("place").tolist())
        patch = {name: torch.from_numpy(values)[None] for name, values in fields.items()}
        label = torch.full_like(patch["label"], IGNORE)
        place.of(label)[:] = pseudo_labels(
            place.of(patch["label"]), patch["predicted"], patch["entropy"], self._tau, **self._rules
        )
        if (label == IGNORE).all():
            self._without_label.add(number)
        image = patch_image(patch["image"][0], place, label.shape[1:])
        return image.numpy(), label[0].numpy()

    def _items(self, step: int) -> list[int]:
        return batch_items(self._seed, "patches", step, self._batch, len(self._patches))

    def describe(self, step: int) -> str:
        """Which patches make the batch of this step, for a person."""
        named = (f"{self._patches.image_id[item]} (patch {item})" for item in self._items(step))
        return "patches of " + ", ".join(named)

    def make(self, step: int) -> tuple[Tensor, Tensor]:
        """Images uint8 (N, H, W, 3) and labels uint8 (N, H, W) of this step."""
        views = []
        for place, item in enumerate(self._items(step)):
            image, label = self._cache.get(item, self._read)
            draws = generator(self._seed, "patch view", step, place)
            views.append(augment(image, label, self._augmentation, draws))
        images, labels = zip(*views, strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))
