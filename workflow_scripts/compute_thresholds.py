"""compute_thresholds: per class the entropy below which a prediction may teach (method, step 3).

Writes `thresholds.csv`: class, tau, the image it came from, and the share of the patches' pixels
of the class that it keeps.
"""

import logging
import math

import numpy as np

from scalewise.artifacts import patches_h5, thresholds_csv
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.selftraining.ranking import read_ranking
from scalewise.selftraining.thresholds import count_kept

log = logging.getLogger(__name__)
BLOCK = 64  # patches that are read at once, unless they are large
BLOCK_PIXELS = 1 << 27


def count_pixels(
    patches: patches_h5.PatchReader, tau: np.ndarray, *, nan_is_reliable: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The patches' pixels of each predicted class, and those that tau keeps: int64 (K,) each."""
    seen, kept = np.zeros(len(tau), np.int64), np.zeros(len(tau), np.int64)
    height, width = patches.crop
    step = max(1, min(BLOCK, BLOCK_PIXELS // max(1, height * width)))
    for first in range(0, len(patches), step):
        block = patches.read(slice(first, first + step), ("predicted", "entropy"))
        counts = count_kept(**block, tau=tau, nan_is_reliable=nan_is_reliable)
        seen += counts[0]
        kept += counts[1]
    return seen, kept


def compute(job: Job) -> None:
    classes = job.settings["classes"]
    settings = job.settings
    ranking = read_ranking(job.input("scores"), job.input("source_labels"), classes, settings)
    previous = None
    if job.has_input("previous"):
        previous = np.array([row.tau for row in thresholds_csv.read(job.input("previous"))])
    tau, image = ranking.thresholds(previous, settings)
    unranked = [name for name, r in zip(classes, ranking.rankings, strict=True) if len(r) == 0]
    if unranked:
        log.info("ranked in no image, tau stays as it was: %s", ", ".join(unranked))
    seen, kept = count_pixels(
        patches_h5.PatchReader(job.input("patches")),
        tau,
        nan_is_reliable=settings["constant_entropy"] == "nan",
    )
    if not kept.any():
        raise UserError(
            "no pixel of any patch is reliable: each is at or above the threshold of its class. "
            "Raise selection.min_pixels (the entropy of a few pixels can make a threshold of 0), "
            "or set threshold.estimator to pooled or none"
        )
    rows = [
        thresholds_csv.ThresholdRow(
            name,
            float(tau[c]),
            ranking.scores.images[image[c]] if image[c] >= 0 else "",
            int(ranking.take[c]),
            len(ranking.rankings[c]),
            kept[c] / seen[c] if seen[c] else math.nan,
            int(seen[c]),
        )
        for c, name in enumerate(classes)
    ]
    thresholds_csv.write(job.output("thresholds.csv"), rows)


if __name__ == "__main__":
    run(compute, __doc__)
