"""Maps of one size on disk while a stage works on them: so many do not fit into memory."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scalewise.errors import UserError

_BLOCK = 1 << 20  # bytes


class MapsFile:
    """Maps, uint8 (n, h, w), one behind the other in a file of nothing else.

    A state of the stage holds the hash of those it knows of; what a killed run wrote after them is
    dropped.

    Args:
        path: in the folder of the stage's state; overwritten by the first map.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: BinaryIO | None = None
        self._size = 0, 0
        self._count = 0
        self._hash = hashlib.blake2b(digest_size=32)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._count, *self._size

    def append(self, maps: np.ndarray) -> None:
        """maps: uint8 (some, h, w)."""
        if self._file is None:
            self._file = open(self._path, "w+b")  # noqa: SIM115 (held until the end)
            self._size = maps.shape[1:]
        content = np.ascontiguousarray(maps).tobytes()
        self._file.seek(0, os.SEEK_END)
        self._file.write(content)
        self._hash.update(content)
        self._count += len(maps)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs, once all is on the disk: `maps` and `maps_shape`."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        digest = np.frombuffer(self._hash.copy().digest(), np.uint8)
        return {"maps": digest, "maps_shape": np.array(self.shape, np.int64)}

    def restore(self, maps: np.ndarray, maps_shape: np.ndarray) -> None:
        """Go on after the maps of such a state. Raises UserError where they are damaged."""
        self._count, *size = maps_shape.tolist()
        self._size = tuple(size)
        left = self._count * size[0] * size[1]
        try:
            self._file = open(self._path, "r+b")  # noqa: SIM115
            while left and (block := self._file.read(min(left, _BLOCK))):
                self._hash.update(block)
                left -= len(block)
        except FileNotFoundError:
            pass
        if left or self._hash.digest() != maps.tobytes():
            raise UserError(
                f"{self._path}: damaged: it is not what the saved state knows. Remove the folder "
                f"{self._path.parent} and start again: this stage begins anew"
            )
        self._file.truncate()

    def __getitem__(self, part: slice) -> np.ndarray:
        """uint8 (some, h, w)."""
        first, end, _ = part.indices(self._count)
        pixels = self._size[0] * self._size[1]
        self._file.seek(first * pixels)
        content = self._file.read((end - first) * pixels)
        return np.frombuffer(content, np.uint8).reshape(-1, *self._size)
