"""Write an HDF5 file atomically, also on a disk that becomes full.

The HDF5 library does not survive a write that fails: its objects stay half open, and the process
crashes when they are cleared away. So it writes to a file that never fails; the first error of the
disk is remembered, and raised once the library has closed its side.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py

from scalewise.artifacts.atomic import replacing


class _PatientFile(io.RawIOBase):
    """What h5py wants of a file, around one; after the first error nothing more is written."""

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file = file
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, content: memoryview) -> int:
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left and not self.error:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return size

    def readinto(self, buffer: memoryview) -> int:
        place = memoryview(buffer).cast("B")
        count = self._file.readinto(place)
        place[count:] = bytes(len(place) - count)  # what was not written
        return len(place)

    def truncate(self, size: int) -> int:
        try:
            return size if self.error else self._file.truncate(size)
        except OSError as error:
            self.error = error
            return size

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """The library asks for it now and then; `replacing` flushes to the disk at the end."""


@contextmanager
def writing(path: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Yield a new HDF5 file, which appears under its name when the block ends well, and a function
    that raises what the disk has refused so far, so that nobody writes for hours in vain.

    Raises: OSError naming the file.
    """
    with replacing(path) as temporary, open(temporary, "w+b", buffering=0) as raw:
        patient = _PatientFile(raw)

        def check() -> None:
            if patient.error:
                raise patient.error

        with h5py.File(patient, "w") as file:
            yield file, check
        check()
