"""Which files a scan looks at, and what they are expected to hold."""

import fnmatch
from pathlib import Path

from scalewise.artifacts import table
from scalewise.data.index import Expected, digest_of, find_images, read_index
from scalewise.errors import UserError
from scalewise.job import Job


def _drawn(job: Job) -> dict[str, Expected]:
    columns = table.read(job.input("drawn"), {"path": str, "hash": str})
    return dict(zip(columns["path"], map(Expected, columns["hash"]), strict=True))


def _indexed(job: Job, role: str, path: str | Path) -> dict[str, Expected]:
    """The index that the plan was made from; another call may have written a newer one since."""
    files = read_index(path)
    if digest_of({name: file.hash for name, file in files.items()}) != job.contents[role]:
        raise UserError(f"{job.locations['root']}: changed since the run began: start again")
    return files


def expected_images(job: Job, pattern: str) -> dict[str, Expected]:
    """Path relative to the set's root -> every image of the set (with the hash "" of a link to
    nothing)."""
    if job.has_input("drawn"):
        # the pattern's ** also matches no folder at all, which fnmatch does not know
        flat = pattern.replace("**/", "*")
        return {p: e for p, e in _drawn(job).items() if fnmatch.fnmatchcase(p, flat)}
    indexed = _indexed(job, "images", job.locations["image_index"])
    if sorted(indexed) != find_images(job.locations["root"], pattern):
        raise UserError(
            f"{job.locations['root']}: files came or went since the run began: start again"
        )
    return indexed


def expected_labels(job: Job) -> dict[str, Expected]:
    """Path relative to the set's root -> every label (with the hash "" of one that is missing).

    A drawn set lists its images too.
    """
    if job.has_input("drawn"):
        return _drawn(job)
    return _indexed(job, "labels", job.locations["label_index"])
