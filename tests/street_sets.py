"""Small made-up data sets in the layouts and encodings of the real ones, for the tests."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from scalewise.taxonomy import CITYSCAPES, CITYSCAPES_LABEL_IDS, IGNORE, SYNTHIA

PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[list(CITYSCAPES_LABEL_IDS)] = CITYSCAPES.colors


def scene(draw: np.random.Generator, size: tuple[int, int], classes=range(19)):
    """Stripes of some classes in noisy colours: RGB image uint8 (H, W, 3), class map uint8."""
    chosen = draw.choice(np.array(classes), 6, replace=False)
    edges = np.sort(draw.integers(0, size[1], 5))
    label = chosen[np.searchsorted(edges, np.arange(size[1]), side="right")]
    label = np.broadcast_to(label, size).astype(np.uint8)
    colors = np.array(CITYSCAPES.colors)[label]
    image = np.clip(colors + draw.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    return image, label


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_gta5(root: Path, count: int, size=(76, 120)) -> None:
    """images/ and labels/ 00001.png ..., labels with a palette whose index is the labelId."""
    draw = np.random.default_rng(5)
    for number in range(1, count + 1):
        image, label = scene(draw, size)
        save(root / "images" / f"{number:05}.png", Image.fromarray(image))
        ids = Image.fromarray(np.array(CITYSCAPES_LABEL_IDS, np.uint8)[label], mode="P")
        ids.putpalette(PALETTE.ravel().tolist())
        save(root / "labels" / f"{number:05}.png", ids)


def write_synthia(root: Path, count: int, size=(76, 120), labels: str = "GT/LABELS") -> None:
    """RGB/ and 16-bit labels: the class in the red channel, an instance in the green one."""
    draw = np.random.default_rng(6)
    # SYNTHIA's own id of every class that occurs in it
    ids = {SYNTHIA.names[index]: i for i, index in SYNTHIA.label_ids.items() if index != IGNORE}
    train_ids = [c for c, name in enumerate(CITYSCAPES.names) if name not in SYNTHIA.absent]
    to_synthia = np.zeros(19, np.uint16)
    to_synthia[train_ids] = [ids[CITYSCAPES.names[c]] for c in train_ids]
    for number in range(count):
        image, label = scene(draw, size, train_ids)
        save(root / "RGB" / f"{number:07}.png", Image.fromarray(image))
        channels = np.zeros((*size, 3), np.uint16)  # blue, green, red for OpenCV
        channels[..., 2] = to_synthia[label]
        channels[..., 1] = draw.integers(0, 60_000)
        path = root / labels / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), channels)


def write_cityscapes(root: Path, split: str, count: int, labels: bool, size=(96, 192)) -> None:
    """leftImg8bit/ and, where asked for, gtFine/ with labelIds, in two cities."""
    draw = np.random.default_rng(len(split))
    for number in range(count):
        image, label = scene(draw, size)
        city = ("ulm", "bonn")[number % 2]
        name = f"{split}/{city}/{city}_{number:06}_000019"
        save(root / "leftImg8bit" / f"{name}_leftImg8bit.png", Image.fromarray(image))
        if labels:
            ids = np.array(CITYSCAPES_LABEL_IDS, np.uint8)[label]
            save(root / "gtFine" / f"{name}_gtFine_labelIds.png", Image.fromarray(ids))
