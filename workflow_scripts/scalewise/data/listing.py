"""Which files a scan looks at, and what they are expected to hold."""

import fnmatch
import json
from pathlib import Path

from scalewise.artifacts import table
from scalewise.data.index import find_images
from scalewise.errors import UserError
from scalewise.job import Job


def _drawn(job: Job) -> dict[str, str]:
    columns = table.read(job.input("drawn"), {"path": str, "hash": str})
    return dict(zip(columns["path"], columns["hash"], strict=True))


def _indexed(path: str) -> dict[str, str]:
    files = json.loads(Path(path).read_text(encoding="utf-8"))["files"]
    return {name: entry[3] for name, entry in files.items()}


def image_hashes(job: Job, pattern: str) -> dict[str, str]:
    """Path relative to the set's root -> content hash of every image of the set ("" of a link to
    nothing)."""
    if job.has_input("drawn"):
        # the pattern's ** also matches no folder at all, which fnmatch does not know
        flat = pattern.replace("**/", "*")
        return {p: h for p, h in _drawn(job).items() if fnmatch.fnmatchcase(p, flat)}
    indexed = _indexed(job.locations["image_index"])
    if sorted(indexed) != find_images(job.locations["root"], pattern):
        raise UserError(
            f"{job.locations['root']}: files came or went since the run began: start again"
        )
    return indexed


def label_hashes(job: Job) -> dict[str, str]:
    """Path relative to the set's root -> content hash of every label ("" of one that is missing).

    A drawn set lists its images too.
    """
    return _drawn(job) if job.has_input("drawn") else _indexed(job.locations["label_index"])
