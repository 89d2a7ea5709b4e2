"""check_data: stop before anything is trained when a scan found a problem.

This rule alone fails, so that no list of problems is deleted with a failed job.
"""

from scalewise.artifacts import problems_csv
from scalewise.artifacts.atomic import write_text
from scalewise.errors import UserError
from scalewise.job import Job, run

SHOWN = 5


def check(job: Job) -> None:
    lists = {path: problems_csv.read(path) for path in job.inputs("problems")}
    stopping = [p for problems in lists.values() for p in problems if p.verdict == "stop"]
    if stopping:
        lines = [f"{p.file}: {p.problem}" for p in stopping[:SHOWN]]
        if len(stopping) > SHOWN:
            where = ", ".join(str(path) for path, problems in lists.items() if problems)
            lines.append(f"... and {len(stopping) - SHOWN} more, all of them in {where}")
        raise UserError("\n".join(lines))
    write_text(job.output("verdict.txt"), "fit for use\n")


if __name__ == "__main__":
    run(check, __doc__)
