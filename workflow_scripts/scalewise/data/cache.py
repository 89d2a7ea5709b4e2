"""Keep what was decoded while a limit of memory allows; the longest unused goes first."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np

Arrays = tuple[np.ndarray, ...]


class ArrayCache:
    """Tuples of arrays by number, for several threads. The arrays are shared: whoever gets them
    must not write."""

    def __init__(self, limit_bytes: int = 1 << 30):
        self._limit, self._bytes = limit_bytes, 0
        self._kept: OrderedDict[int, Arrays] = OrderedDict()
        self._lock = Lock()  # of what is kept; arrays are made beside each other

    def get(self, number: int, make: Callable[[int], Arrays]) -> Arrays:
        """The arrays of this number, made when they are not kept."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        arrays = make(number)
        size = sum(a.nbytes for a in arrays)
        if size > self._limit:
            return arrays
        with self._lock:
            if number in self._kept:  # two threads made it
                return self._kept[number]
            while self._bytes + size > self._limit:
                _, old = self._kept.popitem(last=False)
                self._bytes -= sum(a.nbytes for a in old)
            self._kept[number] = arrays
            self._bytes += size
        return arrays
