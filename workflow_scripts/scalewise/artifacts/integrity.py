"""What the files of a finished stage are known by, and whether they still are what was written.

`settings.json` keeps size and BLAKE2b of each file beside it. Whoever reads a file of another
stage looks first: nobody must work in silence on a checkpoint with a flipped bit or a table that
is cut short.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from scalewise.artifacts.hashing import content_hash
from scalewise.errors import UserError


def describe(folder: Path) -> dict[str, dict]:
    """File name -> its size in bytes and its hash, of the files in a stage's folder, but
    `settings.json`."""
    return {
        path.name: {"bytes": path.stat().st_size, "hash": content_hash(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "settings.json" and not path.name.endswith(".tmp")
    }


def require_whole(paths: Iterable[Path]) -> None:
    """Raises UserError naming the first file that is not what its stage wrote. Of files without a
    record (results of an earlier version of this program) nothing is known."""
    for path in paths:
        try:
            record = json.loads((path.parent / "settings.json").read_text(encoding="utf-8"))
            known = record["files"][path.name]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        remedy = f"Remove the folder {path.parent} and start again: it is made anew"
        try:
            size = path.stat().st_size
            if size != known["bytes"]:
                raise UserError(
                    f"{path}: damaged: it has {size} bytes and was written with {known['bytes']}. "
                    + remedy
                )
            if content_hash(path) != known["hash"]:
                raise UserError(f"{path}: damaged: its bytes are not those written. {remedy}")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}). {remedy}") from None
