"""A file is either whole or not there: write beside it, flush to disk, rename."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scalewise.errors import number_of

_UMASK = os.umask(0)  # it can only be read by setting it
os.umask(_UMASK)


@contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder, renamed to `path` when the block ends well.

    durable: it is on the disk then, and survives a power cut. Thousands of files take minutes so.

    Raises: OSError naming `path` where the system refused, whichever library met it; else whatever
    the block raises. Then nothing is left behind and `path` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)  # safetensors lets nobody else read
        os.replace(temporary, path)
        if durable:
            _flush_folder(path.parent)
    except Exception as error:
        number = number_of(error)
        met = getattr(error, "filename", None)
        if number is None or (met and Path(met) not in (path, temporary, path.parent)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut; not every file system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def write_text(path: str | Path, text: str, *, durable: bool = True) -> None:
    """Write `text` as UTF-8, atomically, with line ends as given; `durable` as in `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
