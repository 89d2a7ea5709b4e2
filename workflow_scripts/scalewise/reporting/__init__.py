"""The report: tables of numbers, figures, and one self-contained page that shows both.

Everything comes in memory (`tables.Evaluation`, `tables.Project`); nothing here reads or writes
files, but for the template beside `page`.
"""

from scalewise.reporting.page import build
from scalewise.reporting.tables import (
    Audit,
    Check,
    Evaluation,
    Missing,
    Project,
    class_lists,
    headline,
    health_warnings,
    per_class_iou,
    sentences,
    summary,
    text_means,
    text_table,
)

__all__ = [
    "Audit",
    "Check",
    "Evaluation",
    "Missing",
    "Project",
    "build",
    "class_lists",
    "headline",
    "health_warnings",
    "per_class_iou",
    "sentences",
    "summary",
    "text_means",
    "text_table",
]
