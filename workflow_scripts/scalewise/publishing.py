"""The report's stable place: `results/report/<project>/` holds a copy of the newest report."""

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scalewise.artifacts.atomic import replacing, write_text
from scalewise.errors import UserError

KEY_FILE = "report.json"
# How many figures there are depends on the results, and the files of a stage are fixed before it
# runs: so they are one file, which is unpacked where people look for them.
FIGURES = "figures.zip"
# tables of the report, each as CSV and as LaTeX
TABLES = (
    *("summary", "per_class_iou", "confusion", "health", "selection", "thresholds"),
    *("pseudo_labels", "claim", "cost"),
)
TABLE_FILES = tuple(f"{name}.{kind}" for name in TABLES for kind in ("csv", "tex"))
# Those that the engine's own report shows one by one, each a file whatever the results are: in one
# that there are no numbers for it says so in words. People find all of them among FIGURES.
MAIN_FIGURES = (
    *("miou_over_rounds", "iou_per_class", "pseudo_label_accuracy", "images_selected"),
    *("thresholds", "claim", "losses"),
)
MAIN_FIGURE_FILES = tuple(f"{name}.svg" for name in MAIN_FIGURES)
# what the report stage writes beside settings.json
REPORT_FILES = ("index.html", FIGURES, *MAIN_FIGURE_FILES, *TABLE_FILES, "summary.txt")


def place(project: str) -> Path:
    return Path("results", "report", project)


def published_key(project: str) -> str | None:
    """Key of the report stage whose copy stands there."""
    try:
        return json.loads((place(project) / KEY_FILE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(files: Sequence[Path], project: str, key: str) -> Path:
    """Copy a report's files to its stable place, each of them atomically, all figures unpacked
    into a folder there; return the place."""
    target = place(project)
    # while files of two reports stand side by side, it is the report of neither
    (target / KEY_FILE).unlink(missing_ok=True)
    copied = [file for file in files if file.name not in (FIGURES, *MAIN_FIGURE_FILES)]
    for source in copied:
        with replacing(target / source.name) as temporary:
            shutil.copyfile(source, temporary)
    for source in files:
        if source.name == FIGURES:
            _unpack(source, target / Path(FIGURES).stem)
    for old in target.iterdir():
        if old.is_file() and old.name not in {*(f.name for f in copied), KEY_FILE}:
            old.unlink()
    write_text(target / KEY_FILE, json.dumps({"key": key}) + "\n")
    return target


def pack(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into one archive: the same contents make the same bytes."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in contents.items():
            # the date is one that ZIP has, and no file's
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)


def _unpack(path: Path, folder: Path) -> None:
    """The files of an archive, by their bare names, and no others in the folder.

    Raises UserError where it is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(entry.filename).name: entry for entry in archive.infolist()}
            for name, entry in names.items():
                with replacing(folder / name) as temporary:
                    temporary.write_bytes(archive.read(entry))
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: damaged ({error}): remove the folder {path.parent} and start again: the "
            "report is made anew"
        ) from None
    for old in folder.iterdir():
        if old.is_file() and old.name not in names:
            old.unlink()
