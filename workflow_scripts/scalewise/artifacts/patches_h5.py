"""`patches.h5`: the crops of the selected images with what the network said of them.

Datasets, n patches of crop size (h, w), training size (H, W):

    image_id  text (n,)             image that the crop was cut from
    position  int32 (n, 2)          top and left of the crop, in working-size pixels
    image     uint8 (n, h, w, 3)    the crop, RGB, at its own size (scaled up on reading)
    predicted uint8 (n, h, w)       class predicted at the original scale
    entropy   float16 (n, h, w)     its entropy, normalised per image and predicted class
    label     uint8 (n, H, W)       argmax of the probabilities scaled to (H, W), unfiltered

The thresholds are not applied here: they may change without a new pass of the network.
Group `claim` holds the paper's claim measured on a sample (mean entropy in nats per class at the
original scale and on the scaled-up crop, and how often both agree).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from scalewise.artifacts.atomic import replacing

FORMAT = "scalewise patches 1"
_FIELDS = {
    "position": np.int32,
    "image": np.uint8,
    "predicted": np.uint8,
    "entropy": np.float16,
    "label": np.uint8,
}


@dataclass(frozen=True)
class Patches:
    """A batch of patches; arrays as the module says."""

    image_id: list[str]
    position: np.ndarray
    image: np.ndarray
    predicted: np.ndarray
    entropy: np.ndarray
    label: np.ndarray


class PatchWriter:
    """Appends batches of patches to an open file."""

    def __init__(self, file: h5py.File, count: int, crop: tuple[int, int], size: tuple[int, int]):
        (h, w), (height, width) = crop, size
        shapes = {
            "position": (2,),
            "image": (h, w, 3),
            "predicted": (h, w),
            "entropy": (h, w),
            "label": (height, width),
        }
        file.attrs["format"] = FORMAT
        self._ids = file.create_dataset("image_id", (count,), dtype=h5py.string_dtype())
        self._data = {
            name: file.create_dataset(
                name,
                (count, *shapes[name]),
                dtype=kind,
                chunks=(1, *shapes[name]) if count else None,
                # the lightest setting: labels shrink by ten, and reading stays cheap
                **({"compression": "gzip", "compression_opts": 1} if count else {}),
            )
            for name, kind in _FIELDS.items()
        }
        self._claim = file.create_group("claim")
        self._written = 0

    def append(self, batch: Patches) -> None:
        part = slice(self._written, self._written + len(batch.image_id))
        self._ids[part] = batch.image_id
        for name, dataset in self._data.items():
            dataset[part] = getattr(batch, name)
        self._written = part.stop

    def claim(self, columns: dict[str, np.ndarray]) -> None:
        """columns: one float64 (K,) array per measured quantity."""
        for name, values in columns.items():
            self._claim[name] = values


@contextmanager
def writing(
    path: str | Path, count: int, crop: tuple[int, int], size: tuple[int, int]
) -> Iterator[PatchWriter]:
    """Open a new file for `count` patches; it appears under its name when the block ends well."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        writer = PatchWriter(file, count, crop, size)
        yield writer
        if writer._written != count:
            raise ValueError(f"{path}: {writer._written} of {count} patches were written")


class PatchReader:
    """Reads patches by number. Raises ValueError naming the file when it is of another format."""

    def __init__(self, path: str | Path):
        self._file = h5py.File(path)
        if self._file.attrs.get("format") != FORMAT:
            raise ValueError(f"{path}: not a file of format '{FORMAT}'")
        self.image_id = list(self._file["image_id"].asstr()[:])

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def crop(self) -> tuple[int, int]:
        return self._file["image"].shape[1:3]

    def read(self, part: slice | int, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {name: self._file[name][part] for name in fields}

    def claim(self) -> dict[str, np.ndarray]:
        return {name: values[:] for name, values in self._file["claim"].items()}
