"""scan_images: look at every image of a set; write `images.csv` and `problems.csv`.

It looks at images alone: the labels of a target set never come near it. What is known of files with
the same content from earlier scans is not decoded again.
"""

from scalewise.artifacts import images_csv, problems_csv
from scalewise.data.listing import expected_images
from scalewise.data.scan import Findings, scan_images
from scalewise.job import Job, run


def scan(job: Job) -> None:
    pattern = job.settings["images"]
    files = expected_images(job, pattern)
    findings = Findings()
    job.progress.start(len(files), "image")
    rows = scan_images(
        job.locations["root"], files, pattern, findings, job.threads, job.progress.advance
    )
    images_csv.write(job.output("images.csv"), rows)
    problems_csv.write(job.output("problems.csv"), findings.problems)


if __name__ == "__main__":
    run(scan, __doc__)
