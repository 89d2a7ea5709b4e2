"""accept_round: whose weights go on after a round, its own or those of the round before?

With `rounds.on_collapse: revert` a round whose checks warn is not accepted: what it made goes no
further, and the last accepted weights label the next round, or are the result (docs/health.md). The
DAG is fixed before anything runs, so this stage gives whichever it is one place: it copies
`model.safetensors`, `scores.csv`, `predictions.h5` and `source.csv`; `accepted.csv` says whose they
are.
"""

import logging
import shutil

from scalewise.artifacts import accepted_csv, health_csv
from scalewise.artifacts.atomic import replacing
from scalewise.job import Job, run

log = logging.getLogger("scalewise")


def accept(job: Job) -> None:
    number = job.settings["round"]
    before = accepted_csv.read(job.input("previous")) if job.has_input("previous") else []
    stays = before[-1].weights_of if before else 0
    alarms = [
        row.sentence
        for path in job.inputs("health")
        for row in health_csv.read(path)
        if row.verdict == health_csv.WARN
    ]
    if alarms:
        whose = f"those of round {stays}" if stays else "the source-only ones"
        job.warn(f"round {number} is not accepted, {whose} stay the weights: " + "; ".join(alarms))
    else:
        log.info("round %d is accepted: no limit of health is passed", number)
    prefix = "previous_" if alarms else ""
    for name in ("model.safetensors", "scores.csv", "predictions.h5", "source.csv"):
        with replacing(job.output(name)) as temporary:
            shutil.copyfile(job.input(prefix + name.partition(".")[0]), temporary)
    now = accepted_csv.AcceptedRow(number, stays if alarms else number, "; ".join(alarms))
    accepted_csv.write(job.output("accepted.csv"), [*before, now])


if __name__ == "__main__":
    run(accept, __doc__)
