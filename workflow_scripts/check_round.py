"""check_round: has self-training begun to collapse? (docs/health.md)

Compares what the network that labels in this round says of the target with what the network of the
round before said, how well it does on the source with how well the network did that the rounds
began with, and looks at how many pixels are kept to teach. Writes `health.csv`: a row for
each measure. With `on_collapse: stop` a measure beyond its limit is an error, and the round is not
trained; with `warn` it is said in the log and in the report.
"""

import logging

from scalewise.artifacts import (
    health_csv,
    predictions_h5,
    scores_csv,
    source_csv,
    thresholds_csv,
)
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.selftraining import health

log = logging.getLogger("scalewise")


def read_predictions(job: Job, prefix: str = "") -> health.Predictions:
    """What one network says of the target; its files are the inputs with this prefix."""
    scores = scores_csv.read(job.input(f"{prefix}scores"), job.settings["classes"])
    kept = None
    if job.has_input(f"{prefix}thresholds"):
        rows = thresholds_csv.read(job.input(f"{prefix}thresholds"))
        kept = health.overall_kept([row.kept for row in rows], [row.seen for row in rows])
    entropy = health.overall_entropy(scores.pixels, scores.entropy)
    return health.Predictions(scores.pixels.sum(0), entropy, kept)


def read_source_loss(job: Job, prefix: str = "") -> float:
    """The mean loss of one network on the source images that were looked at, in nats."""
    rows = source_csv.read(job.input(f"{prefix}source"))
    return health.overall_loss([row.pixels for row in rows], [row.loss for row in rows])


def read_agreement(job: Job) -> float:
    """How far the predictions of both networks agree. Raises ValueError for other images."""
    paths = job.input("predictions"), job.input("previous_predictions")
    with predictions_h5.reading(paths[0]) as one, predictions_h5.reading(paths[1]) as other:
        if one.image_id != other.image_id or one.shape != other.shape:
            raise ValueError(f"{paths[0]} and {paths[1]} are not of the same images")
        return health.agreement(zip(one.blocks(), other.blocks(), strict=True))


def check(job: Job) -> None:
    s = job.settings
    now, before, agreed, losses = read_predictions(job), None, None, None
    if job.has_input("previous_scores"):
        before, agreed = read_predictions(job, "previous_"), read_agreement(job)
        losses = read_source_loss(job), read_source_loss(job, "first_")
    rows = health.check(now, before, agreed, losses, s["limits"], s["classes"])
    warnings = [row.sentence for row in rows if row.verdict == health_csv.WARN]
    if warnings and s["on_collapse"] == "stop":
        what = "round is not trained" if job.has_input("thresholds") else "report is not written"
        raise UserError(
            "\n".join(warnings)
            + f"\nSo this {what} (rounds.on_collapse: stop); all that is finished is kept, and "
            "`make report` shows it. Adapt for fewer rounds (rounds.portions), lower "
            "retraining.optimizer.learning_rate, or go on with rounds.on_collapse: warn"
        )
    for row in rows:
        if row.verdict == health_csv.OK:
            log.info("%s: %s", row.measure, row.sentence)
    for sentence in warnings:
        job.warn(sentence)
    health_csv.write(job.output("health.csv"), rows)


if __name__ == "__main__":
    run(check, __doc__)
