"""report: one page and the tables behind it, from the evaluations of a project.

Writes `index.html`, its figures as PNG and SVG (`figures.zip`; the main ones beside it for the
engine's own report), its tables as CSV and LaTeX, `summary.txt`, and copies them to their stable
place, `results/report/<project>/`, the figures into `figures/` there.
"""

from pathlib import Path

import pandas as pd

from scalewise.artifacts import audit_csv, health_csv, iou_csv, pictures_h5, table
from scalewise.artifacts.atomic import replacing, write_text
from scalewise.job import Job, run
from scalewise.publishing import FIGURES, MAIN_FIGURES, REPORT_FILES, TABLES, pack, publish
from scalewise.reporting import confusion, latex, latex_sections, page, tables, tidy
from scalewise.reporting.figures import Drawing, nothing
from scalewise.reporting.provenance import facts, records_behind, warnings_in
from scalewise.reporting.rounds import RoundFiles


def read_evaluation(experiment: str, seed: int, number: int, iou: Path, pictures: Path):
    """One evaluation from its files."""
    content = pictures_h5.read(pictures)
    return tables.Evaluation(
        experiment,
        seed,
        number,
        pd.DataFrame(table.read(iou, iou_csv.COLUMNS)),
        vars(content) if content.ids else None,
    )


def project_of(settings: dict) -> tables.Project:
    """What the report is about."""
    names = ("classes", "subsets", "experiments", "rounds", "gallery", "headline", "untaught")
    return tables.Project(
        name=settings["project"],
        colors=[tuple(c) for c in settings["colors"]],
        **settings["data"],
        **{name: settings[name] for name in names},
    )


def figure_files(drawn: dict[str, Drawing]) -> dict[str, bytes]:
    """Each figure as SVG and as PNG, by file name."""
    files = {}
    for name, drawing in drawn.items():
        files[f"{name}.svg"] = on_paper(drawing).encode()
        files[f"{name}.png"] = drawing.png
    return files


def main_figures(drawn: dict[str, Drawing]) -> dict[str, str]:
    """The main figures as SVG, by file name: each is there, whatever was drawn."""
    with_words = {name: drawn.get(name) or nothing(name.replace("_", " ")) for name in MAIN_FIGURES}
    return {f"{name}.svg": on_paper(drawing) for name, drawing in with_words.items()}


def on_paper(drawing: Drawing) -> str:
    """SVG whose letters are black."""
    return drawing.svg.replace("color: #767676", "color: #000", 1)


def write_tables(job: Job, as_csv: dict[str, pd.DataFrame], as_latex: dict[str, str]) -> None:
    """Each table twice, by its name."""
    for name in TABLES:
        write_text(job.output(f"{name}.tex"), as_latex[name])
        with replacing(job.output(f"{name}.csv")) as temporary:
            as_csv[name].to_csv(temporary, index=False, lineterminator="\n", float_format="%.4f")


def report(job: Job) -> None:
    s = job.settings
    rows = list(zip(s["evaluations"], job.inputs("iou"), job.inputs("pictures"), strict=True))
    evaluations = [read_evaluation(*who, iou, pictures) for who, iou, pictures in rows]
    missing = [tables.Missing(**row) for row in s["missing"]]
    checks = [
        tables.Check(*who, rows=health_csv.read(path))
        for who, path in zip(s["checks"], job.inputs("health"), strict=True)
    ] + [tables.Check(**row) for row in s["unchecked"]]
    audits = [
        tables.Audit(*who, rows=audit_csv.read(path))
        for who, path in zip(s["audits"], job.inputs("audit"), strict=True)
    ]
    project = project_of(s)
    summary = tables.summary(evaluations, s["subsets"])
    headline = tables.headline(summary, project)
    per_class = tables.per_class_iou(evaluations)
    check = [job.input("check")] if job.has_input("check") else []
    files = [*check, *job.inputs("iou"), *job.inputs("health"), *job.inputs("audit")]
    records = records_behind(files)
    warnings = warnings_in(records)
    if "check_round" in warnings:
        # the stage does not know whose round it was: several experiments may share it
        sentences = {row.sentence for c in checks for row in c.rows}
        others = [said for said in warnings["check_round"] if said not in sentences]
        warnings["check_round"] = [*tables.health_warnings(checks), *others]
    confusions = [
        confusion.Confusion(*who, confusion.read(path, s["classes"]))
        for who, path in zip(s["evaluations"], job.inputs("confusion"), strict=True)
    ]
    rounds = [
        RoundFiles(*who, stages) for who, stages in zip(s["evaluations"], s["stages"], strict=True)
    ]
    parts = page.read_parts(rounds, confusions, records, s["classes"], s["formats"])
    write_tables(
        job,
        {
            "summary": summary,
            "per_class_iou": per_class,
            **tidy.sections(s["classes"], checks, audits, parts),
        },
        {
            "summary": latex.summary(summary, project),
            "per_class_iou": latex.per_class_iou(per_class, summary, project),
            **latex_sections.sections(project, checks, audits, parts),
        },
    )
    drawn = page.drawings(project, evaluations, audits, parts)
    pack(job.output(FIGURES), figure_files(drawn))
    for name, text in main_figures(drawn).items():
        write_text(job.output(name), text)
    known = facts(s, records)
    html = page.build(project, evaluations, missing, known, warnings, checks, audits, parts, drawn)
    write_text(job.output("index.html"), html)
    over = project.class_sets[project.headline]
    words = [tables.text_table(headline, over), *tables.sentences(headline)]
    words += [
        f"missing: {m.experiment}, seed {m.seed}, round {m.round}: {m.state}" for m in missing
    ]
    count = sum(map(len, warnings.values()))
    if count:
        words.append(f"warnings: {count}, on the page under 'The data'")
    text = "\n".join(words) + "\n"
    means = tables.text_means(summary, project)
    write_text(job.output("summary.txt"), f"{text}\n{means}" if means else text)
    publish([job.output(name) for name in REPORT_FILES], s["project"], job.key)


if __name__ == "__main__":
    run(report, __doc__)
