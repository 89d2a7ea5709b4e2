"""scan_labels: look at the label of every image of a set; write `labels.csv` and `problems.csv`.

What is known of files with the same content from earlier scans is not decoded again.
"""

from scalewise.artifacts import images_csv, labels_csv, problems_csv
from scalewise.data.listing import expected_labels
from scalewise.data.scan import Findings, scan_labels
from scalewise.job import Job, run


def scan(job: Job) -> None:
    s = job.settings
    images = images_csv.read(job.input("images"))
    findings = Findings()
    job.progress.start(len(images), "label")
    rows = scan_labels(
        job.locations["root"],
        images,
        (s["images"], s["labels"]),
        expected_labels(job),
        s["format"],
        s["label_ids"],
        s["classes"],
        s["declared"],
        findings,
        job.threads,
        job.progress.advance,
    )
    labels_csv.write(job.output("labels.csv"), rows, s["classes"])
    problems_csv.write(job.output("problems.csv"), findings.problems)


if __name__ == "__main__":
    run(scan, __doc__)
