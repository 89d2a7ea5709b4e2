"""Keep what was decoded while a limit of memory allows; the longest unused goes first."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

Arrays = tuple[np.ndarray, ...]


class ArrayCache:
    """Tuples of arrays by number. The arrays are shared: whoever gets them must not write."""

    def __init__(self, limit_bytes: int = 1 << 30):
        self._limit, self._bytes = limit_bytes, 0
        self._kept: OrderedDict[int, Arrays] = OrderedDict()

    def get(self, number: int, make: Callable[[int], Arrays]) -> Arrays:
        """The arrays of this number, made when they are not kept."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        arrays = make(number)
        size = sum(a.nbytes for a in arrays)
        if size > self._limit:
            return arrays
        while self._bytes + size > self._limit:
            _, old = self._kept.popitem(last=False)
            self._bytes -= sum(a.nbytes for a in old)
        self._kept[number] = arrays
        self._bytes += size
        return arrays
