"""The report's stable place: `results/report/<project>/` holds a copy of the newest report."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from scalewise.artifacts.atomic import replacing, write_text

KEY_FILE = "report.json"
# what the report stage writes beside settings.json
REPORT_FILES = (
    "index.html",
    "per_class_iou.csv",
    "per_class_iou.tex",
    "summary.csv",
    "summary.tex",
    "summary.txt",
)


def place(project: str) -> Path:
    return Path("results", "report", project)


def published_key(project: str) -> str | None:
    """Key of the report stage whose copy stands there."""
    try:
        return json.loads((place(project) / KEY_FILE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(files: Sequence[Path], project: str, key: str) -> Path:
    """Copy a report's files to its stable place, each of them atomically; return the place."""
    target = place(project)
    # while files of two reports stand side by side, it is the report of neither
    (target / KEY_FILE).unlink(missing_ok=True)
    for source in files:
        with replacing(target / source.name) as temporary:
            shutil.copyfile(source, temporary)
    for old in target.iterdir():
        if old.is_file() and old.name not in {*(f.name for f in files), KEY_FILE}:
            old.unlink()
    write_text(target / KEY_FILE, json.dumps({"key": key}) + "\n")
    return target
