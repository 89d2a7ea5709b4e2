"""docs/reruns.md, from the rows of `rerun_rows`. As a program: write it."""

import sys
from pathlib import Path
from textwrap import fill

import rerun_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reruns.md"
SCRIPTS = ROOT / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from scalewise.code_digest import CodeBase  # noqa: E402
from scalewise.plan import OUTPUTS  # noqa: E402

# shorter names for the columns; a rule that is not among them stands under its own
SHORT = {
    "make_streets": "draw", "scan_images": "images", "scan_labels": "labels", "check_data": "check",
    "train_source": "train", "import_weights": "import", "reestimate_batchnorm": "norm",
    "score_target": "score", "select_images": "select", "infer_patches": "patches",
    "compute_thresholds": "tau",
}  # fmt: skip
INTRODUCTION = (
    "A change runs what depends on it and nothing else. Undone, it runs nothing: the old results "
    "are found. The tables say what depends on what, in jobs of two small projects.",
    "Every row is proved by `tests/test_reruns.py`: in the plan, key by key, and with the engine, "
    "by one key of each row that starts from the configuration as it is; for every change of data, "
    "and for settings drawn at random, the files are also those of a run from nothing. The rows "
    "stand in `tests/rerun_rows.py`, from which `make rerun-table` writes this page.",
    "A number is how many jobs of a rule run, a blank is none. Short for rules: "
    + ", ".join(f"{short} is `{rule}`" for rule, short in SHORT.items())
    + ".",
    "What a change would run in a project of your own, `python -m snakemake -n` says before "
    "anything is started.",
)
SECTIONS = (
    (
        "Settings",
        "other value of",
        rerun_rows.SETTINGS,
        "One seed, drawn data, and two experiments of two rounds: `lse` and `source_zoom`, which "
        "reads no patch. In round 1 they share scores and selection. Every key of `config.yaml` is "
        "in a row of this table or the next.",
    ),
    (
        "Seeds, experiments and rounds",
        "change",
        rerun_rows.EXPERIMENTS,
        "The same project. What is taken out stays in `results/` and is found when it is put back.",
    ),
    (
        "Data",
        "change",
        rerun_rows.DATA,
        "Three folders of images, `lse` alone, one round. A file that is replaced has other "
        "content under the same name, size and time of modification.",
    ),
    (
        "Code",
        "other code in",
        rerun_rows.CODE,
        "The first project. Comments, docstrings and layout never count.",
    ),
)
FILES = (
    "A stage's script is the code of that stage alone. Of all other files, other code runs the "
    "stages named here, and what follows from them."
)
COPIES = """## Copies

None of these runs anything:

- touching every file in `results/`, or every data file;
- a fresh clone with `results/` copied into it, with `.snakemake/` or without;
- another folder for the data, moved or copied, once `data.root` names it.
"""


def table(rows: list[rerun_rows.Row], heading: str) -> str:
    """A Markdown table of changes and jobs."""
    used = set().union(*(row.reruns for row in rows))
    columns = [rule for rule in OUTPUTS if rule in used]
    lines = [
        f"| {heading} | " + "".join(f"{SHORT.get(rule, rule)} | " for rule in columns) + "jobs |",
        "|---|" + "--:|" * (len(columns) + 1),
    ]
    for row in rows:
        cells = "".join(f"{row.reruns.get(rule) or ''} | " for rule in columns)
        lines.append(f"| {row.change} | {cells}{sum(row.reruns.values())} |")
    return "\n".join(lines)


def files_and_stages() -> str:
    """A Markdown table: the library's files, by the stages whose code they are."""
    code, package = CodeBase(SCRIPTS), SCRIPTS / "scalewise"
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in rerun_rows.files_below(package):
        name = path.relative_to(SCRIPTS).as_posix()
        stages = tuple(stage for stage in OUTPUTS if name in code.files(stage))
        groups.setdefault(stages, []).append(path.relative_to(package).as_posix())
    lines = ["| files in `workflow_scripts/scalewise/` | stages |", "|---|---|"]
    for stages, files in sorted(groups.items(), key=lambda item: (-len(item[0]), item[1])):
        for folder in sorted({Path(file).parent for file in files} - {Path(".")}):
            inside = {p.relative_to(package).as_posix() for p in (package / folder).glob("*.*")}
            if inside <= set(files):
                files = [*(set(files) - inside), f"{folder.as_posix()}/*"]
        what = ", ".join(f"`{stage}`" for stage in stages) or "none"
        what = "all" if len(stages) == len(OUTPUTS) else what
        lines.append(f"| {', '.join(f'`{file}`' for file in sorted(files))} | {what} |")
    return "\n".join(lines)


def text() -> str:
    """The page."""
    parts = ["# What runs again", *(fill(paragraph, 100) for paragraph in INTRODUCTION)]
    for title, heading, rows, note in SECTIONS:
        parts += [f"## {title}", fill(note, 100), table(rows, heading)]
    return "\n\n".join([*parts, fill(FILES, 100), files_and_stages(), COPIES])


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"{PAGE.name} written")
