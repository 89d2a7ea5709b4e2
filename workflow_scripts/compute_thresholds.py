"""compute_thresholds: per class the entropy below which a prediction may teach (method, step 3).

Writes `thresholds.csv`: class, tau, the image it came from, and the share of the patches' pixels
that it keeps.
"""

import logging

import numpy as np

from scalewise.artifacts import labels_csv, patches_h5, scores_csv, thresholds_csv
from scalewise.job import Job, run
from scalewise.selftraining.ranking import rank_and_count, source_classes
from scalewise.selftraining.thresholds import class_thresholds

log = logging.getLogger(__name__)
BLOCK = 64


def kept_share(patches: patches_h5.PatchReader, tau: np.ndarray) -> np.ndarray:
    """float64 (K,): share of the patches' pixels of each predicted class with entropy below tau."""
    seen, kept = np.zeros(len(tau)), np.zeros(len(tau))
    limit = tau.astype(np.float32)
    for first in range(0, len(patches), BLOCK):
        block = patches.read(slice(first, first + BLOCK), ("predicted", "entropy"))
        predicted = block["predicted"].ravel()
        below = block["entropy"].astype(np.float32).ravel() < limit[predicted]
        seen += np.bincount(predicted, minlength=len(tau))
        kept += np.bincount(predicted[below], minlength=len(tau))
    with np.errstate(invalid="ignore"):
        return kept / seen


def compute(job: Job) -> None:
    classes = job.settings["classes"]
    scores = scores_csv.read(job.input("scores"), classes)
    labels = labels_csv.read(job.input("source_labels"), classes)
    in_source = source_classes([row.pixels for row in labels], len(classes))
    rankings, take = rank_and_count(scores.pixels, scores.mean_probability, in_source, job.settings)
    previous = None
    if job.has_input("previous"):
        previous = np.array([row.tau for row in thresholds_csv.read(job.input("previous"))])
    tau, image = class_thresholds(
        rankings,
        take,
        scores.mean_entropy,
        previous,
        estimator=job.settings["estimator"],
        pool=job.settings["pool"],
    )
    unranked = [name for name, i in zip(classes, image, strict=True) if i < 0]
    if unranked:
        log.info("ranked in no image, tau stays as it was: %s", ", ".join(unranked))
    tau = np.where(in_source, tau, 0.0)  # a class that the source lacks is never a pseudo-label
    kept = kept_share(patches_h5.PatchReader(job.input("patches")), tau)
    rows = [
        thresholds_csv.ThresholdRow(
            name,
            float(tau[c]),
            scores.images[image[c]] if image[c] >= 0 else "",
            int(take[c]),
            len(rankings[c]),
            float(kept[c]),
        )
        for c, name in enumerate(classes)
    ]
    thresholds_csv.write(job.output("thresholds.csv"), rows)


if __name__ == "__main__":
    run(compute, __doc__)
