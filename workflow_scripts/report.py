"""report: one page and the tables behind it, from the evaluations of a project.

Writes `index.html`, `per_class_iou.csv`, `summary.csv`, both as LaTeX (`.tex`), `summary.txt`, and
copies them to their stable place, `results/report/<project>/`.
"""

import json
from pathlib import Path

import pandas as pd

from scalewise.artifacts import audit_csv, health_csv, iou_csv, pictures_h5, table
from scalewise.artifacts.atomic import replacing, write_text
from scalewise.job import Job, run
from scalewise.publishing import REPORT_FILES, publish
from scalewise.reporting import latex, page, tables


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


def facts(settings: dict, evaluated: list[Path]) -> dict[str, str]:
    """What a reader wants to know of how the numbers were made."""
    records = [json.loads((p.parent / "settings.json").read_text()) for p in evaluated]

    def different(get) -> str:
        return "; ".join(dict.fromkeys(get(r) for r in records))

    found = {
        "Evaluated with": different(
            lambda r: ", ".join(f"{k} {r['versions'][k]}" for k in ("python", "torch", "numpy"))
        ),
        "Evaluated on": different(lambda r: f"{r['device']}, {r['threads']} threads"),
        "Portion p by round, where a row says nothing else": ", ".join(
            f"{p:g}" for p in settings["portions"]
        )
        + " (each of K classes gives p / K of its images)",
    }
    if settings["pinned"]:
        found["Stages kept over a change of code (code: pinned)"] = ", ".join(settings["pinned"])
    return found


def warnings_of(files: list[Path]) -> dict[str, list[str]]:
    """Stage -> what it warns of in its `settings.json`: the stages that made these files, and those
    that made what they were made from. A stage that was cleared away says nothing."""
    found: dict[str, dict[str, None]] = {}
    waiting, seen = [path.parent for path in files], set()
    for folder in waiting:
        if folder in seen or not (folder / "settings.json").exists():
            continue
        seen.add(folder)
        record = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        said = record["notes"].get("warnings", [])
        found.setdefault(record["stage"], {}).update(dict.fromkeys(said))
        for value in record["inputs"].values():
            files_of_role = value if isinstance(value, list) else [value]
            waiting.extend(Path(file["path"]).parent for file in files_of_role)
    return {stage: list(said) for stage, said in found.items()}


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
    project = tables.Project(
        name=s["project"],
        classes=s["classes"],
        colors=[tuple(c) for c in s["colors"]],
        subsets=s["subsets"],
        source=s["data"]["source"],
        target=s["data"]["target"],
        validation=s["data"]["validation"],
        experiments=s["experiments"],
        rounds=s["rounds"],
        gallery=s["gallery"],
        headline=s["headline"],
        untaught=s["untaught"],
    )
    summary = tables.summary(evaluations, s["subsets"])
    headline = tables.headline(summary, project)
    per_class = tables.per_class_iou(evaluations)
    write_text(job.output("summary.tex"), latex.summary(summary, project))
    write_text(job.output("per_class_iou.tex"), latex.per_class_iou(per_class, summary, project))
    for name, content in (
        ("per_class_iou.csv", per_class),
        ("summary.csv", summary),
    ):
        with replacing(job.output(name)) as temporary:
            content.to_csv(temporary, index=False, lineterminator="\n", float_format="%.4f")
    check = [job.input("check")] if job.has_input("check") else []
    warnings = warnings_of(
        [*check, *job.inputs("iou"), *job.inputs("health"), *job.inputs("audit")]
    )
    if "check_round" in warnings:
        # the stage does not know whose round it was: several experiments may share it
        sentences = {row.sentence for c in checks for row in c.rows}
        others = [said for said in warnings["check_round"] if said not in sentences]
        warnings["check_round"] = [*tables.health_warnings(checks), *others]
    known = facts(s, job.inputs("iou"))
    html = page.build(project, evaluations, missing, known, warnings, checks, audits)
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
