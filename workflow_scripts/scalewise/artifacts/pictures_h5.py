"""`pictures.h5`: a few validation images with label and prediction, for the report."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from scalewise.artifacts import hdf5

FORMAT = "scalewise pictures 1"


@dataclass(frozen=True)
class Pictures:
    """ids: n image ids; image uint8 (n, H, W, 3) RGB; label and prediction uint8 (n, H, W), class
    index or 255."""

    ids: list[str]
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


def write(path: str | Path, pictures: Pictures) -> None:
    with hdf5.writing(path) as (file, _):
        file.attrs["format"] = FORMAT
        file["ids"] = np.array(pictures.ids, dtype=h5py.string_dtype())
        for name in ("image", "label", "prediction"):
            file.create_dataset(name, data=getattr(pictures, name), compression="gzip")


def read(path: str | Path) -> Pictures:
    with h5py.File(path) as file:
        return Pictures(
            list(file["ids"].asstr()[:]),
            file["image"][:],
            file["label"][:],
            file["prediction"][:],
        )
