"""The image files that a person names, and the names under which results of them are kept."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scalewise.data.index import find_images
from scalewise.errors import UserError

# by which a file in a folder is taken for an image: those of the kinds that are read
SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".tga", ".pcx"),
}


@dataclass(frozen=True, slots=True)
class GivenFile:
    """path: as a person finds it; name: path relative to what was named, with forward slashes and
    without the suffix of an image."""

    path: str
    name: str


def given_files(words: Sequence[str], out: str | Path) -> tuple[list[GivenFile], int]:
    """The images of folders (with all folders in them), globs and single files, in this order,
    those of one word sorted; and how many other files in the folders were left out.

    A file or folder of exactly that name comes before a glob. In a folder, files with the suffix of
    an image count, and hidden ones do not. What lies in `out` is left out: it is results.

    Raises UserError where a word names nothing, a folder is `out` itself, or two images have the
    same name.
    """
    results = os.path.realpath(out)
    found: dict[str, GivenFile] = {}
    others = 0
    for word in words:
        root, names, left_out = _expanded(word, results)
        others += left_out
        for relative in names:
            file = GivenFile(os.path.join(root, relative), _name(relative))
            if os.path.realpath(file.path).startswith(results + os.sep):
                continue
            before = found.setdefault(file.name, file)
            if os.path.realpath(before.path) != os.path.realpath(file.path):
                raise UserError(
                    f"{before.path} and {file.path}: results of both would be {file.name}.png: "
                    "give each a folder of its own to write to"
                )
    if not found:
        raise UserError(f"{', '.join(words)}: no images there but what lies in {out}")
    return list(found.values()), others


def _expanded(word: str, results: str) -> tuple[str, list[str], int]:
    """Root, paths relative to it, and how many files were left out."""
    if os.path.isdir(word):
        if os.path.realpath(word) == results:
            raise UserError(f"{word}: the images and their results would share one folder")
        files = find_images(word, "**")
        images = [f for f in files if os.path.splitext(f)[1].lower() in SUFFIXES]
        if not images:
            raise UserError(f"{word}: no images in this folder")
        return word, images, len(files) - len(images)
    if os.path.lexists(word):
        return os.path.dirname(word), [os.path.basename(word)], 0
    parts = Path(word).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), None)
    files = find_images(Path(*parts[:fixed]), "/".join(parts[fixed:])) if fixed is not None else []
    if not files:
        raise UserError(f"{word}: no such file or folder, and no file matches it as a pattern")
    return str(Path(*parts[:fixed])), files, 0


def _name(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in SUFFIXES else path
