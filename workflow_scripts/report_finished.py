"""report_finished: write the report of what is finished, and say what is missing.

For when some experiment failed or is still to run: `make report`. It reads the same settings as the
workflow, computes nothing but the report, and puts it at results/report/<project>/. Once everything
is there the workflow's own report takes that place again.
"""

import subprocess
import sys
from pathlib import Path

from scalewise.command_line import add_settings, parser_of, plan_of, run_program
from scalewise.plan import AUDIT, Plan, Round, write_description
from scalewise.workflow import SCRIPTS, begin, is_finished, state_of


def partial_report(plan: Plan):
    """The report over the finished evaluations, as a stage; None when nothing is finished."""
    finished = [r for r in plan.rounds if is_finished(r.stages["evaluate"])]
    missing = []
    data = [source.stage for source in plan.check.inputs["problems"]]
    unchecked = []
    in_the_way: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for r in plan.rounds:
        # what stands in the way of a round: the data, its own stages, or those of earlier rounds
        earlier = in_the_way.setdefault((r.experiment, r.seed), _failures([*data, plan.check]))
        needed = [stage for name, stage in r.stages.items() if name != AUDIT]
        states = [state_of(stage) for stage in needed if not is_finished(stage)]
        earlier += [s for s in states if s[0] == "failed"]
        unchecked += [
            {**_who(r), "check": name, **_state(*state_of(stage))}
            for name, stage in r.checks.items()
            if not is_finished(stage)
        ]
        if r in finished:
            continue
        running = [s for s in states if s[0] == "running"]
        missing.append({**_who(r), **_state(*(earlier or running or [("still to run", "")])[0])})
    if not finished:
        return None, missing
    checked = is_finished(plan.check)
    report = plan.add_report(finished, missing, checked, unchecked, audited=is_finished)
    return report, missing


def _who(r: Round) -> dict:
    return {"experiment": r.experiment, "seed": r.seed, "round": r.number}


def _state(state: str, detail: str) -> dict[str, str]:
    return {"state": state, "detail": detail}


def _failures(stages: list) -> list[tuple[str, str]]:
    states = [state_of(stage) for stage in stages if not is_finished(stage)]
    return [state for state in states if state[0] == "failed"]


def main() -> None:
    parser = parser_of(__doc__)
    add_settings(parser)
    plan = plan_of(parser.parse_args())
    stage, missing = partial_report(plan)
    if stage is None:
        sys.exit(f"\n{plan.project.name}: no evaluation is finished yet; nothing to report\n")
    if not missing and is_finished(plan.report):
        begin(plan)
        return
    write_description(stage)
    command = [sys.executable, str(SCRIPTS / "report.py"), stage.description_path]
    if subprocess.run(command, check=False).returncode:
        sys.exit(1)
    total = len(plan.rounds)
    print(f"\n{total - len(missing)} of {total} evaluations are finished", end="")
    print(f": results/report/{plan.project.name}/index.html\n")
    print(Path(stage.folder, "summary.txt").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_program(main)
