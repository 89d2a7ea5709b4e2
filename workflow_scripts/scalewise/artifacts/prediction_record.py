"""`predictions.jsonl`: what made the predictions in a folder, and which images are finished.

The first line is an object with `format`, `model` (hash of its file) and the options that have a
say in the predictions; each further one a finished image: its name, size and time of change (in
nanoseconds) of its file, and the kinds of results that were made of it as it was then. Lines are
only added, so a line that a crash cut short is the last one, and is dropped.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from scalewise import file_lock
from scalewise.errors import UserError

FORMAT = "scalewise predictions 1"
FILE = "predictions.jsonl"


def stamp(path: str | Path) -> list[int]:
    """Size and time of change of a file; empty where it cannot be asked."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


class PredictionRecord:
    """Which images are finished. See `opened`."""

    def __init__(self, file: BinaryIO, path: Path, finished: dict[str, tuple[list[int], set]]):
        self._file, self._path, self._finished = file, path, finished

    def kinds_of(self, name: str, now: list[int]) -> set[str]:
        """The kinds of results that were made of the image as it is, by its stamp."""
        then, kinds = self._finished.get(name, ([], set()))
        return kinds if then == now != [] else set()

    def add(self, name: str, of: list[int], kinds: set[str]) -> None:
        """Say that these results of an image are there, and no older ones of other kinds."""
        _append(self._file, self._path, [name, *of, sorted(kinds)])


@contextmanager
def opened(
    folder: Path, made_by: Mapping[str, object], kinds: list[str], *, redo: bool = False
) -> Iterator[PredictionRecord]:
    """Hold the record of a folder of predictions; begin it where there is none.

    made_by: what the predictions depend on, as plain JSON values. kinds: folders that results are
    written to. redo: predictions made by something else are made anew.

    Raises UserError where another process holds it, the predictions there were made by something
    else (and redo is not set), or it is not known what made them.
    """
    header = {"format": FORMAT, **made_by}
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists() and (there := [k for k in kinds if (folder / k).exists()]):
        raise UserError(
            f"{folder / there[0]}: is there already, and no {FILE} says what made it: name another "
            "folder to write to"
        )
    with open(path, "a+b") as file:
        if not file_lock.take(file):
            raise UserError(f"{folder}: another process is writing predictions there")
        file.seek(0)
        content = file.read()
        lines = content[: content.rfind(b"\n") + 1]
        file.truncate(len(lines))
        before, finished = _parsed(path, lines)
        if before is not None and before != header:
            if not redo:
                raise UserError(
                    f"{folder}: {_what_differs(before, header)}: name another folder to write to, "
                    "or add --redo to make all predictions anew"
                )
            before, finished = None, {}
        if before is None:
            file.truncate(0)
            _append(file, path, header)
        yield PredictionRecord(file, path, finished)


def _append(file: BinaryIO, path: Path, value: object) -> None:
    try:
        file.write(json.dumps(value).encode() + b"\n")
        file.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _parsed(path: Path, lines: bytes) -> tuple[dict | None, dict[str, tuple[list[int], set]]]:
    """The first line, None for an empty file; name -> stamp and kinds of the finished images."""
    if not lines:
        return None, {}
    try:
        header, *rows = map(json.loads, lines.splitlines())
        if header["format"] != FORMAT:
            raise ValueError
        return header, {name: ([size, time], set(kinds)) for name, size, time, kinds in rows}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: not a record of predictions: name another folder to write to"
        ) from None


def _what_differs(before: dict, now: dict) -> str:
    if before.get("model") != now["model"]:
        return "holds predictions of another model"
    names = [name for name in now if before.get(name) != now[name]] or list(before.keys() - now)
    return f"holds predictions made with {names[0]} {before.get(names[0])}, not {now.get(names[0])}"
