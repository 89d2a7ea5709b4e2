"""Every random choice follows from the seed and the number of the step; nothing is carried on."""

from functools import lru_cache
from hashlib import blake2b

import numpy as np


def derived_seed(seed: int, *purpose: int | str) -> int:
    """A 63-bit seed for one purpose, such as ("dropout", step)."""
    text = "\0".join(map(str, (seed, *purpose)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """A generator for one purpose: the same draws whenever and wherever it is made."""
    return np.random.Generator(np.random.PCG64(derived_seed(seed, *purpose)))


@lru_cache(maxsize=8)
def _order(seed: int, purpose: str, epoch: int, count: int) -> np.ndarray:
    return generator(seed, purpose, epoch).permutation(count)


def batch_items(seed: int, purpose: str, step: int, batch: int, count: int) -> list[int]:
    """Which of `count` items make the batch of this step: every item once per epoch, in an order
    drawn anew for each epoch. A batch may reach over the end of one."""
    positions = range(step * batch, (step + 1) * batch)
    return [int(_order(seed, purpose, p // count, count)[p % count]) for p in positions]
