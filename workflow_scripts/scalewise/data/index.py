"""The index of a set's files: a content hash for each, so that a set is known by what it holds.

Touching, moving or copying files changes nothing; changing, adding or removing one does. Hashes are
cached by size and times in `results/index/`, so that unchanged files are not read again.
"""

import glob
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scalewise.artifacts.atomic import write_text
from scalewise.artifacts.hashing import content_hash
from scalewise.errors import UserError

FOLDER = Path("results", "index")
UNREADABLE = "unreadable"
# A file that changed so shortly before it was indexed may change again under the same time (the
# coarsest file systems count in steps of two seconds): it is read once more.
_SETTLED = 2_000_000_000


@dataclass(frozen=True)
class Index:
    """digest: of all paths and contents; files: path relative to the root -> content hash, empty
    for a file that is not there, `UNREADABLE` for one that cannot be read; path: where this index
    is stored."""

    digest: str
    files: dict[str, str]
    path: str


@dataclass(frozen=True, slots=True)
class Expected:
    """A file as the index knows it: its content hash, and the size and times that it had then
    (`None`: they cannot be relied on)."""

    hash: str
    stamp: tuple[int, ...] | None = None

    def is_unchanged(self, path: str) -> bool:
        """Whether size and times alone say that the file is the one that was hashed."""
        return self.stamp is not None and stamp(path) == self.stamp


def find_images(root: str | Path, pattern: str) -> list[str]:
    """Paths relative to `root`, with forward slashes, sorted; hidden files are left out.

    A link to nothing is among them: it is a mistake to be told, not a file to be left out.
    """
    found = set(glob.glob(pattern, root_dir=root, recursive=True))
    files = (p for p in found if not os.path.isdir(os.path.join(root, p)))
    return sorted(p.replace(os.sep, "/") for p in files)


def require_unchanged(path: str | Path, expected: str) -> None:
    """Raises UserError where a file is no longer the one that the plan was made with."""
    try:
        found = content_hash(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if found != expected:
        raise UserError(f"{path}: changed since the run began: start again")


def stamp(path: str) -> tuple[int, ...] | None:
    """Size and times of a file; `None` where there is none."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return (0, 0, 0)  # there, but not to be read: the scan says why
    # the time of the last change of the inode is there for files replaced under their old times
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def index_files(root: str | Path, paths: Iterable[str], name: str) -> Index:
    """Index the files at `paths` below `root`; `name` tells indexes of one root apart.

    Says on standard error how far it is when there is much to read.
    """
    root = os.path.realpath(root)
    where = hashlib.sha256(f"{root}\0{name}".encode()).hexdigest()[:16]
    cache = FOLDER / f"{where}.json"
    begun = time.time_ns()
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
        settled = stored["begun"] - _SETTLED
        known = {path: e for path, e in stored["files"].items() if e[2] < settled}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        known = {}
    stamps = {path: stamp(os.path.join(root, path)) for path in paths}
    changed = [
        path
        for path, now in stamps.items()
        if now is not None and tuple(known.get(path, ())[:3]) != now
    ]
    files = {path: known[path][3] for path in stamps if path in known}
    files.update((path, "") for path, now in stamps.items() if now is None)
    files.update(_hash_all(root, changed))
    # what is not there, or could not be read, has no stamp: it is looked at anew each time
    entries = {
        path: [*(now if now and files[path] != UNREADABLE else (0, 0, 0)), files[path]]
        for path, now in stamps.items()
    }
    if entries != known:
        content = {"root": root, "name": name, "begun": begun, "files": entries}
        try:
            write_text(cache, json.dumps(content))
        except OSError:
            # it saves the next reading of all files; whoever cannot do without the disk says so
            print(f"{cache}: could not be written", file=sys.stderr)
    found = {path: files[path] for path in stamps}
    return Index(digest_of(found), found, str(cache))


def read_index(path: str | Path) -> dict[str, Expected]:
    """An index as it was stored: path relative to the set's root -> what the file is known for."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    settled = content["begun"] - _SETTLED
    return {
        name: Expected(entry[3], tuple(entry[:3]) if 0 < entry[2] < settled else None)
        for name, entry in content["files"].items()
    }


def digest_of(files: Mapping[str, str]) -> str:
    """Digest of a set: path relative to its root -> content hash, of all its files."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:16]


def _hash_all(root: str, paths: list[str]) -> dict[str, str]:
    result, said = {}, time.monotonic()
    pool = ThreadPoolExecutor(4)
    try:
        hashes = pool.map(_hash, (os.path.join(root, path) for path in paths))
        for path, value in zip(paths, hashes, strict=True):
            result[path] = value
            if time.monotonic() - said > 5:
                said = time.monotonic()
                print(f"reading {root}: {len(result)} of {len(paths)} files", file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for all the rest
    return result


def _hash(path: str) -> str:
    try:
        return content_hash(path)
    except OSError:
        return UNREADABLE
