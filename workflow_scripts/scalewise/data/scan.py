"""Look at every file of a set before anything is trained on it."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scalewise.artifacts.images_csv import ImageRow
from scalewise.artifacts.labels_csv import LabelRow
from scalewise.artifacts.problems_csv import Problem
from scalewise.data import reading
from scalewise.data.index import content_hash, image_id
from scalewise.taxonomy import IGNORE


def _each(work: Callable, items: Iterable, threads: int, advance: Callable[[], None]) -> list:
    results = []
    pool = ThreadPoolExecutor(threads)
    try:
        for result in pool.map(work, items):
            results.append(result)
            advance()
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for all the rest
    return results


def _unreadable(path: str, error: OSError) -> Problem:
    if not isinstance(error, FileNotFoundError):
        return Problem(
            path, f"cannot be read ({error.strerror}): check what it is and who may read"
        )
    if os.path.islink(path):
        return Problem(path, "is a link to a file that is not there: restore or remove it")
    return Problem(path, "the file is gone: start again, so that the set is read anew")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sorted_out(results: list) -> tuple[list, list[Problem]]:
    rows = [r for r in results if not isinstance(r, Problem)]
    return rows, [r for r in results if isinstance(r, Problem)]


def scan_images(
    root: str,
    paths: dict[str, str],
    pattern: str,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[ImageRow], list[Problem]]:
    """Decode every image; return a row for each good one and a problem for each other.

    paths: path relative to root -> expected content hash.
    """

    def look(item: tuple[str, str]) -> ImageRow | Problem:
        path, expected = item
        full = os.path.join(root, path)
        if not _is_text(path):
            shown = os.fsencode(full).decode("utf-8", "backslashreplace")
            return Problem(shown, "its name is not UTF-8: rename it")
        try:
            found = content_hash(full)
            height, width = reading.read_image(full).shape[:2]
        except OSError as error:
            return _unreadable(full, error)
        except reading.UnreadableImage as error:
            return Problem(full, f"{error}: replace or remove it")
        if found != expected:
            return Problem(full, "changed since the run began: start again")
        return ImageRow(image_id(path, pattern), path, width, height, found)

    rows, problems = _sorted_out(_each(look, sorted(paths.items()), threads, advance))
    return sorted(rows, key=lambda row: row.id), problems


def scan_labels(
    root: str,
    images: list[ImageRow],
    template: str,
    hashes: dict[str, str],
    label_ids: dict[str, int],
    classes: list[str],
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[LabelRow], list[Problem]]:
    """Decode the label of every image; return a row for each good one, a problem for each other.

    hashes: path relative to root -> expected content hash ("" where there is no such file).
    """
    table = reading.lookup_table(label_ids)

    def look(image: ImageRow) -> LabelRow | Problem:
        path = template.replace("{id}", image.id)
        full = os.path.join(root, path)
        if not hashes.get(path):
            return Problem(
                os.path.join(root, image.path),
                f"has no label: {full} does not exist; add it, or remove the image",
            )
        try:
            found = content_hash(full)
            ids = reading.read_label_ids(full)
        except OSError as error:
            return _unreadable(full, error)
        except reading.UnreadableImage as error:
            return Problem(full, f"{error}: replace it")
        if found != hashes[path]:
            return Problem(full, "changed since the run began: start again")
        counts = np.bincount(ids.ravel(), minlength=256)
        unknown = [int(i) for i in np.flatnonzero(counts) if table[i] == reading.UNDECLARED]
        if unknown:
            listed = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
            return Problem(
                full,
                f"holds label id {listed}, which the id map does not declare: add it to "
                "id_to_class (or map it to ignore)",
            )
        height, width = ids.shape
        if (width, height) != (image.width, image.height):
            return Problem(
                full,
                f"is {width} x {height} pixels, its image {image.width} x {image.height}: "
                "replace or remove the pair",
            )
        per_class = np.bincount(table, weights=counts, minlength=256).astype(np.int64)
        pixels = tuple(int(n) for n in per_class[: len(classes)])
        return LabelRow(image.id, path, width, height, found, int(per_class[IGNORE]), pixels)

    rows, problems = _sorted_out(_each(look, images, threads, advance))
    if rows and not problems and not any(sum(row.pixels) for row in rows):
        problems.append(
            Problem(root, "its labels hold no pixel of any class: is the id map right?")
        )
    return rows, problems
