"""The style of a domain: its numbers, their defaults and their ranges.

Imports the standard library alone, so that settings can be checked without drawing anything.
"""

import difflib
from collections.abc import Mapping
from typing import NamedTuple


class StyleParameter(NamedTuple):
    """One number of a style: its value in the source domain, its range, unit and meaning."""

    default: float
    low: float
    high: float
    unit: str
    meaning: str


STYLE: dict[str, StyleParameter] = {
    # Camera: changes where things are in the picture, and so the labels.
    "focal": StyleParameter(1.0, 0.3, 5.0, "0.55 image widths", "focal length; 2: objects x 2"),
    "camera_height": StyleParameter(1.5, 0.5, 6.0, "metres", "height above the road"),
    "camera_jitter": StyleParameter(1.0, 0.0, 5.0, "degrees at focal 1", "spread of pitch and yaw"),
    # Content: changes what stands in the street, and so the labels.
    "clutter": StyleParameter(1.0, 0.0, 2.0, "relative", "number of things in the street"),
    "greenery": StyleParameter(0.35, 0.0, 1.0, "share", "gardens and trees instead of buildings"),
    "building_height": StyleParameter(1.0, 0.4, 3.0, "relative", "height of the buildings"),
    # Appearance: changes colours alone.
    "palette": StyleParameter(0.0, 0.0, 1.0, "share", "0: first set of colours, 1: the other"),
    "illumination": StyleParameter(0.6, 0.0, 1.0, "share", "0: overcast sky, 1: low bright sun"),
    "exposure": StyleParameter(1.0, 0.2, 2.5, "relative", "amount of light"),
    "shadow": StyleParameter(0.5, 0.0, 1.0, "share", "darkness of shadows on the ground"),
    "warmth": StyleParameter(0.0, -0.5, 0.5, "share", "red against blue of the light"),
    "saturation": StyleParameter(1.0, 0.0, 2.0, "relative", "strength of colours; 0: grey"),
    "gamma": StyleParameter(1.0, 0.3, 3.0, "exponent", "tone curve; above 1: darker middle tones"),
    "fog": StyleParameter(0.1, 0.0, 5.0, "per 30 metres", "extinction; 1: haze hides 63 % at 30 m"),
    "texture": StyleParameter(1.0, 0.0, 3.0, "relative", "contrast of surface texture"),
    "variety": StyleParameter(1.0, 0.0, 2.0, "relative", "how much light differs between images"),
    "blur": StyleParameter(0.0, 0.0, 5.0, "pixels at 192 wide", "standard deviation of the lens"),
    "noise": StyleParameter(3.0, 0.0, 60.0, "grey levels", "standard deviation of the sensor"),
}
STYLE_DEFAULTS: dict[str, float] = {name: entry.default for name, entry in STYLE.items()}


def check_style(style: Mapping[str, float]) -> None:
    """Check the keys and values of a style, which may leave out any of them.

    Raises:
        ValueError: a key is unknown (the message names the nearest valid one) or a value lies
            outside its range (the message names the key and the range).
    """
    for key, value in style.items():
        if key not in STYLE:
            near = difflib.get_close_matches(key, STYLE, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown style parameter {key!r}; the nearest valid one is {near!r}")
        low, high = STYLE[key].low, STYLE[key].high
        if not low <= value <= high:
            raise ValueError(f"style parameter {key!r} must be in {low}..{high}, got {value}")
