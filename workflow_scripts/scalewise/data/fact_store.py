"""Facts of files that were scanned before, by content, in `results/index/scanned.sqlite`.

A scan of unchanged files decodes nothing again, whatever the settings are. The store is a courtesy:
what it cannot give is decoded, and no error of its own ends a scan.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

import cv2
import PIL

from scalewise.data import facts, reading
from scalewise.data.facts import Facts
from scalewise.data.index import FOLDER

log = logging.getLogger(__name__)
PLACE = FOLDER / "scanned.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS facts
    (maker TEXT, hash TEXT, facts TEXT, checksum TEXT, PRIMARY KEY (maker, hash)) WITHOUT ROWID"""
# errors that say nothing of the file itself
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
)
# a damaged file may even damage the message of its error
_ERRORS = (sqlite3.Error, UnicodeDecodeError)
# the other scan that may be writing is done in a fraction of this
_PATIENCE_SECONDS = 20


def _maker(decode: Callable) -> str:
    """What the facts depend on beside a file's content: the code and the libraries that decode."""
    code = [Path(module.__file__).read_text(encoding="utf-8") for module in (reading, facts)]
    return _digest(decode.__name__, *code, PIL.__version__, cv2.__version__)


def _digest(*texts: str) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


class FactStore:
    """The facts that `decode` made of contents; a context manager.

    Safe to be killed at any moment and to be used by several processes.
    """

    def __init__(self, decode: Callable[[bytes], Facts]):
        self._maker = _maker(decode)
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "FactStore":
        PLACE.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(PLACE, timeout=_PATIENCE_SECONDS)
            # what is no text because it is damaged has no right checksum either
            self._connection.text_factory = lambda content: content.decode(errors="replace")
            with self._connection:
                self._connection.execute(_TABLE)
        except _ERRORS as error:
            self._do_without(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def _do_without(self, error: Exception) -> None:
        log.warning("%s: %s: files are decoded again", PLACE, error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        # the low byte says what kind of error it is
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _PASSING:
            for path in (PLACE, PLACE.with_name(f"{PLACE.name}-journal")):
                with suppress(OSError):
                    path.unlink()

    def get(self, hashes: Collection[str]) -> dict[str, Facts]:
        """Content hash -> facts, of those that are known."""
        if self._connection is None:
            return {}
        marks = ",".join("?" * len(hashes))
        query = f"SELECT hash, facts, checksum FROM facts WHERE maker = ? AND hash IN ({marks})"
        known = {}
        try:
            for name, text, checksum in self._connection.execute(query, [self._maker, *hashes]):
                if checksum == _digest(self._maker, name, str(text)):
                    known[name] = Facts.from_text(text)
        except _ERRORS as error:
            self._do_without(error)
        return known

    def put(self, found: Mapping[str, Facts]) -> None:
        """Keep the facts of these contents."""
        if self._connection is None or not found:
            return
        texts = [(name, one.text()) for name, one in found.items()]
        rows = [(self._maker, *item, _digest(self._maker, *item)) for item in texts]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?,?,?,?)", rows)
        except _ERRORS as error:
            self._do_without(error)
