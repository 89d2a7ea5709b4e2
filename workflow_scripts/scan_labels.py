"""scan_labels: decode the label of every image of a set; write `labels.csv` and `problems.csv`."""

from scalewise.artifacts import images_csv, labels_csv, problems_csv
from scalewise.data.listing import label_hashes
from scalewise.data.scan import scan_labels
from scalewise.job import Job, run


def scan(job: Job) -> None:
    s = job.settings
    images = images_csv.read(job.input("images"))
    job.progress.start(len(images), "label")
    rows, problems = scan_labels(
        job.locations["root"],
        images,
        s["labels"],
        label_hashes(job),
        s["label_ids"],
        s["classes"],
        job.threads,
        job.progress.advance,
    )
    labels_csv.write(job.output("labels.csv"), rows, s["classes"])
    problems_csv.write(job.output("problems.csv"), problems)


if __name__ == "__main__":
    run(scan, __doc__)
