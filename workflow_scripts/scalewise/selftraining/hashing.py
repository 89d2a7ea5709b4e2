"""Draws by hash: unlike a random generator, the same in every library, on every machine."""

from hashlib import blake2b


def two_numbers(*parts: int | str) -> tuple[int, int]:
    """Two whole numbers below 2**64 that follow from the parts alone."""
    digest = blake2b("\n".join(map(str, parts)).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
