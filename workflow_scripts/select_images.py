"""select_images: take the most confident target images of each class (the method, step 2).

Writes `selected.csv`: rank, image, the classes it was taken for, its score for the first of them.
"""

import logging

from scalewise.artifacts import labels_csv, scores_csv, selected_csv
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.selftraining.ranking import rank_and_count, source_classes
from scalewise.selftraining.selection import select_images

log = logging.getLogger(__name__)


def select(job: Job) -> None:
    classes = job.settings["classes"]
    scores = scores_csv.read(job.input("scores"), classes)
    labels = labels_csv.read(job.input("source_labels"), classes)
    in_source = source_classes([row.pixels for row in labels], len(classes))
    rankings, take = rank_and_count(scores.pixels, scores.mean_probability, in_source, job.settings)
    selection = select_images(rankings, take, scores.mean_probability)
    nothing = [name for name, n in zip(classes, take, strict=True) if n == 0]
    if nothing:
        log.info("classes that select no image: %s", ", ".join(nothing))
    if len(selection.images) == 0:
        raise UserError(
            f"no image is selected: p = {job.settings['portion']:g} of {len(scores.images)} images "
            f"over {int(in_source.sum())} classes is less than one image for every class. Raise "
            "rounds.portions, or set selection.minimum_per_class to 1"
        )
    job.notes["selected"] = len(selection.images)
    job.notes["classes_without_images"] = nothing
    rows = [
        selected_csv.SelectedRow(
            rank, scores.images[image], tuple(classes[c] for c in taken_for), float(score)
        )
        for rank, (image, taken_for, score) in enumerate(
            zip(selection.images, selection.classes, selection.score, strict=True)
        )
    ]
    selected_csv.write(job.output("selected.csv"), rows)


if __name__ == "__main__":
    run(select, __doc__)
