"""What surfaces are made of: colours of both palettes and textures."""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np


class Material(NamedTuple):
    """What a surface is made of.

    `source` and `other` are the two palettes, a list of hex colours each; a surface's variant, a
    number in 0..1, picks one. `jitter` is the random change of its brightness, relative.
    """

    source: str
    other: str
    texture: str = "plain"
    contrast: float = 0.0
    jitter: float = 0.0
    glows: bool = False


PAINT = "e8e8e4 17191c 8a9096 b5bac0 9c2320 27457f 3c4146 5f6b4a c9b27a 2f6f75"
PAINT_OTHER = "f4efe0 2b2023 b79d83 6d7f8c 3a7a4a b5651d 54324f d8c34a 4c5f9a 8f3f3a"
CLOTHES = "23252e 6b3a35 3a4a6e 8d8a84 c8c4ba 7a2230 2f4a3a a5793c 4a4a4a 5c7fa8"
CLOTHES_OTHER = "402a20 a06a50 705a8a b8a890 e2d8b0 4a6a30 1f3a5a c98a5c 303a30 9a4a6a"
MATERIALS: dict[str, Material] = {
    "sky": Material("9fc0e2 b4c9de c6d0d8", "e6cfae cfc6c4 b9b0b8", "clouds", 0.1, 0.05, True),
    "road": Material("5d5c60 6a686a 545459", "86786c 7a7274 908379", "grain", 0.09, 0.12),
    "marking": Material("d8d6cf cfccc2", "e8dcaa d8cfae", "grain", 0.1, 0.06),
    "rail": Material("3a3a3e 48484c", "5a4c44 4c443e", "grain", 0.1),
    "sidewalk": Material("9a928c a39a90 8c8787", "9c8a86 b3a196 84838e", "slabs", 0.12, 0.12),
    "kerb": Material("b0aca6", "c2b8ae", "grain", 0.08, 0.05),
    "terrain": Material("6f8f46 7f9150 8c8a56", "a29358 8a8a48 b49a6a", "tufts", 0.24, 0.12),
    "leaves": Material(
        "3f6430 4f7236 35572f 5d7440", "6a6a2c 86682c 4c5a38 7c7a3a", "leaves", 0.42, 0.15
    ),
    "bark": Material("4c4036 574a3e", "6a5a52 4a4440", "planks", 0.2, 0.1),
    "plaster": Material(
        "b09a84 9a8a7c c2b6a4 8c7468 a8a49c b88c70",
        "7c8ea0 a8a0b0 d0c8c0 6a6e7c 96a89a b49a9a",
        "patches",
        0.14,
        0.12,
    ),
    "brick": Material("8a5a48 7c5244 96705a", "5c5a62 74605c 86807c", "bricks", 0.24, 0.12),
    "window": Material(
        "3c4854 2e3842 55636e 6e7c86", "54483e 3a3230 7a7468 8c9096", "plain", 0.0, 0.2
    ),
    "shop": Material(
        "5a3a34 2f4a44 3a3f5a 6a6258", "7a6a3a 4a2a4a 3a5a6a 8a4a3a", "plain", 0.0, 0.15
    ),
    "roof": Material("6e4238 5a4844 4a4a50", "46505a 5e5e60 7a5440", "slabs", 0.2, 0.12),
    "masonry": Material(
        "8e867c 7a746e 9c8c7c 86705f", "a89a8c 767882 8e7e86 b0a090", "blocks", 0.28, 0.12
    ),
    "coping": Material("a8a29a 6a645e", "c0b4a8 5c5a60", "grain", 0.1, 0.1),
    "fence gap": Material("5a6650 646458 505a4c", "7a7458 6e6a66 5e5a4a", "leaves", 0.3, 0.12),
    "fence bar": Material(
        "8a6a48 c8c4bc 3a4440 6e7072", "5a4436 a89c90 56606c 83523c", "plain", 0.0, 0.1
    ),
    "pole": Material("6c6e70 585a5c 84847e", "8a8078 50464a 9a9494", "plain", 0.0, 0.12),
    "lamp head": Material("c8c8c0", "b8b09a"),
    "light box": Material("1c1e1c 24262a 2a2a20", "2c2620 1e2428 4c4a1c"),
    "lamp off": Material("3a2a24 2a342a", "3c3430 2a2c30"),
    "red lamp": Material("ff3a28", "ff5a20", glows=True),
    "green lamp": Material("30f090", "60ffb0", glows=True),
    "sign rim": Material("c01f25 b82a2a", "a8382a c8503a", "plain", 0.0, 0.1),
    "sign face": Material("ecebe6 e2dcc8", "f0e4b0 dcd8cc", "plain", 0.0, 0.05),
    "sign board": Material(
        "1f4fa0 1d6a48 d8b018 2a58b0", "2a6a9a 3a5a2a d88a18 4a4a9a", "plain", 0.0, 0.1
    ),
    "skin": Material("c89a7c 8c5f46 e0b898", "b08468 7a5a48 d8a888", "plain", 0.0, 0.1),
    "hair": Material("2a201a 5a4028 8a7a6a", "1c1a20 6a3a20 a09080", "plain", 0.0, 0.1),
    "clothes": Material(CLOTHES, CLOTHES_OTHER, "patches", 0.1, 0.15),
    "paint": Material(PAINT, PAINT_OTHER, "plain", 0.0, 0.12),
    "truck box": Material(
        "d8d6d0 b8b4ac 7a8a9a a86a3a 4a6a8a",
        "b8a88a e0d4b8 6a5a4a 7a9a8a 9a5a5a",
        "planks",
        0.08,
        0.1,
    ),
    "bus paint": Material(
        "d8b430 b83a2c e0d8c4 3f7a4c", "4a8a9a d87a2a c8c8b0 8a3a5a", "plain", 0.0, 0.1
    ),
    "train paint": Material("c8ccd0 d8d2c0 b82028", "d8c8a0 a8b8b0 2f6a4a", "plain", 0.0, 0.1),
    "train band": Material("b01c28 1f4a8a 2a6a4a", "6a2a6a c87a1a 2a4a5a", "plain", 0.0, 0.1),
    "glass": Material("2a333c 38444e", "3c342e 484c52", "plain", 0.0, 0.2),
    "tyre": Material("18181a 222224", "241f1e 2c2a2c"),
    "metal": Material("a8aaac 8a8c90", "9a948c 7a7c84", "plain", 0.0, 0.1),
    "spokes": Material("6a6c6a 7a7874 58605c", "7a7064 64686c 8a7e70", "grain", 0.25, 0.1),
    "trim": Material("2c2d30 3a3b3e", "3a3230 2c3034"),
    "tail light": Material("c8201c", "d83a1c"),
    "headlight": Material("f4f2e4", "fff0c8"),
    "plate": Material("eeeee6", "e8d860"),
    "display": Material("f0a020", "e8e060", glows=True),
}
MATERIAL_NUMBER = {name: number for number, name in enumerate(MATERIALS)}

# The textures, and the metres of the world that one texel of each covers.
TEXEL = {
    "plain": 1.0,
    "grain": 0.06,
    "patches": 0.12,
    "leaves": 0.09,
    "tufts": 0.08,
    "slabs": 0.1,
    "bricks": 0.06,
    "blocks": 0.08,
    "planks": 0.06,
    "clouds": 1.2,
}
TEXTURE_NUMBER = {name: number for number, name in enumerate(TEXEL)}
TILE = 64  # texels along each side of a texture
COLOURS = 8  # of each material in each palette


@cache
def texture_tiles() -> np.ndarray:
    """Return float32 (kind, 64, 64), periodic tiles with mean 0 and a standard deviation near 1."""
    rng = np.random.default_rng(2021)

    def smooth(sigma: float) -> np.ndarray:
        noise = np.tile(rng.standard_normal((TILE, TILE)).astype(np.float32), (3, 3))
        return cv2.GaussianBlur(noise, (0, 0), sigma)[TILE : 2 * TILE, TILE : 2 * TILE]

    def joints(rows: int, columns: int, shifted: bool) -> np.ndarray:
        y, x = np.mgrid[0:TILE, 0:TILE]
        shift = (y // rows % 2) * (columns // 2) if shifted else 0
        stone = rng.standard_normal((TILE // rows, TILE // columns))
        tone = stone[y // rows, (x + shift) % TILE // columns] * 0.6
        return np.where((y % rows == 0) | ((x + shift) % columns == 0), -2.0, tone)

    grain, patches = rng.standard_normal((TILE, TILE)), smooth(4.0)
    tiles = {
        "plain": np.zeros((TILE, TILE)),
        "grain": grain + 6 * patches,
        "patches": patches,
        "leaves": smooth(0.7) + 1.5 * smooth(2.0) + 1.5 * smooth(5.0),
        "tufts": smooth(0.8) + 2 * smooth(5.0),
        "slabs": joints(8, 8, False) + 0.3 * grain,
        "bricks": joints(4, 8, True),
        "blocks": joints(8, 16, True) + 0.3 * grain,
        "planks": joints(64, 4, False) + 0.2 * grain,
        "clouds": smooth(5.0),
    }
    stacked = np.stack([tiles[name] for name in TEXEL])
    stacked = stacked - stacked.mean((1, 2), keepdims=True)
    return (stacked / np.maximum(stacked.std((1, 2), keepdims=True), 1e-6)).astype(np.float32)


@cache
def palettes() -> np.ndarray:
    """Return float32 (2, material, 8, 3): the colours of both palettes, 0..1."""

    def colours(text: str) -> list[list[int]]:
        given = [list(bytes.fromhex(word)) for word in text.split()]
        return [given[i * len(given) // COLOURS] for i in range(COLOURS)]

    both = [
        [colours(m.source) for m in MATERIALS.values()],
        [colours(m.other) for m in MATERIALS.values()],
    ]
    return np.array(both, np.float32) / 255
