"""Finished results without computing: their files, empty, and a settings.json by a real job."""

import json
from pathlib import Path

from scalewise.job import Job
from scalewise.publishing import FIGURES, pack
from scalewise.workflow import load_plan
from workflow_runs import TINY


def finish(stage, seconds=10.0, units=None):
    """Write the files of a stage as if its job had run; return its folder."""
    folder = Path(stage.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in map(Path, stage.outputs[:-1]):
        if path.name == FIGURES:
            pack(path, {})
        else:
            path.write_text("")
    job = Job(stage.description(), 2, 1)
    if units is not None:
        job.progress.start(units, "image")
        job.progress.advance(units)
    job.write_settings()
    job.progress.close("finished")
    record = json.loads(job.output("settings.json").read_text())
    job.output("settings.json").write_text(json.dumps({**record, "seconds": seconds}))
    return folder


def finish_all(plan, **how):
    """Finish every stage of a plan."""
    for stage in plan.stages.values():
        finish(stage, **how)


def finished_tiny(folder, monkeypatch):
    """The tiny plan, finished, in a new folder that becomes the current one."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    plan = load_plan([TINY])
    finish_all(plan)
    return plan


def of(plan, name, experiment="lse", number=1, seed=0):
    """The stage of a round."""
    (found,) = [
        r.stages[name]
        for r in plan.rounds
        if (r.experiment, r.number, r.seed) == (experiment, number, seed)
    ]
    return found
