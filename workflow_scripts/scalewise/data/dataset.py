"""Images and labels at the working size, decoded once and kept while the memory limit allows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalewise.artifacts import images_csv, labels_csv
from scalewise.artifacts.hashing import hash_of
from scalewise.data import reading
from scalewise.data.cache import ArrayCache
from scalewise.errors import UserError


def evenly_spread(length: int, count: int) -> list[int]:
    """At most `count` of the numbers below `length`, in order, evenly spread."""
    count = min(count, length)
    return [k * length // count for k in range(count)]


@dataclass(frozen=True, slots=True)
class _File:
    """What is kept of a row of a table: a set may have a hundred thousand."""

    path: str
    hash: str
    mode: str


class DataSet:
    """A set's images, with labels where they are given.

    Args:
        root: folder that the paths of the tables are relative to.
        images: `images.csv` of the set.
        size: working height and width, or None for each image's own size.
        labels: `labels.csv` of the set; only images that have a row in it are kept.
        label_ids: label id -> class index.
    """

    def __init__(
        self,
        root: str | Path,
        images: str | Path,
        size: tuple[int, int] | None,
        labels: str | Path | None = None,
        label_ids: dict[str, int] | None = None,
    ):
        self._root, self._size = Path(root), size
        of_images = images_csv.read(images)
        self._labels: list[_File] = []
        if labels is not None:
            known = {row.id: _File(row.path, row.hash, row.mode) for row in labels_csv.rows(labels)}
            of_images = [row for row in of_images if row.id in known]
            self._labels = [known[row.id] for row in of_images]
            self._table = reading.lookup_table(label_ids or {})
        self._cache = ArrayCache()
        self._images = [_File(row.path, row.hash, row.mode) for row in of_images]
        self.ids = [row.id for row in of_images]
        self.position = {name: i for i, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self._images)

    def image(self, number: int) -> np.ndarray:
        """uint8 (H, W, 3) RGB at the working size. Raises UserError naming the file."""
        image = self._reading(reading.read_image, self._images[number])
        return reading.resize_image(image, self._size) if self._size else image

    def own_label(self, number: int) -> np.ndarray:
        """uint8 (h, w) class indices at the label's own size. Raises UserError naming the file."""
        row = self._labels[number]
        return self._reading(
            lambda content: reading.read_label(content, self._table, row.mode), row
        )

    def _reading(self, read, row) -> np.ndarray:
        """Read a file of the set; refuse one that is no longer what the scan saw, since the result
        is named by that."""
        path = self._root / row.path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}): restore the file, then start again; "
                "what was done so far is kept"
            ) from None
        if hash_of(content) != row.hash:
            raise UserError(
                f"{path}: changed since it was scanned: restore the file to go on from here, or "
                "start again to have the set as it is now"
            )
        try:
            return read(content)
        except reading.UnreadableImage as error:
            raise reading.UnreadableImage(f"{path}: {error}") from None

    def pair(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and label at the working size; must not be written to (they are kept)."""
        return self._cache.get(number, self._decode)

    def _decode(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        label = self.own_label(number)
        return self.image(number), reading.resize_label(label, self._size or label.shape)
