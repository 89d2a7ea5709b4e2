"""Tables as CSV: UTF-8, one header line, floats written so that they read back to the same bits."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TypeVar

from scalewise.artifacts.atomic import replacing

Row = TypeVar("Row")


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # numpy's float64 is one too
        return "" if math.isnan(value) else repr(float(value))
    return value


def write(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write the rows under a header; None and NaN become empty cells."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, lineterminator="\n")
        # the plain one leaves a carriage return bare, which would end the row on reading
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(columns)
        for row in rows:
            cells = [_cell(value) for value in row]
            returns = any(isinstance(cell, str) and "\r" in cell for cell in cells)
            (quoting if returns else plain).writerow(cells)


def rows(path: str | Path, types: Mapping[str, type]) -> Iterator[tuple]:
    """Yield the rows, of each the named columns, converted; an empty cell of a float column is NaN.

    A row at a time is in memory, so that a reader may keep less of a large table than all of it.

    Raises: ValueError naming the file when a column is missing, a row is cut short, or a cell does
    not convert.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [name for name in types if name not in header]
        if missing:
            raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
        wanted = [(name, header.index(name), kind) for name, kind in types.items()]
        for number, row in enumerate(reader, 1):
            if len(row) != len(header):
                raise ValueError(f"{path}: row {number} has {len(row)} cells, not {len(header)}")
            try:
                yield tuple(_value(row[place], kind) for _, place, kind in wanted)
            except ValueError:
                for name, place, kind in wanted:
                    _named(path, name, row[place], kind)


def _value(cell: str, kind: type) -> object:
    if kind is str:
        return cell
    return kind(cell) if cell or kind is not float else math.nan


def _named(path: str | Path, name: str, cell: str, kind: type) -> None:
    """Raises the ValueError of a cell that does not convert, with file and column."""
    try:
        _value(cell, kind)
    except ValueError as error:
        raise ValueError(f"{path}: column {name}: {error}") from None


def read(path: str | Path, types: Mapping[str, type]) -> dict[str, list]:
    """The columns of `rows`, which see."""
    columns: list[list] = [[] for _ in types]
    for row in rows(path, types):
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return dict(zip(types, columns, strict=True))


def write_rows(path: str | Path, types: Mapping[str, type], content: Iterable) -> None:
    """Write dataclasses whose fields are the columns, in their order."""
    write(path, list(types), map(astuple, content))


def read_rows(path: str | Path, types: Mapping[str, type], row: Callable[..., Row]) -> list[Row]:
    """Read what `write_rows` wrote. Raises as `read`."""
    return [row(*cells) for cells in rows(path, types)]
