"""Which files a scan looks at, and what they are expected to hold."""

import fnmatch
import json
from pathlib import Path

from scalewise.artifacts import table
from scalewise.data.index import digest_of, find_images
from scalewise.errors import UserError
from scalewise.job import Job


def _drawn(job: Job) -> dict[str, str]:
    columns = table.read(job.input("drawn"), {"path": str, "hash": str})
    return dict(zip(columns["path"], columns["hash"], strict=True))


def _indexed(job: Job, role: str, path: str) -> dict[str, str]:
    """The index that the plan was made from; another call may have written a newer one since."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))["files"]
    files = {name: entry[3] for name, entry in content.items()}
    if digest_of(files) != job.contents[role]:
        raise UserError(f"{job.locations['root']}: changed since the run began: start again")
    return files


def image_hashes(job: Job, pattern: str) -> dict[str, str]:
    """Path relative to the set's root -> content hash of every image of the set ("" of a link to
    nothing)."""
    if job.has_input("drawn"):
        # the pattern's ** also matches no folder at all, which fnmatch does not know
        flat = pattern.replace("**/", "*")
        return {p: h for p, h in _drawn(job).items() if fnmatch.fnmatchcase(p, flat)}
    indexed = _indexed(job, "images", job.locations["image_index"])
    if sorted(indexed) != find_images(job.locations["root"], pattern):
        raise UserError(
            f"{job.locations['root']}: files came or went since the run began: start again"
        )
    return indexed


def label_hashes(job: Job) -> dict[str, str]:
    """Path relative to the set's root -> content hash of every label ("" of one that is missing).

    A drawn set lists its images too.
    """
    if job.has_input("drawn"):
        return _drawn(job)
    return _indexed(job, "labels", job.locations["label_index"])
