"""The hash that files are known by: BLAKE2b, 32 hexadecimal digits."""

import hashlib
from pathlib import Path


def _blake2b():
    return hashlib.blake2b(digest_size=16)


def hash_of(content: bytes) -> str:
    """Hash of bytes."""
    digest = _blake2b()
    digest.update(content)
    return digest.hexdigest()


def content_hash(path: str | Path) -> str:
    """`hash_of` the bytes of a file, which need not fit into memory."""
    digest = _blake2b()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
