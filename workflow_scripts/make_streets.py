"""make_streets: draw a procedural set of street scenes in Cityscapes' own layout and label ids.

Writes leftImg8bit/<split>/street/*.png and gtFine/<split>/street/*.png, and `files.csv`: path and
content hash of each. Drawing is spread over --threads processes.
"""

import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from scalewise.artifacts import table
from scalewise.artifacts.atomic import replacing
from scalewise.artifacts.hashing import content_hash
from scalewise.data.streets.draw import draw_street
from scalewise.errors import UserError
from scalewise.job import Job, run
from scalewise.resuming import items


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", compress_level=1)


def files_of(number: int, split: str) -> tuple[str, str]:
    """Relative paths of the image and the label of a scene."""
    name = f"{split}/street/street_{number:06d}_000000"
    return f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_labelIds.png"


def draw(number: int, folder: Path, settings: dict) -> list[str]:
    """Draw and write one scene; return the hashes of its files."""
    pixels = draw_street(settings["seed"], number, *settings["size"], settings["style"])
    paths = [folder / path for path in files_of(number, settings["split"])]
    for path, array in zip(paths, pixels, strict=True):
        _write_png(path, array)
    return [content_hash(path) for path in paths]


def _holds(path: Path, hash_: str) -> bool:
    return path.exists() and content_hash(path) == hash_


def _begin_worker() -> None:
    """Leave the signals of a terminal to the job itself, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def make_streets(job: Job) -> None:
    count = job.settings["images"]
    hashes: list[list[str]] = []

    def keep() -> dict[str, np.ndarray]:
        return {"hashes": np.array(hashes, "S").view(np.uint8).reshape(len(hashes), 2, -1)}

    def restore(arrays: dict[str, np.ndarray]) -> None:
        for row in arrays["hashes"]:
            hashes.append([bytes(text).decode() for text in row])

    with items(job, count, "image", keep, restore) as work:
        one = partial(draw, folder=job.folder, settings=job.settings)
        for number, known in enumerate(hashes):
            paths = [job.folder / path for path in files_of(number, job.settings["split"])]
            if not all(map(_holds, paths, known)):
                hashes[number] = one(number)
        with ProcessPoolExecutor(job.threads, initializer=_begin_worker) as pool:
            try:
                for found in pool.map(one, range(work.first, count), chunksize=4):
                    hashes.append(found)
                    work.advance(1)
            except BrokenProcessPool:  # killed, or told to stop together with this process
                raise UserError(
                    "a process that drew streets was killed, perhaps for want of memory: give this "
                    "job less to do at once (--cores), then start again; it goes on from here"
                ) from None
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                raise
    rows = [
        (path, hash_)
        for number, known in enumerate(hashes)
        for path, hash_ in zip(files_of(number, job.settings["split"]), known, strict=True)
    ]
    table.write(job.output("files.csv"), ["path", "hash"], rows)


if __name__ == "__main__":
    run(make_streets, __doc__)
