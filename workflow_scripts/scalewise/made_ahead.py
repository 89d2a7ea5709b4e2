"""What comes next is made with all threads of a job, and never with more than it has."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

import torch

Key = TypeVar("Key")
Made = TypeVar("Made")


def made_ahead(
    make: Callable[[Key], Made], keys: Iterable[Key], group: int
) -> Iterator[tuple[Key, Made]]:
    """Yield (key, make(key)) in the order of the keys, each made in one of several threads.

    On a CPU a network computes on all threads of the job, so nothing is made beside it: whenever
    the last is used up, the next `group` are made by as many threads as the job has. Beside a GPU,
    where one thread has to tell it what to do, the others make the next `group` meanwhile.

    Args:
        make: may be called from several threads at once.
        group: at most so many are waiting.
    """
    threads = torch.get_num_threads()
    beside = threads > 1 and _waits_for_gpu()
    # what is made uses torch a little: one thread each, of those that the job has
    pool = ThreadPoolExecutor(threads - beside, initializer=torch.set_num_threads, initargs=(1,))
    left = iter(keys)
    waiting: deque = deque()

    def submit(count: int) -> None:
        waiting.extend((key, pool.submit(make, key)) for key in islice(left, count))

    try:
        submit(group)
        while waiting:
            if not beside:
                wait([made for _, made in waiting])
            key, made = waiting.popleft()
            result = made.result()
            if beside:
                submit(1)
            yield key, result
            if not waiting:
                submit(group)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _waits_for_gpu() -> bool:
    """Whether this process computes on a GPU: where there is one, a job does."""
    return torch.cuda.is_available()
