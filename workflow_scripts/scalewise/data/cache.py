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
        self._kept[number] = arrays
        self._bytes += sum(a.nbytes for a in arrays)
        while self._bytes > self._limit and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= sum(a.nbytes for a in old)
        return arrays
