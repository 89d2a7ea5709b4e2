"""Photographs as cameras and programs leave them: of many kinds, brought to upright 8-bit RGB."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scalewise.artifacts.hashing import open_file
from scalewise.data import reading
from scalewise.data.reading import UnreadableImage, WrongKind

# Not public there, and not made public: reading.py is code of every stage, and any change to it
# would make every finished result anew.
_decoding = reading._decoding


def read_upright(path: str | Path) -> np.ndarray:
    """Read a photograph as uint8 (H, W, 3) RGB, turned as its EXIF orientation says.

    Grey becomes three equal channels, a palette its colours, of an animation the first picture
    counts; alpha is dropped, not blended; of 16 bits per channel the upper 8 stay.

    Raises UnreadableImage; the message does not name the file.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > reading.MAX_BYTES:
                most = f"at most {reading.MAX_BYTES:,} are read"
                raise UnreadableImage(f"has {size:,} bytes; {most}")
            content = file.read()
    except FileNotFoundError:
        raise UnreadableImage("the file is gone") from None
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror})") from None
    with _decoding(content) as (image, _):
        return _as_rgb(ImageOps.exif_transpose(image))


def _as_rgb(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3). Raises WrongKind where it is not known which values are black and white."""
    if image.mode == "F":
        raise WrongKind("holds fractions (mode F): convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise WrongKind(
                f"holds more than 16 bits per channel (mode {image.mode}): convert it to 8 or 16"
            )
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of what it drops
    return np.asarray(image.convert("RGB"))
