"""Random views of an image and its label: pure functions of a generator and the settings."""

from collections.abc import Sequence

import cv2
import numpy as np

from scalewise.taxonomy import IGNORE


def augment(
    image: np.ndarray, label: np.ndarray, settings: dict, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random view of the same size.

    Args:
        image: uint8 (H, W, 3) RGB.
        label: uint8 (H, W), 255 = ignored.
        settings: `flip`; `scale` (smallest, largest: log-uniform; larger views are cropped, smaller
            ones padded with ignored pixels); `brightness`, `contrast`, `saturation`,
            `channel_gain`, `gamma` (largest relative change; 0 is off); `blur` (largest standard
            deviation in pixels).
        generator: its draws follow from seed, step and item alone. The number of draws does not
            depend on what they bring, so that one setting does not change the others' draws.
    """
    image, (label,), drawn = move(image, (label,), settings, generator)
    return recolour(image, settings, drawn), label


def move(
    image: np.ndarray,
    maps: Sequence[np.ndarray],
    settings: dict,
    generator: np.random.Generator,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """The first half of a view: flipped, scaled, cut or padded, in its own colours.

    Args:
        maps: uint8 (H, W) each, such as a label; they move with the image, padded with 255.

    Returns:
        image, maps, and what was drawn for `recolour`.
    """
    flip, scale, top, left = generator.random(4)
    drawn = np.concatenate([generator.uniform(-1, 1, 7), [generator.random()]])
    maps = list(maps)
    if settings["flip"] and flip < 0.5:
        image, maps = cv2.flip(image, 1), [cv2.flip(m, 1) for m in maps]
    low, high = settings["scale"]
    if (low, high) != (1, 1):
        factor = float(np.exp(np.log(low) + scale * (np.log(high) - np.log(low))))
        image, maps = rescale(image, maps, factor, (top, left))
    return np.ascontiguousarray(image), [np.ascontiguousarray(m) for m in maps], drawn


def recolour(image: np.ndarray, settings: dict, drawn: np.ndarray) -> np.ndarray:
    """The second half of a view: colours and blur, as drawn by `move`."""
    image = _recolour(image, settings, drawn[:7])
    sigma = settings["blur"] * drawn[7]
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.1 else image


def rescale(
    image: np.ndarray, maps: Sequence[np.ndarray], factor: float, at: tuple[float, float]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Scale by `factor` and cut or pad to the old size; `at` (0..1, 0..1) places cut or content.

    Padding is the image's mean colour, and 255 (ignored) in the maps, uint8 (H, W) each.
    """
    height, width = image.shape[:2]
    h, w = max(1, round(height * factor)), max(1, round(width * factor))
    shrinking = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(np.ascontiguousarray(image), (w, h), interpolation=shrinking)
    mapped = [
        cv2.resize(np.ascontiguousarray(m), (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
        for m in maps
    ]
    if factor >= 1:
        top, left = int(at[0] * (h - height + 1)), int(at[1] * (w - width + 1))
        part = np.s_[top : top + height, left : left + width]
        return scaled[part], [m[part] for m in mapped]
    top, left = int(at[0] * (height - h + 1)), int(at[1] * (width - w + 1))
    around = (top, height - h - top, left, width - w - left, cv2.BORDER_CONSTANT)
    mean = np.round(cv2.mean(scaled)[:3]).tolist()
    padded = [cv2.copyMakeBorder(m, *around, value=[IGNORE]) for m in mapped]
    return cv2.copyMakeBorder(scaled, *around, value=mean), padded


def zoom(
    image: np.ndarray, label: np.ndarray, generator: np.random.Generator, factor: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut 1 / factor of each side at a random place and scale it up to the old size, with its true
    label: what the paper does to target patches, done to the source (the control `source_zoom`)."""
    height, width = label.shape
    h, w = round(height / factor), round(width / factor)
    top = generator.integers(height - h + 1)
    left = generator.integers(width - w + 1)
    part = np.s_[top : top + h, left : left + w]
    return (
        cv2.resize(
            np.ascontiguousarray(image[part]), (width, height), interpolation=cv2.INTER_LINEAR
        ),
        cv2.resize(
            np.ascontiguousarray(label[part]),
            (width, height),
            interpolation=cv2.INTER_NEAREST_EXACT,
        ),
    )


def _recolour(image: np.ndarray, settings: dict, draws: np.ndarray) -> np.ndarray:
    brightness, contrast, saturation, gamma, *gains = draws
    strengths = [
        settings[k] for k in ("brightness", "contrast", "saturation", "gamma", "channel_gain")
    ]
    if not any(strengths):
        return image
    # channel by channel: loops along rows, not over three values at a time
    x = np.stack(cv2.split(image)).astype(np.float32)
    x /= 255
    if settings["saturation"]:
        grey = x.sum(0) / 3
        x -= grey
        x *= np.float32(1 + settings["saturation"] * saturation)
        x += grey
    if settings["contrast"]:
        mean = np.float32(x.mean(dtype=np.float64))
        x -= mean
        x *= np.float32(1 + settings["contrast"] * contrast)
        x += mean
    if settings["brightness"]:
        x += np.float32(settings["brightness"] * brightness)
    if settings["channel_gain"]:
        x *= (1 + settings["channel_gain"] * np.asarray(gains)).astype(np.float32)[:, None, None]
    np.clip(x, 0, 1, out=x)
    if settings["gamma"]:
        x **= np.float32(np.exp(gamma * np.log1p(settings["gamma"])))
    x *= 255
    return cv2.merge([*np.round(x, out=x).astype(np.uint8)])
