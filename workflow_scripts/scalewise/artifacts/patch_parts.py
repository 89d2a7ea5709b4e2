"""`patches.h5` written in parts, so that what a killed run had finished is not lost.

An HDF5 file that was open when its process was killed is no use. So patches go to parts,
`patches-<number>.h5`, closed whenever the stage saves its state, and copied into one file at the
end, packed as they are.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from scalewise.artifacts import patches_h5
from scalewise.artifacts.hashing import content_hash
from scalewise.errors import UserError


class PatchParts:
    """Appends patches to parts in `folder`; see `patches_h5.writing` for crop and size."""

    def __init__(self, folder: Path, crop: tuple[int, int], size: tuple[int, int]):
        self._folder, self._crop, self._size = folder, crop, size
        self._hashes: list[str] = []  # of the closed parts
        self._open = ExitStack()
        self._writer: patches_h5.PatchWriter | None = None

    def _path(self, number: int) -> Path:
        return self._folder / f"patches-{number:06}.h5"

    def append(self, batch: patches_h5.Patches) -> None:
        if self._writer is None:
            path = self._path(len(self._hashes))
            self._writer = self._open.enter_context(
                patches_h5.writing(path, None, self._crop, self._size)
            )
        self._writer.append(batch)

    def close(self) -> dict[str, np.ndarray]:
        """Finish the open part; returns `parts`, the hashes of all of them, uint8 (n, 32)."""
        if self._writer is not None:
            self._writer = None
            self._open.close()
            self._hashes.append(content_hash(self._path(len(self._hashes))))
        return {"parts": np.array([list(h.encode()) for h in self._hashes], np.uint8)}

    def restore(self, parts: np.ndarray) -> None:
        """Go on after the parts with these hashes. Raises UserError where one is damaged."""
        self._hashes = [bytes(row).decode() for row in parts]
        for number, known in enumerate(self._hashes):
            path = self._path(number)
            if not path.exists() or content_hash(path) != known:
                raise UserError(
                    f"{path}: damaged: it is not what the saved state knows. Remove the folder "
                    f"{self._folder} and start again: this stage begins anew"
                )

    def join(self, path: Path, count: int, claim: dict[str, np.ndarray]) -> None:
        """Write all parts and the claim as one file of `count` patches."""
        self.close()
        with patches_h5.writing(path, count, self._crop, self._size) as writer:
            for number in range(len(self._hashes)):
                writer.append_file(self._path(number))
            writer.claim(claim)
