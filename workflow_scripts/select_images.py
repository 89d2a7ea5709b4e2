"""select_images: take the most confident target images of each class (the method, step 2).

Writes `selected.csv`: rank, image, the classes it was taken for, its score for the first of them.
"""

import logging

from scalewise.artifacts import selected_csv
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.selftraining.ranking import read_ranking

log = logging.getLogger(__name__)


def select(job: Job) -> None:
    classes = job.settings["classes"]
    ranking = read_ranking(job.input("scores"), job.input("source_labels"), classes, job.settings)
    images, selection = ranking.scores.images, ranking.selection()
    nothing = [name for name, n in zip(classes, ranking.take, strict=True) if n == 0]
    if nothing:
        log.info("classes that select no image: %s", ", ".join(nothing))
    if len(selection.images) == 0:
        portion, most = job.settings["portion"], max(map(len, ranking.rankings))
        if job.settings["scope"] == "global":
            raise UserError(
                f"no image is selected: p = {portion:g} of {len(images)} images is less than one. "
                "Raise rounds.portions"
            )
        raise UserError(
            f"no image is selected: with p = {portion:g} each class takes p / {ranking.divisor} of "
            f"the images that show it, at most {most} of {len(images)}. Raise rounds.portions, or "
            "set selection.minimum_per_class to 1"
        )
    job.notes["selected"] = len(selection.images)
    job.notes["classes_without_images"] = nothing
    rows = [
        selected_csv.SelectedRow(
            rank, images[image], tuple(classes[c] for c in taken_for), float(score)
        )
        for rank, (image, taken_for, score) in enumerate(
            zip(selection.images, selection.classes, selection.score, strict=True)
        )
    ]
    selected_csv.write(job.output("selected.csv"), rows)


if __name__ == "__main__":
    run(select, __doc__)
