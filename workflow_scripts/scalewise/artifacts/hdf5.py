"""HDF5 files of this project, read and written with care.

What a damaged or forged file says of itself is checked before any of it is read, so that it can
neither eat the memory nor reach other files.

The HDF5 library does not survive a write that fails: its objects stay half open, and the process
crashes when they are cleared away. So it writes to a file that never fails; the first error of the
disk is remembered, and raised once the library has closed its side.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py

from scalewise.artifacts.atomic import replacing
from scalewise.errors import UserError

# A byte on disk gives at most 1032 by deflate, the only packing in use; a data set that claims more
# was not written, but declared.
_EXPANSION = 1032
_SLACK = 1 << 20  # what is so small harms nobody
# name -> type (None: text) and size along each axis: a number, or a letter that stands for one
Layout = Mapping[str, tuple[type | None, tuple[int | str, ...]]]


def unfit(path: str | Path, what: str) -> UserError:
    """The error to raise for a file that cannot be used, with its remedy."""
    return UserError(
        f"{path}: {what}: remove the folder {Path(path).parent} and run again, so that it is made "
        "anew"
    )


def open_file(path: str | Path, kind: str, layout: Layout) -> tuple[h5py.File, dict[str, int]]:
    """Open a file for reading; return it, and what each letter of the layout stands for.

    kind: the value of its attribute `format`; layout: the data sets that it must have.

    Raises UserError naming the file and what to do: where it is damaged, of another format, its
    data sets are not as the layout says or do not fit each other, claim to be larger than what is
    stored could be, or lie in other files.
    """
    try:
        file = h5py.File(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unfit(path, f"damaged or cut short ({str(error)[:80]})") from None
    try:
        found = file.attrs.get("format")
        if not isinstance(found, str) or found != kind:
            other = f", but of {found[:40]!r}" if isinstance(found, str) else ""
            raise unfit(path, f"not a file of format '{kind}'{other}")
        sizes: dict[str, int] = {}
        for name, (dtype, axes) in layout.items():
            _check(path, name, dataset(path, file, name), dtype, axes, sizes)
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        file.close()
        raise unfit(path, f"damaged ({str(error)[:80]})") from None
    except UserError:
        file.close()
        raise
    return file, sizes


def dataset(path: str | Path, group: h5py.Group, name: str) -> h5py.Dataset:
    """A data set that lies in the file itself and is no larger than what is stored of it can be.
    Raises UserError otherwise."""
    link = group.get(name, getlink=True)
    if link is None:
        raise unfit(path, f"has no data set '{name}'")
    found = group[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise unfit(path, f"'{name}' is no data set of this file")
    if found.nbytes > _EXPANSION * found.id.get_storage_size() + _SLACK:
        raise unfit(
            path,
            f"'{name}' claims {_shape(found.shape)} values, and what is stored of it cannot be so "
            "many",
        )
    return found


def _check(path, name: str, found: h5py.Dataset, dtype, axes: tuple, sizes: dict[str, int]) -> None:
    """Raises UserError where type and shape are not as the layout says."""
    is_text = h5py.check_string_dtype(found.dtype) is not None
    if is_text if dtype is not None else not is_text:
        raise unfit(path, f"'{name}' holds {found.dtype}")
    if dtype is not None and found.dtype != dtype:
        raise unfit(path, f"'{name}' holds {found.dtype}, not {dtype.__name__}")
    shape = found.shape or ()
    fits = len(shape) == len(axes) and all(
        size == (axis if isinstance(axis, int) else sizes.setdefault(axis, size))
        for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        wanted = [axis if isinstance(axis, int) else sizes.get(axis, axis) for axis in axes]
        raise unfit(path, f"'{name}' is {_shape(shape)}, not {_shape(wanted)}")


def _shape(shape) -> str:
    return " x ".join(map(str, shape)) or "one value"


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
