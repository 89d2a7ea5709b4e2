"""Look at every file of a set before anything is trained on it."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from scalewise.artifacts.hashing import hash_of, open_file
from scalewise.artifacts.images_csv import ImageRow
from scalewise.artifacts.labels_csv import LabelRow
from scalewise.artifacts.problems_csv import Problem
from scalewise.data import reading
from scalewise.data.fact_store import FactStore
from scalewise.data.facts import Facts, image_facts, label_facts
from scalewise.data.index import Expected
from scalewise.patterns import image_id, label_path
from scalewise.taxonomy import IGNORE

# Files in flight: what is known of them is looked up, and what was found is stored, at once. Large
# enough to keep all threads busy, small enough to lose little when the scan is killed.
BATCH = 128
_SYNTHIA_IDS = 22  # the largest of them


@dataclass(frozen=True, slots=True)
class _File:
    """A file to look at: the id of its image, its path below the root, and what is known of it."""

    id: str
    path: str
    expected: Expected


class Findings:
    """The problems of a scan, with their verdicts."""

    def __init__(self):
        self.problems: list[Problem] = []
        self._unfit = 0

    def stop(self, file: str, text: str) -> None:
        """What leaving out a file would not mend."""
        self.problems.append(Problem(file, text, "stop"))

    def leave_out(self, file: str, text: str) -> None:
        """A single file that is no use; the others may be. `data.on_problem` decides."""
        self._unfit += 1
        self.problems.append(Problem(file, text, "skip"))

    def warn(self, file: str, text: str) -> None:
        self.problems.append(Problem(file, text, "warn"))

    def check_share(self, root: str, files: int, what: str) -> None:
        """Stop where leaving out would leave out most."""
        if 2 * self._unfit > files:
            left = "none is left" if self._unfit == files else "more than half"
            self.stop(
                root,
                f"{self._unfit} of {files} {what} are of no use ({left}): this is no accident of "
                "single files; see the list",
            )


def _batches(items: Iterable[_File]) -> Iterator[list[_File]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _looked_at(
    root: str,
    files: Iterable[_File],
    decode: Callable[[bytes], Facts],
    threads: int,
    advance: Callable[[], None],
) -> Iterator[tuple[_File, Facts | OSError | None]]:
    """Yield each file, in order, with its facts, or why it cannot be read, or None where it is no
    longer what was expected.

    A file is read once at most, and decoded only where its facts are not stored.
    """

    def look(file: _File, known: Facts | None) -> tuple[Facts | OSError | None, bool]:
        """The facts, and whether they are new."""
        path = os.path.join(root, file.path)
        if known and file.expected.is_unchanged(path):
            return known, False
        try:
            with open_file(path) as opened:
                size = os.fstat(opened.fileno()).st_size
                if size > reading.MAX_BYTES:
                    most = f"at most {reading.MAX_BYTES:,} are read"
                    return Facts(error=f"has {size:,} bytes; {most}", damaged=True), False
                content = opened.read()
        except OSError as error:
            return error, False
        if hash_of(content) != file.expected.hash:
            return None, False
        return (known, False) if known else (decode(content), True)

    with FactStore(decode) as store:
        pool = ThreadPoolExecutor(threads)
        try:
            for batch in _batches(files):
                stored = store.get({file.expected.hash for file in batch})
                results, new = [], {}
                known = [stored.get(file.expected.hash) for file in batch]
                for file, (result, is_new) in zip(batch, pool.map(look, batch, known), strict=True):
                    results.append((file, result))
                    if is_new:
                        new[file.expected.hash] = result
                    advance()
                store.put(new)
                yield from results
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for all the rest


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(path: str, result: Facts | OSError | None, findings: Findings) -> bool:
    """Say what keeps a file from being used at all; whether there was such a thing."""
    if result is None:
        findings.stop(path, "changed since the run began: start again")
    elif isinstance(result, FileNotFoundError):
        if os.path.islink(path):
            findings.leave_out(path, "is a link to a file that is not there: restore or remove it")
        else:
            findings.stop(path, "the file is gone: start again, so that the set is read anew")
    elif isinstance(result, OSError):
        findings.stop(
            path, f"cannot be read ({result.strerror}): check what it is and who may read"
        )
    elif result.error:
        tell = findings.leave_out if result.damaged else findings.stop
        tell(path, f"{result.error}: replace or remove it")
    else:
        return False
    return True


def scan_images(
    root: str,
    files: dict[str, Expected],
    pattern: str,
    findings: Findings,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[ImageRow]:
    """Look at every image; yield a row for each that is fit for use, in order of the ids, and tell
    `findings` of each other.

    files: path relative to root -> what it is known for.
    """
    images = sorted(
        (_File(image_id(path, pattern), path, expected) for path, expected in files.items()),
        key=lambda file: file.id,
    )
    named = []
    for image in images:
        if _is_text(image.path):
            named.append(image)
        else:
            shown = os.fsencode(os.path.join(root, image.path)).decode("utf-8", "backslashreplace")
            findings.leave_out(shown, "its name is not UTF-8: rename it")
            advance()
    for image, facts in _looked_at(root, named, image_facts, threads, advance):
        path = os.path.join(root, image.path)
        if _told(path, facts, findings):
            continue
        if facts.blank:
            findings.leave_out(path, "is blank (one colour throughout): replace or remove it")
            continue
        hash_ = image.expected.hash
        yield ImageRow(image.id, image.path, facts.width, facts.height, hash_, facts.mode)
    findings.check_share(root, len(images), "images")


def scan_labels(
    root: str,
    images: list[ImageRow],
    patterns: tuple[str, str],
    files: dict[str, Expected],
    kind: str,
    label_ids: dict[str, int],
    classes: list[str],
    declared: list[str],
    findings: Findings,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[LabelRow]:
    """Look at the label of every image; yield a row for each that is fit for use, and tell
    `findings` of each other.

    patterns: of the images and of the labels; files: path relative to root -> what it is known for;
    kind: format of the set; declared: classes that its labels are to hold.
    """
    table = reading.lookup_table(label_ids)
    seen = np.zeros(len(classes), np.int64)

    owners: dict[str, str] = {}

    def wanted() -> Iterator[_File]:
        for image in images:
            path = label_path(image.path, *patterns)
            full = os.path.join(root, image.path)
            expected = files.get(path, Expected(""))
            owner = owners.setdefault(path, full)
            if owner != full:
                findings.stop(full, f"has the same label as {owner}: {os.path.join(root, path)}")
            elif not expected.hash:
                findings.leave_out(
                    full,
                    f"has no label: {os.path.join(root, path)} does not exist; add it, or remove "
                    "the image",
                )
            else:
                yield _File(image.id, path, expected)
                continue
            advance()

    by_id = {image.id: image for image in images}
    usable = 0
    for label, facts in _looked_at(root, wanted(), label_facts, threads, advance):
        path, image = os.path.join(root, label.path), by_id[label.id]
        if _told(path, facts, findings):
            continue
        wrong = _wrong_ids(facts, kind, table, path)
        if wrong:
            findings.stop(path, wrong)
            continue
        if kind == "synthia" and not any(i for i, _ in facts.ids):
            findings.leave_out(
                path,
                "holds id 0 alone: its 16-bit colours were read as zeros when it was copied, or it "
                "is empty; replace it",
            )
            continue
        if (facts.width, facts.height) != (image.width, image.height):
            findings.leave_out(
                path,
                f"is {facts.width} x {facts.height} pixels, its image {image.width} x "
                f"{image.height}: replace or remove the pair",
            )
            continue
        counts = np.zeros(256, np.int64)
        for label_id, pixels in facts.ids:
            counts[table[label_id]] += pixels
        seen += counts[: len(classes)]
        usable += 1
        yield LabelRow(
            label.id,
            label.path,
            facts.width,
            facts.height,
            label.expected.hash,
            int(counts[IGNORE]),
            tuple(map(int, counts[: len(classes)])),
            facts.mode,
            tuple(i for i, _ in facts.ids),
        )
    findings.check_share(root, len(images), "labels")
    if not usable:
        return
    missing = [name for name in declared if not seen[classes.index(name)]]
    if not seen.any():
        findings.stop(root, "its labels hold no pixel of any class: is the id map right?")
    elif missing:
        findings.warn(root, f"no label holds a pixel of {', '.join(missing)}")


def _wrong_ids(facts: Facts, kind: str, table: np.ndarray, path: str) -> str:
    """What is wrong with the ids of a label in this kind of set; empty where nothing is."""
    if facts.mode == reading.WIDE_COLOUR and kind != "synthia":
        return (
            "is a png of 16-bit colours, which most programs read as zeros: if these are SYNTHIA's "
            "labels say format: synthia, else convert it to one channel of ids"
        )
    unknown = [i for i, _ in facts.ids if table[i] == reading.UNDECLARED]
    if not unknown:
        return ""
    listed = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
    if kind == "folder":
        hint = "which the id map does not declare: add it to id_to_class (or map it to ignore)"
    elif kind == "synthia" and unknown[-1] > _SYNTHIA_IDS:
        hint = (
            f"and SYNTHIA's go up to {_SYNTHIA_IDS}: if it was mapped to other ids say format: "
            "folder, with an id_to_class"
        )
    else:
        hint = f"which {kind} labels do not have: is the format right?"
    if path.lower().endswith((".jpg", ".jpeg")):
        hint += "; JPEG changes ids: labels need a format without loss, such as png"
    return f"holds label id {listed}, {hint}"
