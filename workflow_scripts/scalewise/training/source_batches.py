"""Batches of labelled source images: which, and how they are seen, follows from seed and step."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from scalewise.artifacts.labels_csv import LabelRow
from scalewise.data.augmentation import augment, zoom
from scalewise.data.cache import ArrayCache
from scalewise.data.color_transfer import histograms, match_histograms
from scalewise.data.dataset import DataSet
from scalewise.training.randomness import batch_items, generator, rare_class_items


def class_pixels(rows: Iterable[LabelRow], source: DataSet) -> np.ndarray:
    """int64 (images, K): the pixels of each class in the images of a set, in its order."""
    pixels = {row.id: row.pixels for row in rows}
    return np.array([pixels[name] for name in source.ids], np.int64)


class SourceBatches:
    """Makes the batch of any step.

    Args:
        source: labelled images.
        seed: seed of the training.
        batch: images per step.
        augmentation: see `scalewise.data.augmentation.augment`.
        zoom_share: share of the images replaced by half-size crops scaled up by 2 with their true
            labels (the control `source_zoom`).
        rare_classes: temperature of `rare_class_items`; None: every image once an epoch.
        pixels: int (images, K), the pixels of each class; asked for with `rare_classes` alone.
        target, target_colors: share of the images that are given the colours of an image of this
            set, drawn anew each time, before they are augmented.
    """

    def __init__(
        self,
        source: DataSet,
        seed: int,
        batch: int,
        augmentation: dict,
        zoom_share: float = 0,
        rare_classes: float | None = None,
        pixels: np.ndarray | None = None,
        target: DataSet | None = None,
        target_colors: float = 0,
    ):
        self._source, self._seed, self._batch = source, seed, batch
        self._augmentation, self._zoom_share = augmentation, zoom_share
        self._rare_classes, self._pixels = rare_classes, pixels
        self._target, self._target_colors = target, target_colors
        self._histograms = ArrayCache()

    def _in_target_colors(self, image: np.ndarray, step: int, place: int) -> np.ndarray:
        draws = generator(self._seed, "target colours", step, place)
        if draws.random() >= self._target_colors:
            return image
        number = int(draws.integers(len(self._target)))
        (wanted,) = self._histograms.get(number, lambda n: (histograms(self._target.image(n)),))
        return match_histograms(image, wanted)

    def _items(self, step: int) -> list[int]:
        if self._rare_classes is not None:
            return rare_class_items(
                self._seed, "source", step, self._pixels, self._rare_classes, self._batch
            )
        return batch_items(self._seed, "source", step, self._batch, len(self._source))

    def describe(self, step: int) -> str:
        """Which images make the batch of this step, for a person."""
        return "source: " + ", ".join(self._source.ids[item] for item in self._items(step))

    def make(self, step: int, places: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Images uint8 (N, H, W, 3) and labels uint8 (N, H, W) of this step, or of these places of
        its batch alone."""
        places = range(self._batch) if places is None else places
        if not places:  # none, of the size that they have
            return tuple(t[:0] for t in self.make(step, [0]))
        images, labels = zip(*(self.view(step, place) for place in places), strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))

    def view(self, step: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """The image, uint8 (H, W, 3), and label, uint8 (H, W), at one place of a step's batch."""
        image, label = self._source.pair(self._items(step)[place])
        if self._target_colors > 0:
            image = self._in_target_colors(image, step, place)
        draws = generator(self._seed, "source view", step, place)
        if self._zoom_share > 0 and draws.random() < self._zoom_share:
            image, label = zoom(image, label, draws)
        return augment(image, label, self._augmentation, draws)
