"""scan_images: decode every image of a set; write `images.csv` and `problems.csv`.

It looks at images alone: the labels of a target set never come near it.
"""

from scalewise.artifacts import images_csv, problems_csv
from scalewise.data.listing import image_hashes
from scalewise.data.scan import scan_images
from scalewise.job import Job, run


def scan(job: Job) -> None:
    pattern = job.settings["images"]
    paths = image_hashes(job, pattern)
    job.progress.start(len(paths), "image")
    rows, problems = scan_images(
        job.locations["root"], paths, pattern, job.threads, job.progress.advance
    )
    images_csv.write(job.output("images.csv"), rows)
    problems_csv.write(job.output("problems.csv"), problems)


if __name__ == "__main__":
    run(scan, __doc__)
