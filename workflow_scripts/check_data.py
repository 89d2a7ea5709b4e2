"""check_data: stop before anything is trained when a scan found a problem.

This rule alone fails, so that no list of problems is deleted with a failed job. What was left out,
and what is odd but harmless, is said in a line each. It also stops where a selection can only be
empty.
"""

import logging
import sys
from functools import cache
from pathlib import Path

from scalewise.artifacts import images_csv, labels_csv, problems_csv
from scalewise.artifacts.atomic import write_text
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.selftraining.ranking import source_classes

SHOWN = 5
log = logging.getLogger("scalewise")


def refuse_empty_selections(job: Job) -> None:
    """Raises UserError where a round would select no image whatever the network says: n_c =
    int(N_c p / K) with N_c at most the number of target images (the method, step 2)."""

    @cache
    def images_in(target: Path) -> int:
        return len(images_csv.read(target))

    @cache
    def classes_in(source: Path, classes: tuple[str, ...]) -> int:
        rows = labels_csv.read(source, classes)
        return int(source_classes([row.pixels for row in rows], len(classes)).sum())

    rules = zip(
        job.settings["selections"], job.inputs("targets"), job.inputs("sources"), strict=True
    )
    for number, (s, target, source) in enumerate(rules):
        classes, count, divisor = tuple(s["classes"]), images_in(target), 1
        if s["scope"] == "class":
            trusted = s["missing_classes"] == "trust"
            divisor = len(classes) if trusted else classes_in(source, classes)
        most = int(count * s["portion"] / divisor)
        if most == 0 and not s.get("minimum_per_class"):
            each = f" over {divisor} classes" if divisor > 1 else ""
            further = ", or set selection.minimum_per_class to 1" if divisor > 1 else ""
            raise UserError(
                f"{job.locations[f'selection {number}']}: p = {s['portion']:g} of {count} target "
                f"images{each} is less than one image, so that nothing would be selected: raise "
                f"rounds.portions{further}"
            )


def check(job: Job) -> None:
    lists = {path: problems_csv.read(path) for path in job.inputs("problems")}
    stop_at = {"stop"} if job.settings["on_problem"] == "skip" else {"stop", "skip"}
    stopping = [p for problems in lists.values() for p in problems if p.verdict in stop_at]
    if stopping:
        stopping.sort(key=lambda p: p.verdict, reverse=True)  # first what nothing leaves out
        # where something else stops the run anyway, leaving out would not help
        helps = stopping[0].verdict == "skip"
        hint = {"stop": "", "skip": "; data.on_problem: skip leaves it out" if helps else ""}
        lines = [f"{p.file}: {p.problem}{hint[p.verdict]}" for p in stopping[:SHOWN]]
        if len(stopping) > SHOWN:
            where = ", ".join(str(path) for path, problems in lists.items() if problems)
            lines.append(f"... and {len(stopping) - SHOWN} more, all of them in {where}")
        raise UserError("\n".join(lines))
    refuse_empty_selections(job)
    left_out, warnings = [], list(job.settings["warnings"])
    for path, problems in lists.items():
        where = job.locations[path.parent.name]
        skipped = sum(p.verdict == "skip" for p in problems)
        if skipped:
            verb = "is" if skipped == 1 else "are"
            left_out.append(f"{where}: {skipped} of the files {verb} left out, listed in {path}")
        warnings += [f"{where}: {p.problem}" for p in problems if p.verdict == "warn"]
    for line in [*left_out, *warnings]:
        print(line, file=sys.stderr)
    for line in warnings:
        log.warning("%s", line)
    job.notes["warnings"] = warnings
    write_text(
        job.output("verdict.txt"),
        "".join(f"{line}\n" for line in ["fit for use", *left_out, *warnings]),
    )


if __name__ == "__main__":
    run(check, __doc__)
