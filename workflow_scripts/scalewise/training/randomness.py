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


def rare_class_items(
    seed: int, purpose: str, step: int, counts: np.ndarray, temperature: float, batch: int
) -> list[int]:
    """As `batch_items`, but images of rare classes come more often (DAFormer, CVPR 2022).

    Each place of the batch draws a class, with probability softmax((1 - f) / temperature), f its
    share of all pixels, then one of the items that hold it. A function of seed and step alone.

    Args:
        counts: int (items, K), pixels of each class. Classes without any are never drawn.
        temperature: 0.01 nearly always draws the rarest; 1 hardly minds.

    Raises:
        ValueError: no item holds any class.
    """
    total = counts.sum(0)
    if not total.sum():
        raise ValueError("no item holds a pixel of any class")
    score = np.where(total > 0, (1 - total / total.sum()) / temperature, -np.inf)
    chance = np.exp(score - score.max())
    chosen = []
    for place in range(batch):
        draws = generator(seed, purpose, "rare", step, place)
        which = draws.choice(len(total), p=chance / chance.sum())
        holders = np.flatnonzero(counts[:, which])
        chosen.append(int(holders[draws.integers(len(holders))]))
    return chosen
