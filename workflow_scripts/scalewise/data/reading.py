"""Decode images and labels with Pillow, and bring them to the working size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from scalewise.errors import UserError

# Large enough for any camera, small enough that a forged header cannot eat the memory.
Image.MAX_IMAGE_PIXELS = 200_000_000
cv2.setNumThreads(0)  # a job uses the threads it was given, and no others

# Pillow's modes of more than 8 bits per channel; converted to RGB they would be cut off at 255
_WIDE = ("I", "F")
UNDECLARED = 254  # label value of ids that the id map does not list (never a class index)


class UnreadableImage(UserError):
    """The message says what is wrong, without the file's name."""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) RGB. Raises UnreadableImage."""
    with _decoding(path) as image:
        if image.mode.startswith(_WIDE):
            raise UnreadableImage(
                f"holds more than 8 bits per channel (mode {image.mode}): convert it to 8 bits"
            )
        return np.asarray(image.convert("RGB"))


def read_label_ids(path: str | Path) -> np.ndarray:
    """Read a label image as its own ids, uint8 (H, W); a palette image by its indices, one of
    single bits as 0 and 1.

    Raises UnreadableImage, also for an image that holds colours rather than ids.
    """
    with _decoding(path) as image:
        if image.mode not in ("L", "P", "1", "I") and not image.mode.startswith("I;16"):
            raise UnreadableImage(
                f"holds colours (mode {image.mode}), not class ids; convert it to one channel"
            )
        ids = np.asarray(image)
    if ids.dtype != np.uint8:
        if ids.size and (ids.min() < 0 or ids.max() > 255):
            raise UnreadableImage(
                f"holds label ids from {int(ids.min())} to {int(ids.max())}; 0 to 255 are possible"
            )
        ids = ids.astype(np.uint8)
    return ids


@contextmanager
def _decoding(path: str | Path) -> Iterator[Image.Image]:
    """The opened and decoded image."""
    try:
        with Image.open(path) as image:
            image.load()
            yield image
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Pillow's decoders raise whatever they stumble over in a damaged file
        raise UnreadableImage(_plain(error)) from None


def _plain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    text = str(error)
    if "cannot identify" in text:
        return "not an image, or cut short"
    return f"cannot be decoded ({text})"


def lookup_table(label_ids: dict[str, int]) -> np.ndarray:
    """uint8 (256,): label id -> class index, `IGNORE`, or `UNDECLARED`."""
    table = np.full(256, UNDECLARED, np.uint8)
    for label_id, index in label_ids.items():
        table[int(label_id)] = index
    return table


def read_label(path: str | Path, table: np.ndarray) -> np.ndarray:
    """Read a label image as class indices, uint8 (H, W), 255 = ignored. Raises UnreadableImage."""
    return table[read_label_ids(path)]


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) -> (*size, 3), bicubic with Pillow's anti-aliasing."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W) -> size, nearest: no class is invented between two others."""
    if label.shape == tuple(size):
        return label
    return np.asarray(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))
