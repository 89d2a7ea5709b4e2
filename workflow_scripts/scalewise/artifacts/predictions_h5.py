"""`predictions.h5`: the class predicted in every target image, of every 4th pixel down and across.

Datasets, n images of (H, W):

    image_id  text (n,)                           in the order of `scores.csv`
    predicted uint8 (n, ceil(H / 4), ceil(W / 4)) class index
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from scalewise.artifacts import hdf5
from scalewise.artifacts.maps_file import MapsFile

FORMAT = "scalewise predictions 1"
_LAYOUT = {"image_id": (None, ("n",)), "predicted": (np.uint8, ("n", "h", "w"))}
STEP = 4
_CHUNK = 2**18  # pixels that are packed together: several images


def thinned(predicted: np.ndarray) -> np.ndarray:
    """Every 4th pixel of maps (n, H, W), from the first: (n, ceil(H / 4), ceil(W / 4))."""
    return np.ascontiguousarray(predicted[:, ::STEP, ::STEP])


def write(path: str | Path, image_id: Sequence[str], predicted: np.ndarray | MapsFile) -> None:
    """predicted: uint8 (n, h, w), from `thinned`. Raises ValueError unless there are n ids."""
    count, height, width = predicted.shape
    if len(image_id) != count:
        raise ValueError(f"{path}: {len(image_id)} images and {count} predictions")
    with hdf5.writing(path) as (file, _):
        file.attrs["format"] = FORMAT
        file["image_id"] = np.array(image_id, dtype=h5py.string_dtype())
        together = min(max(_CHUNK // (height * width), 1), count)
        options = {}
        if count:
            # the lightest setting is enough for maps of few classes
            options = {"compression": "gzip", "compression_opts": 1}
            options["chunks"] = (together, height, width)
        data = file.create_dataset("predicted", predicted.shape, dtype=np.uint8, **options)
        for first in range(0, count, max(together, 1)):
            data[first : first + together] = predicted[first : first + together]


class PredictionReader:
    """Reads predictions in the order of the images, a few at a time.

    Attributes:
        image_id: n ids.
    """

    def __init__(self, file: h5py.File):
        self.image_id = list(file["image_id"].asstr()[:])
        self._predicted = file["predicted"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, h, w)."""
        return self._predicted.shape

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield uint8 (some, h, w), as they are packed; two files of one shape in equal parts."""
        count = len(self.image_id)
        together = self._predicted.chunks[0] if count else 1
        for first in range(0, count, together):
            yield self._predicted[first : first + together]


@contextmanager
def reading(path: str | Path) -> Iterator[PredictionReader]:
    """Open a file. Raises UserError naming it when it cannot be used: see `hdf5.open_file`."""
    file, _ = hdf5.open_file(path, FORMAT, _LAYOUT)
    with file:
        yield PredictionReader(file)
