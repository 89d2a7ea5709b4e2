"""explain: what would run for a configuration, why, and about what it takes.

    python workflow_scripts/explain.py --configfile configs/mine.yaml      (or make explain)

It runs nothing. Every job that a run would start is compared with the nearest finished result of
the same stage. Why a job runs:

    setting   a setting of the stage is another one: old -> new
    data      data files were changed, added or removed
    code      the code of the stage is another one: which files
    input     what the stage reads is made anew, or is another result
    new       there is no earlier result of this kind
    missing   the result is there, but for these files

Times come from finished results of the same stage, of the same network and working size where there
are any; those of other devices count too.

At the end: time, memory and disk by kind of stage, also where nothing has run yet. `measured` is by
finished results of this network and working size; `computed` is by docs/costs.md, of a GPU where
this machine has one, else of the threads of a job; --tflops says what a GPU sustains.
"""

import os
import shutil
from collections.abc import Mapping, Sequence

from scalewise.command_line import add_settings, parser_of, plan_of, run_program
from scalewise.comparison import (
    WHOSE,
    differences,
    nearest,
    read_record,
    reasons,
    records_of,
    what_is_new,
)
from scalewise.costs import Cost, Finished, Machine, cost_of, longest_chain
from scalewise.outlook import Durations, clock, to_run
from scalewise.plan import OUTPUTS, SETTINGS_FILE, Plan, Source, Stage
from scalewise.workflow import is_finished


def why(
    stage: Stage, records: Sequence[Mapping], anew: set[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Why a stage runs: (kind, text), given the results of its kind and what is made anew."""
    record, found = nearest(stage, records)
    if record is None:
        return (("new", f"no finished result of {stage.name}"),)
    if record["key"] == stage.key:
        lacking = [os.path.basename(path) for path in stage.outputs if not os.path.exists(path)]
        return (("missing", ", ".join(lacking) or "the files that it was made from"),)
    new = what_is_new(stage, records)
    lines = [("new", new)] if new else []
    lines += reasons(d for d in found if not (new and d.kind == "setting" and d.name in WHOSE))
    # that another seed or round reads other results goes without saying
    changed = [] if new else [d.name for d in found if d.kind == "input"]
    made = [role for role in changed if _makers(stage, role) & anew]
    if made:
        lines.append(("input", f"made anew: {_roles(stage, made)}"))
    other = [role for role in changed if role not in made]
    if other:
        lines.append(("input", f"another result: {_roles(stage, other)}"))
    return tuple(lines)


def _of_role(stage: Stage, role: str) -> list[Source]:
    value = stage.inputs.get(role, [])
    return value if isinstance(value, list) else [value]


def _makers(stage: Stage, role: str) -> set[tuple[str, str]]:
    return {(source.stage.name, source.stage.key) for source in _of_role(stage, role)}


def _roles(stage: Stage, roles: list[str]) -> str:
    """`model (retrain), patches (infer_patches)`."""
    makers = {r: ", ".join(sorted({s.stage.name for s in _of_role(stage, r)})) for r in roles}
    return ", ".join(f"{role} ({who or 'none'})" for role, who in makers.items())


def kept(plan: Plan) -> list[tuple[Stage, tuple[tuple[str, str], ...]]]:
    """The pinned stages that would run were they not pinned, and what their code differs in."""
    found = []
    for stage in plan.stages.values():
        own = [path.replace(stage.key, stage.own_key) for path in stage.outputs]
        if stage.key != stage.own_key and not all(map(os.path.exists, own)):
            record = read_record(f"{stage.folder}/{SETTINGS_FILE}")
            found.append((stage, tuple(reasons(differences(stage, record))) if record else ()))
    return found


# --- in words -------------------------------------------------------------------------------------


def _numbers(values: Sequence[int]) -> str:
    """`1-3, 5`."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def whose(stages: Sequence[Stage]) -> str:
    """Experiments, seeds and rounds of some stages, or what they do where all share them."""
    users = list(dict.fromkeys(user for stage in stages for user in stage.users))
    if not users:
        return "; ".join(dict.fromkeys(stage.what for stage in stages))
    names = list(dict.fromkeys(user[0] for user in users))
    text = ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
    for what, position in (("seed", 1), ("round", 2)):
        values = {user[position] for user in users} - {None}
        if values:
            text += f"; {what}{'s' if len(values) > 1 else ''} {_numbers(sorted(values))}"
    return text


def lines(plan: Plan) -> list[str]:
    """The whole answer, line by line."""
    stages = to_run(plan.stages, plan.report)
    anew = {(stage.name, stage.key) for stage in stages}
    records: dict[str, list[dict]] = {name: records_of(name) for name in dict(anew)}
    durations = {name: Durations(of_name) for name, of_name in records.items()}
    done = sum(map(is_finished, plan.stages.values()))
    text = [f"{plan.project.name}: {done} of {len(plan.stages)} stages are finished"]
    groups: dict[tuple, list[Stage]] = {}
    for stage in stages:
        group = (stage.name, why(stage, records[stage.name], anew))
        groups.setdefault(group, []).append(stage)
    order = list(OUTPUTS)
    total, unknown = 0.0, 0
    for (name, reason), members in sorted(groups.items(), key=lambda g: order.index(g[0][0])):
        times = [durations[name].seconds_for(stage) for stage in members]
        known = [t for t in times if t is not None]
        total, unknown = total + sum(known), unknown + len(times) - len(known)
        time = clock(sum(known)) if known else "unknown"
        text += ["", f"{name:<20} x {len(members):<4} {time:>9}   {whose(members)}".rstrip()]
        text += [f"    {kind:<8} {why_}" for kind, why_ in reason]
    pinned: dict[tuple, list[Stage]] = {}
    for stage, reason in kept(plan):
        pinned.setdefault((stage.name, reason), []).append(stage)
    for (name, reason), members in pinned.items():
        text += ["", f"{name:<20} x {len(members):<4} {'kept':>9}   {whose(members)}".rstrip()]
        text += ["    pinned   its earlier result is used, by `code` in the settings"]
        text += [f"    {kind:<8} {why_}" for kind, why_ in reason]
    if not stages:
        return [*text, "", "nothing will run"]
    jobs = f"{len(stages)} job{'s' if len(stages) > 1 else ''} will run"
    if unknown < len(stages):
        jobs += f", about {clock(total)} one after the other in one device slot"
    if unknown:
        what = "of unknown time: no earlier result tells"
        jobs += f", {what}" if unknown == len(stages) else f", and {unknown} {what}"
    return [*text, "", jobs]


def _sum(values: Sequence[float | None]) -> float | None:
    """None where one of them is unknown."""
    return None if None in values else sum(values)


def _bytes(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def _cost_line(name: str, costs: Sequence[Cost], how: str) -> str:
    seconds, disk = _sum([c.seconds for c in costs]), _sum([c.disk for c in costs])
    most = max((c.memory for c in costs if c.memory is not None), default=None)
    time = "-" if seconds is None else clock(seconds)
    numbers = f"{len(costs):>4}  {time:>9}  {_bytes(most):>10}  {_bytes(disk):>10}"
    return f"{name:<20}  {numbers}   {how}".rstrip()


def cost_lines(plan: Plan, machine: Machine) -> list[str]:
    """Time, memory of a job and disk of what would run, by kind of stage."""
    stages = to_run(plan.stages, plan.report)
    by_name: dict[str, list[Stage]] = {}
    for stage in stages:
        by_name.setdefault(stage.name, []).append(stage)
    text, known, seconds = [], [], {}
    for name in sorted(by_name, key=list(OUTPUTS).index):
        finished = Finished(records_of(name))
        costs = [cost_of(stage, finished, machine) for stage in by_name[name]]
        told = [cost for cost in costs if cost != Cost.unknown()]
        ways = {"measured" if cost.measured else "computed" for cost in told}
        text.append(_cost_line(name, costs, ", ".join(sorted(ways))))
        known += told
        for stage, cost in zip(by_name[name], costs, strict=True):
            seconds[stage.name, stage.key] = cost.seconds or 0.0
    if not known:
        return []
    if machine.operations:
        of_what = f"a GPU that sustains {machine.operations / 1e12:g} TFLOP/s (--tflops)"
    else:
        of_what = f"{machine.threads} threads of a CPU (--tflops N: a GPU)"
    head = f"{'':<20}  jobs       time      memory        disk   computed: {of_what}"
    return [
        "",
        head,
        *text,
        _cost_line("all of these", known, "one after the other"),
        f"with any number of device slots at least {clock(longest_chain(seconds, stages))}: the "
        "longest chain of jobs",
    ]


def main() -> None:
    parser = parser_of(__doc__)
    add_settings(parser)
    parser.add_argument("--tflops", type=float, help="of a GPU, in float32 (where one is seen: 10)")
    arguments = parser.parse_args()
    plan = plan_of(arguments)
    tflops = arguments.tflops or (10 if shutil.which("nvidia-smi") else None)
    machine = Machine(plan.project.settings.resources.threads, tflops and tflops * 1e12)
    print("\n".join([*lines(plan), *cost_lines(plan, machine)]))


if __name__ == "__main__":
    run_program(main)
