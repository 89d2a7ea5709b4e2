"""make_streets: draw a procedural set of street scenes in Cityscapes' own layout and label ids.

Writes leftImg8bit/<split>/street/*.png and gtFine/<split>/street/*.png, and `files.csv`: path and
content hash of each. Drawing is spread over --threads processes.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from scalewise.artifacts import table
from scalewise.artifacts.atomic import replacing
from scalewise.data.index import content_hash
from scalewise.data.streets.draw import draw_street
from scalewise.job import Job, run


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1)


def draw(number: int, folder: Path, split: str, settings: dict) -> list[tuple[str, str]]:
    """Draw and write one scene; return its files' relative paths and hashes."""
    image, label = draw_street(settings["seed"], number, *settings["size"], settings["style"])
    name = f"{split}/street/street_{number:06d}_000000"
    files = {
        f"leftImg8bit/{name}_leftImg8bit.png": image,
        f"gtFine/{name}_gtFine_labelIds.png": label,
    }
    for path, pixels in files.items():
        _write_png(folder / path, pixels)
    return [(path, content_hash(folder / path)) for path in files]


def make_streets(job: Job) -> None:
    count = job.settings["images"]
    job.progress.start(count, "image")
    one = partial(draw, folder=job.folder, split=job.settings["split"], settings=job.settings)
    rows = []
    with ProcessPoolExecutor(job.threads) as pool:
        for files in pool.map(one, range(count), chunksize=16):
            rows.extend(files)
            job.progress.advance()
    table.write(job.output("files.csv"), ["path", "hash"], rows)


if __name__ == "__main__":
    run(make_streets, __doc__)
