"""Decode images and labels with Pillow, and bring them to the working size."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from scalewise.errors import UserError

# Large enough for any camera, small enough that a forged header cannot eat the memory. Pillow only
# warns up to twice as many: `_decoding` refuses.
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
MAX_BYTES = 1 << 30  # of a file: it is read as a whole
# Pillow's readers that are used. It has more: that of EPS starts another program on the file.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "GIF", "JPEG2000", "TGA", "PCX")
cv2.setNumThreads(0)  # a job uses the threads it was given, and no others

# Pillow's modes of more than 8 bits per channel; converted to RGB they would be cut off at 255
_WIDE = ("I", "F")
# Pillow opens colours of 16 bits as RGB of 8, and class ids, which are small, become zeros
WIDE_COLOUR = "RGB;16"
UNDECLARED = 254  # label value of ids that the id map does not list (never a class index)


class UnreadableImage(UserError):
    """The message says what is wrong, without the file's name."""


class WrongKind(UnreadableImage):
    """The file is whole, but it is not of the kind that was expected."""


def decode_image(source: str | Path | bytes) -> tuple[np.ndarray, str]:
    """An image, given by its path or its bytes, as uint8 (H, W, 3) RGB; and the file's mode.

    Raises UnreadableImage.
    """
    with _decoding(source) as (image, mode):
        if mode.startswith(_WIDE):
            raise WrongKind(
                f"holds more than 8 bits per channel (mode {mode}): convert it to 8 bits"
            )
        return np.asarray(image.convert("RGB")), mode


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) RGB. Raises UnreadableImage."""
    return decode_image(path)[0]


def decode_label(source: str | Path | bytes) -> tuple[np.ndarray, str]:
    """A label image, given by its path or its bytes, as its own ids, uint8 (H, W); and its mode.

    A palette image holds its indices, one of single bits 0 and 1, one of 16-bit colours (mode
    `WIDE_COLOUR`, the encoding of SYNTHIA) the values of its red channel.

    Raises UnreadableImage, also for an image that holds other colours rather than ids.
    """
    with _decoding(source) as (image, mode):
        if mode == WIDE_COLOUR:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
            # blue, green, red; its size was checked above
            ids = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[..., 2]
        elif mode in ("L", "P", "1", "I") or mode.startswith("I;16"):
            ids = np.asarray(image)
        elif not np.any(image):
            raise WrongKind(
                f"holds zeros alone, as colours (mode {mode}): this is what becomes of SYNTHIA's "
                "16-bit labels in most programs; use the original with format: synthia"
            )
        else:
            raise WrongKind(
                f"holds colours (mode {mode}), not class ids; convert it to one channel"
            )
    if ids.dtype != np.uint8:
        if ids.size and (ids.min() < 0 or ids.max() > 255):
            raise WrongKind(
                f"holds label ids from {int(ids.min())} to {int(ids.max())}; 0 to 255 are possible"
            )
        ids = ids.astype(np.uint8)
    return ids, mode


def read_label_ids(path: str | Path, mode: str = "") -> np.ndarray:
    """Read a label image as its own ids, uint8 (H, W): see `decode_label`.

    mode: what the scan found. Red is read as an id only from a file that the scan took for one of
    SYNTHIA's. Raises UnreadableImage.
    """
    ids, found = decode_label(path)
    if found == WIDE_COLOUR != mode:
        raise WrongKind(f"holds 16-bit colours (mode {found}), not class ids")
    return ids


@contextmanager
def _decoding(source: str | Path | bytes) -> Iterator[tuple[Image.Image, str]]:
    """The opened and decoded image, and the mode of its file."""
    try:
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage(_too_large(f"{image.width} x {image.height}"))
            # how the bits are packed is gone once they are decoded
            wide = image.mode == "RGB" and any(";16" in str(tile.args) for tile in image.tile)
            image.load()
            yield image, WIDE_COLOUR if wide else image.mode
    except (UnreadableImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        raise UnreadableImage(_too_large(found[0] if found else "too many")) from None
    except Exception as error:
        # Pillow's decoders raise whatever they stumble over in a damaged file
        raise UnreadableImage(_plain(error)) from None


def _too_large(size: str) -> str:
    return f"has {size} pixels; at most {MAX_PIXELS:,} are read"


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


def read_label(path: str | Path, table: np.ndarray, mode: str = "") -> np.ndarray:
    """Read a label image as class indices, uint8 (H, W), 255 = ignored. Raises UnreadableImage.

    mode: of the file, as the scan found it.
    """
    return table[read_label_ids(path, mode)]


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
