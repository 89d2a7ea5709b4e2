"""`pictures.h5`: a few validation images with label, prediction and entropy, for the report."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from scalewise.artifacts import hdf5
from scalewise.errors import UserError

FORMAT = "scalewise pictures 2"
_LAYOUT = {
    "ids": (None, ("n",)),
    "image": (np.uint8, ("n", "h", "w", 3)),
    "label": (np.uint8, ("n", "h", "w")),
    "prediction": (np.uint8, ("n", "h", "w")),
    "entropy": (np.float16, ("n", "h", "w")),
}
MAX_PIXELS = 500_000_000  # of all pictures: the report reads them as a whole


@dataclass(frozen=True)
class Pictures:
    """ids: n image ids; image uint8 (n, H, W, 3) RGB; label and prediction uint8 (n, H, W), class
    index or 255; entropy float16 (n, H, W), of the whole output at each pixel, normalised to 0..1
    within the pixels of the picture that are predicted as the same class."""

    ids: list[str]
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    entropy: np.ndarray


def write(path: str | Path, pictures: Pictures) -> None:
    """Raises UserError when there is more than `read` takes."""
    if pictures.label.size > MAX_PIXELS:
        raise UserError(
            f"evaluation.pictures: {len(pictures.ids)} pictures have {pictures.label.size:,} "
            f"pixels, and {MAX_PIXELS:,} can be kept: lower it"
        )
    with hdf5.writing(path) as (file, _):
        file.attrs["format"] = FORMAT
        file["ids"] = np.array(pictures.ids, dtype=h5py.string_dtype())
        for name in ("image", "label", "prediction", "entropy"):
            file.create_dataset(name, data=getattr(pictures, name), compression="gzip")


def read(path: str | Path) -> Pictures:
    """Raises UserError naming the file when it cannot be used: see `hdf5.open_file`."""
    file, sizes = hdf5.open_file(path, FORMAT, _LAYOUT)
    with file:
        if sizes["n"] * sizes["h"] * sizes["w"] > MAX_PIXELS:
            raise hdf5.unfit(path, f"pictures of more than {MAX_PIXELS:,} pixels")
        return Pictures(
            list(file["ids"].asstr()[:]),
            file["image"][:],
            file["label"][:],
            file["prediction"][:],
            file["entropy"][:],
        )
