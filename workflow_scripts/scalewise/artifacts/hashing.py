"""The hash that files are known by: BLAKE2b, 32 hexadecimal digits."""

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO


def _blake2b():
    return hashlib.blake2b(digest_size=16)


def hash_of(content: bytes) -> str:
    """Hash of bytes."""
    digest = _blake2b()
    digest.update(content)
    return digest.hexdigest()


def open_file(path: str | Path) -> BinaryIO:
    """Open a file to read its bytes. Raises OSError, also for what is no ordinary file: a pipe
    would be waited for, and a device may have no end."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # open() tells of a folder
        raise OSError(errno.EINVAL, "no ordinary file", str(path))
    return open(path, "rb", buffering=0)


def content_hash(path: str | Path) -> str:
    """`hash_of` the bytes of a file, which need not fit into memory."""
    digest = _blake2b()
    with open_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
