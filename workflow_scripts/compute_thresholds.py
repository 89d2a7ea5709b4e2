"""compute_thresholds: per class the entropy below which a prediction may teach (method, step 3).

Writes `thresholds.csv`: class, tau, the image it came from (none where it comes from the patches'
pixels themselves), and the share of the patches' pixels of the class that it keeps.
"""

import logging
import math
from collections.abc import Iterator

import numpy as np

from scalewise.artifacts import patches_h5, thresholds_csv
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.selftraining.ranking import read_ranking
from scalewise.selftraining.thresholds import count_entropy, count_kept

log = logging.getLogger(__name__)
BLOCK = 64  # patches that are read at once, unless they are large
BLOCK_PIXELS = 1 << 27


def blocks(patches: patches_h5.PatchReader) -> Iterator[dict[str, np.ndarray]]:
    """`predicted` and `entropy` of some patches after the other, padded."""
    height, width = patches.crop
    step = max(1, min(BLOCK, BLOCK_PIXELS // max(1, height * width)))
    for first in range(0, len(patches), step):
        yield patches.read(slice(first, first + step), ("predicted", "entropy"))


def count_pixels(
    patches: patches_h5.PatchReader, tau: np.ndarray, *, nan_is_reliable: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The patches' pixels of each predicted class, and those that tau keeps: int64 (K,) each."""
    seen, kept = np.zeros(len(tau), np.int64), np.zeros(len(tau), np.int64)
    for block in blocks(patches):
        counts = count_kept(**block, tau=tau, nan_is_reliable=nan_is_reliable)
        seen += counts[0]
        kept += counts[1]
    return seen, kept


def count_values(patches: patches_h5.PatchReader, classes: int) -> np.ndarray:
    """How many pixels of each predicted class have which entropy: as `thresholds.count_entropy`."""
    nothing = count_entropy(np.empty(0, np.uint8), np.empty(0, np.float16), classes)
    return sum((count_entropy(**block, classes=classes) for block in blocks(patches)), nothing)


def compute(job: Job) -> None:
    classes = job.settings["classes"]
    settings = job.settings
    ranking = read_ranking(job.input("scores"), job.input("source_labels"), classes, settings)
    previous = None
    if job.has_input("previous"):
        previous = np.array([row.tau for row in thresholds_csv.read(job.input("previous"))])
    patches = patches_h5.PatchReader(job.input("patches"))
    tau, image = ranking.thresholds(previous, settings, lambda: count_values(patches, len(classes)))
    seen, kept = count_pixels(patches, tau, nan_is_reliable=settings["constant_entropy"] == "nan")
    by_rate = settings["estimator"] == "rate"
    found = seen if by_rate else [len(ranked) for ranked in ranking.rankings]
    without = [name for name, count in zip(classes, found, strict=True) if count == 0]
    if without:
        where = "predicted in no patch" if by_rate else "ranked in no image"
        log.info("%s, tau stays as it was: %s", where, ", ".join(without))
    if not kept.any():
        raise UserError(
            "no pixel of any patch is reliable: each is at or above the threshold of its class. "
            "Raise selection.min_pixels (the entropy of a few pixels can make a threshold of 0), "
            "or set threshold.estimator to pooled, rate or none"
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
