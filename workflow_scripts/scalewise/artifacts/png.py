"""PNG files: label maps and pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from scalewise.artifacts.atomic import replacing


def write(path: str | Path, pixels: np.ndarray) -> None:
    """pixels: uint8 (H, W) or (H, W, 3) RGB."""
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
