"""Tables as CSV: UTF-8, one header line, floats written so that they read back to the same bits."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def read(path: str | Path, types: Mapping[str, type]) -> dict[str, list]:
    """Read the named columns, converted; an empty cell of a float column is NaN.

    Raises: ValueError naming the file when a column is missing, a row is cut short, or a cell does
    not convert.
    """
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = list(reader)
    missing = [name for name in types if name not in header]
    if missing:
        raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
    short = [k for k, row in enumerate(rows) if len(row) != len(header)]
    if short:
        raise ValueError(
            f"{path}: row {short[0] + 1} has {len(rows[short[0]])} cells, not {len(header)}"
        )
    table = {}
    for name, kind in types.items():
        position = header.index(name)
        cells = [row[position] for row in rows]
        try:
            if kind is float:
                table[name] = [float(cell) if cell else math.nan for cell in cells]
            else:
                table[name] = cells if kind is str else [kind(cell) for cell in cells]
        except ValueError as error:
            raise ValueError(f"{path}: column {name}: {error}") from None
    return table


def write_rows(path: str | Path, types: Mapping[str, type], rows: Iterable) -> None:
    """Write dataclasses whose fields are the columns, in their order."""
    write(path, list(types), map(astuple, rows))


def read_rows(path: str | Path, types: Mapping[str, type], row: Callable[..., Row]) -> list[Row]:
    """Read what `write_rows` wrote. Raises as `read`."""
    return [row(*cells) for cells in zip(*read(path, types).values(), strict=True)]
