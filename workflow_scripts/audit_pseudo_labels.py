"""audit_pseudo_labels: how right are the labels that teach a round?

Sets the patches' predictions, at their original scale, against labels of the target, where
`data.target.audit` allows it. Writes `audit.csv`: a row for each class and one for all. It feeds
the report alone: no other stage reads these labels, or anything that was made from them.
"""

from functools import lru_cache

import numpy as np

from scalewise.artifacts import audit_csv, patches_h5, problems_csv, thresholds_csv
from scalewise.data import reading
from scalewise.data.dataset import DataSet
from scalewise.job import Job, run
from scalewise.selftraining.audit import count_right
from scalewise.taxonomy import IGNORE


def warn_of_missing(job: Job, images: set[str], labelled: set[str]) -> None:
    """Say how many of the patches' images have no label that is fit for use, and why the first in
    the scan's list has none."""
    missing = images - labelled
    if not missing:
        return
    problems = [p for p in problems_csv.read(job.input("problems")) if p.verdict != "warn"]
    why = f": {problems[0].file}: {problems[0].problem}" if problems else ""
    job.warn(
        f"{len(missing)} of the {len(images)} images that patches are of have no label for the "
        f"audit{why} (the list: {job.input('problems')})"
    )


def audit(job: Job) -> None:
    s = job.settings
    size = tuple(s["size"])
    target = DataSet(
        job.locations["target"],
        job.input("target_images"),
        size,
        job.input("target_labels"),
        s["label_ids"],
    )
    tau = np.array([row.tau for row in thresholds_csv.read(job.input("thresholds"))])

    @lru_cache(maxsize=2)  # the patches of an image stand together
    def label_of(image: str) -> np.ndarray:
        if image not in target.position:
            return np.full(size, IGNORE, np.uint8)
        return reading.resize_label(target.own_label(target.position[image]), size)

    patches = patches_h5.PatchReader(job.input("patches"))
    positions = patches.read(slice(None), ("position",))["position"]
    counts = np.zeros((5, len(tau)), np.int64)
    job.progress.start(len(patches), "patch")
    for number, (image, (top, left)) in enumerate(zip(patches.image_id, positions, strict=True)):
        patch = patches.patch(number, ("predicted", "entropy"))
        height, width = patch["predicted"].shape
        label = label_of(image)[top : top + height, left : left + width]
        counts += count_right(
            **patch, label=label, tau=tau, nan_is_reliable=s["constant_entropy"] == "nan"
        )
        job.progress.advance(1)
    warn_of_missing(job, set(patches.image_id), set(target.position))
    rows = [
        audit_csv.AuditRow(name, *map(int, column))
        for name, column in zip(s["classes"], counts.T, strict=True)
    ]
    audit_csv.write(job.output("audit.csv"), rows)


if __name__ == "__main__":
    run(audit, __doc__)
