"""The report: tables of numbers, figures, and one self-contained page that shows both.

`tables` has what every report shows, from evaluations in memory (`tables.Evaluation`,
`tables.Project`). Each further section is a module of its own: it reads what its rounds left
(`rounds`), makes its tables and figures, and has its part of the page in a template beside it.
`page` puts them together. Nothing here writes a file.
"""

from scalewise.reporting.page import build, drawings, read_parts
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
    "drawings",
    "headline",
    "health_warnings",
    "per_class_iou",
    "read_parts",
    "sentences",
    "summary",
    "text_means",
    "text_table",
]
