"""Batches of scaled patches with their filtered labels; seed and step say which and how."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalewise.artifacts import patches_h5
from scalewise.data.augmentation import move, recolour
from scalewise.data.cache import ArrayCache
from scalewise.selftraining.patches import Box, nearest_of, patch_image, pseudo_labels
from scalewise.taxonomy import IGNORE
from scalewise.training.mixing import class_mask, fit
from scalewise.training.randomness import batch_items, generator, rare_class_items


class PatchBatch(NamedTuple):
    """What the student sees of n patches, and what it is told of them.

    Attributes:
        images: uint8 (n, H, W, 3), augmented; parts of source images pasted in.
        labels: uint8 (n, H, W), 255 where there is none.
        weights: uint8 (n, H, W), of the labels, 255 = 1; None where all weigh 1.
        clean: uint8 (n, H, W, 3), moved as the images, but in their own colours and with nothing
            pasted: what a teacher labels.
        outside: bool (n, H, W), padding.
        pasted: bool (n, H, W), pixels of source images, with their true labels.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None
    clean: Tensor
    outside: Tensor
    pasted: Tensor


class PatchBatches:
    """Makes the batch of any step.

    Args:
        path: `patches.h5`.
        tau: float (K,), the entropy thresholds.
        seed: seed of the round.
        batch: patches per step.
        augmentation: see `scalewise.data.augmentation.augment`.
        reliability, constant_entropy: see `scalewise.selftraining.patches.pseudo_labels`.
        label_weights: "mask": labels above their threshold do not count, all others alike;
            "confidence": all count, with 1 - normalised entropy as their weight.
        class_mix: share of patches into which classes of a source image are pasted.
        rare_classes: temperature of `rare_class_items`; None: every patch once an epoch.
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
        label_weights: str = "mask",
        class_mix: float = 0,
        rare_classes: float | None = None,
    ):
        self._patches = patches_h5.PatchReader(path)
        self._tau = torch.from_numpy(tau)
        self._rules = {"reliability": reliability, "constant_entropy": constant_entropy}
        self._seed, self._batch, self._augmentation = seed, batch, augmentation
        self._label_weights, self._class_mix = label_weights, class_mix
        self._rare_classes = rare_classes
        self._cache = ArrayCache()
        self._lock = Lock()
        self._without_label: set[int] = set()

    @property
    def empty(self) -> int:
        """How many of the patches seen so far have no reliable pixel: they add nothing."""
        return len(self._without_label)

    @cached_property
    def _pixels(self) -> np.ndarray:
        """int64 (patches, K): the pixels of each class that may teach."""
        tau = self._tau.numpy().astype(np.float32)
        counts = np.zeros((len(self._patches), len(tau)), np.int64)
        for number in range(len(counts)):
            patch = self._patches.patch(number, ("predicted", "entropy"))
            sure = patch["predicted"][patch["entropy"] < tau[patch["predicted"]]]
            counts[number] = np.bincount(sure, minlength=len(tau))
        return counts

    def _read(self, number: int) -> tuple[np.ndarray, ...]:
        """The patch, uint8 (H, W, 3); its label, uint8 (H, W), 255 = none or unreliable; where it
        is padded, uint8 (H, W), 255, else 0; and the weights of the labels, uint8 (H, W), where
        these are asked for."""
        fields = self._patches.patch(number, ("image", "predicted", "entropy", "label", "place"))
        place = Box(*fields.pop("place").tolist())
        patch = {name: torch.from_numpy(values)[None] for name, values in fields.items()}
        tau, soft = self._tau, self._label_weights == "confidence"
        if soft:  # all but the classes that must never be a label
            tau = torch.where(tau > 0, torch.inf, tau)
        label = torch.full_like(patch["label"], IGNORE)
        place.of(label)[:] = pseudo_labels(
            place.of(patch["label"]), patch["predicted"], patch["entropy"], tau, **self._rules
        )
        if (label == IGNORE).all():
            self._without_label.add(number)
        image = patch_image(patch["image"][0], place, label.shape[1:]).numpy()
        outside = torch.full_like(label, IGNORE)
        place.of(outside)[:] = 0
        if not soft:
            return image, label[0].numpy(), outside[0].numpy()
        weight = torch.zeros_like(label)
        inner = place.of(weight)
        doubt = nearest_of(patch["entropy"], inner.shape[1:]).float().clamp(0, 1)
        inner[:] = torch.round(255 * (1 - doubt)).to(torch.uint8)
        return image, label[0].numpy(), outside[0].numpy(), weight[0].numpy()

    def _items(self, step: int) -> list[int]:
        if self._rare_classes is not None:
            with self._lock:  # batches are made in several threads; these are counted once
                pixels = self._pixels
            return rare_class_items(
                self._seed, "patches", step, pixels, self._rare_classes, self._batch
            )
        return batch_items(self._seed, "patches", step, self._batch, len(self._patches))

    def describe(self, step: int) -> str:
        """Which patches make the batch of this step, for a person."""
        named = (f"{self._patches.image_id[item]} (patch {item})" for item in self._items(step))
        return "patches of " + ", ".join(named)

    def make(
        self,
        step: int,
        source: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None,
        places: Sequence[int] | None = None,
    ) -> PatchBatch:
        """The patches of this step, or of these places of its batch alone.

        source: place in the batch -> the image, uint8 (H, W, 3), and label, uint8 (H, W), of which
        a part is pasted in there where `class_mix` says so.
        """
        items = self._items(step)
        places = range(self._batch) if places is None else places
        if not places:  # none, of the size that they have
            one = self.make(step, source, [0])
            return PatchBatch(*(None if t is None else t[:0] for t in one))
        views = [self._view(items[place], step, place, source) for place in places]
        return PatchBatch(
            *(
                torch.from_numpy(np.stack(parts)) if parts[0] is not None else None
                for parts in zip(*views, strict=True)
            )
        )

    def _view(self, item: int, step: int, place: int, source: Callable | None) -> tuple:
        """One patch, in the order of `PatchBatch`."""
        image, *maps = self._cache.get(item, self._read)
        draws = generator(self._seed, "patch view", step, place)
        clean, (label, outside, *weight), drawn = move(image, maps, self._augmentation, draws)
        view = recolour(clean, self._augmentation, drawn)
        weight = weight[0] if weight else None
        pasted = np.zeros(label.shape, bool)
        if self._class_mix > 0:
            draws = generator(self._seed, "class mix", step, place)
            if draws.random() < self._class_mix:
                other = fit(*source(place), label.shape)
                pasted = class_mask(other[1], draws)
                view = np.where(pasted[..., None], other[0], view)
                label = np.where(pasted, other[1], label)
                if weight is not None:
                    weight = np.where(pasted, np.uint8(255), weight)
        return view, label, weight, clean, outside == IGNORE, pasted
