"""What the benchmarks share: taking turns, and a table to print."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median


def interleaved(
    works: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds by `clock` (CPU time of this process) of each work, `repeats` times in turn.

    They take turns so that what else the machine does meets all of them alike. Each is run once
    before, unmeasured.
    """
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            begun = clock()
            work()
            seconds[name].append(clock() - begun)
    return seconds


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios turn by turn: a turn in a slow moment is slow for both."""
    return median(a / b for a, b in zip(above, below, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under their head; the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([row[0].ljust(widths[0]), *rest])

    return "\n".join([line(cells[0]), "  ".join("-" * w for w in widths), *map(line, cells[1:])])
