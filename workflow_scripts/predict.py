"""predict: label maps of images, with the model.safetensors of a result.

    python workflow_scripts/predict.py MODEL IMAGES... --out FOLDER
    make predict MODEL=.../model.safetensors IMAGES=photos OUT=predicted

IMAGES: folders (with all folders in them), globs, single files; of any size and
most kinds, 8 or 16 bits, grey, with a palette or alpha; turned as their EXIF
orientation says. No labels and no configuration are needed. Written are PNGs of
the image's own (upright) size, under its path relative to what was named:

    FOLDER/label/        class index; with --ids cityscapes its server's ids
    FOLDER/color/        --color: the classes' colours
    FOLDER/overlay/      --overlay: these and the image, half and half
    FOLDER/confidence/   --confidence: of the predicted class; 255 is 1
    FOLDER/entropy/      --entropy: of all classes, by ln K; 255 is 1
    FOLDER/classes.csv   class, id in the label maps, colour
    FOLDER/predictions.jsonl   what made them, and which are finished
    FOLDER/problems.csv  files that could not be used, where there are any

The same command goes on where it was stopped: an image is finished when its
files are there, made with this model and these options, and the image has the
size and time of change that it had. Where it has not, all is made anew and no
older picture of it stays. Exit status: 0; 1 where a file could not be used; 130
where it was stopped.
"""

import argparse
import errno
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from scalewise import class_colors, devices
from scalewise.artifacts import png, prediction_record, problems_csv
from scalewise.artifacts.hashing import content_hash
from scalewise.command_line import errors_as_text, load_model, parser_of, run_program
from scalewise.data.given_files import GivenFile, given_files
from scalewise.data.photographs import read_upright
from scalewise.data.reading import UnreadableImage
from scalewise.errors import UserError
from scalewise.inference import BATCH
from scalewise.prediction import How, Prediction, Predictor
from scalewise.resuming import deferred_interrupt
from scalewise.taxonomy import CITYSCAPES, CITYSCAPES_LABEL_IDS

PICTURES = ("color", "overlay", "confidence", "entropy")  # on request
SAY_SECONDS = 15.0
GOES_ON = "stopped: the same command goes on from here"
# a batch of images takes no more of them than have so many pixels: 96 MiB, and as much read ahead
CHUNK_PIXELS = 1 << 25


class Read(NamedTuple):
    """An image file, its stamp before it was read, and what was read, uint8 (H, W, 3), or why it
    cannot be used."""

    file: GivenFile
    stamp: list[int]
    image: np.ndarray | UnreadableImage


def _read(file: GivenFile) -> Read:
    stamp = prediction_record.stamp(file.path)
    try:
        return Read(file, stamp, read_upright(file.path))
    except UnreadableImage as error:
        return Read(file, stamp, error)
    except MemoryError:
        return Read(file, stamp, UnreadableImage("does not fit into the memory"))


def _chunks(files: Iterator[GivenFile], most: int) -> Iterator[list[Read]]:
    """Up to `most` images at a time, the next of them being read meanwhile."""

    def take() -> list[Read]:
        part, pixels = [], 0
        while len(part) < most and pixels < CHUNK_PIXELS and (file := next(files, None)):
            part.append(_read(file))
            if isinstance(part[-1].image, np.ndarray):
                pixels += part[-1].image.size // 3
        return part

    with ThreadPoolExecutor(1) as pool:
        part = pool.submit(take).result()
        while part:
            waiting = pool.submit(take)
            yield part
            part = waiting.result()


class Pictures:
    """Writes what is asked for of each prediction."""

    def __init__(self, out: Path, kinds: list[str], ids: np.ndarray, colors: np.ndarray):
        self._out, self.kinds, self._ids, self._colors = out, kinds, ids, colors

    def _path(self, kind: str, name: str) -> Path:
        return self._out / kind / f"{name}.png"

    def are_there(self, name: str, valid: set[str]) -> bool:
        """Whether all that is asked for is among the valid kinds, and is there."""
        files = (self._path(kind, name) for kind in self.kinds)
        return valid.issuperset(self.kinds) and all(map(os.path.exists, files))

    def write(
        self, name: str, image: np.ndarray, prediction: Prediction, valid: set[str]
    ) -> set[str]:
        """Write all kinds, remove pictures of others than the valid ones; return what is there.

        image: uint8 (H, W, 3). Raises UnreadableImage where no file can have such a name.
        """
        there = valid | set(self.kinds)
        for kind in set(PICTURES) - there:
            self._path(kind, name).unlink(missing_ok=True)
        for kind in self.kinds:
            try:
                png.write(self._path(kind, name), self._pixels(kind, image, prediction))
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                raise UnreadableImage("its name is too long for a file of results") from None
        return there

    def _pixels(self, kind: str, image: np.ndarray, prediction: Prediction) -> np.ndarray:
        if kind == "label":
            return self._ids[prediction.label]
        if kind in ("confidence", "entropy"):
            return getattr(prediction, kind)
        colors = self._colors[prediction.label]
        if kind == "color":
            return colors
        # the mean, rounded down, without leaving 8 bits
        return (image & colors) + ((image ^ colors) >> 1)


class Counter:
    """Says how far it is: a bar for a person, a line every now and then otherwise."""

    def __init__(self, total: int, done: int):
        self._total, self._done, self._first = total, done, done
        self._begun = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=" images", leave=False)

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
        elif now - self._said >= SAY_SECONDS:
            self._said = now
            rate = (self._done - self._first) / (now - self._begun)
            left = tqdm.format_interval((self._total - self._done) / rate)
            say(f"{self._done} of {self._total} images, {rate:.2f} per second, {left} left")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def device_for(name: str | None) -> Iterator[torch.device]:
    """Hold the device of that name, or one that is free. Raises UserError."""
    if name == "cpu":
        yield torch.device("cpu")
        return
    if name:
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        known = re.fullmatch(r"cuda(?::(\d+))?", name)
        if not known or int(known[1] or 0) >= there:
            names = ", ".join(["cpu", *(f"cuda:{i}" for i in range(there))])
            raise UserError(f"--device {name}: not a device of this machine; it has {names}")
        os.environ[devices.DEVICES_VARIABLE] = f"cuda:{known[1] or 0}"
    torch.backends.cudnn.deterministic = True
    try:
        with devices.hold(1) as names:
            yield torch.device(names[0])
    except devices.NoDevice as error:
        raise UserError(str(error)) from None


def label_values(classes: list[str], ids: str) -> np.ndarray:
    """uint8 (K,): class index -> value in the label maps. Raises UserError."""
    if ids == "train":
        return np.arange(len(classes), dtype=np.uint8)
    if tuple(classes) != CITYSCAPES.names:
        raise UserError("--ids cityscapes: the classes of this model are not those of Cityscapes")
    return np.array(CITYSCAPES_LABEL_IDS, np.uint8)


class Outcome(NamedTuple):
    """made, kept: images; problems: files that could not be used; stopped: before the end."""

    made: int
    kept: int
    problems: list[problems_csv.Problem]
    stopped: bool


def predict_all(
    files: list[GivenFile],
    predictor: Predictor,
    pictures: Pictures,
    record: prediction_record.PredictionRecord,
    most: int,
) -> Outcome:
    """Predict what is not finished yet, `most` images at a time."""

    def is_finished(file: GivenFile) -> bool:
        valid = record.kinds_of(file.name, prediction_record.stamp(file.path))
        return pictures.are_there(file.name, valid)

    todo = [file for file in files if not is_finished(file)]
    kept = len(files) - len(todo)
    made, problems = 0, []
    counter = Counter(len(files), kept)
    with closing(counter), deferred_interrupt() as told_to_stop:
        for read in chain.from_iterable(
            _predicted(chunk, predictor) for chunk in _chunks(iter(todo), most)
        ):
            if told_to_stop:
                break
            file, stamp, image, prediction = read
            try:
                if prediction is None:
                    raise image
                valid = record.kinds_of(file.name, stamp)
                record.add(file.name, stamp, pictures.write(file.name, image, prediction, valid))
                made += 1
            except UnreadableImage as error:
                problems.append(problems_csv.Problem(file.path, str(error), "skip"))
            counter.advance()
        stopped = made + len(problems) < len(todo)
    return Outcome(made, kept, problems, stopped)


def _predicted(chunk: list[Read], predictor: Predictor) -> Iterator[tuple]:
    """File, stamp, image and prediction of each; of what cannot be used the error and None."""
    usable = [read.image for read in chunk if isinstance(read.image, np.ndarray)]
    predictions = predictor(usable)
    for read in chunk:
        if not isinstance(read.image, np.ndarray):
            yield (*read, None)
            continue
        try:
            yield (*read, next(predictions))
        except UnreadableImage as error:  # too small for the network
            yield read.file, read.stamp, error, None
            predictions = predictor([])


def report(outcome: Outcome, out: Path) -> int:
    """Say what was done, and write `problems.csv`; the exit status."""
    path = out / "problems.csv"
    if outcome.problems:
        problems_csv.write(path, outcome.problems)
    else:
        path.unlink(missing_ok=True)
    there = f" ({outcome.kept} more were finished before)" if outcome.kept else ""
    print(f"predicted {_images(outcome.made)} into {out}{there}")
    if outcome.problems:
        print(f"{_images(len(outcome.problems))} could not be used:")
        for problem in outcome.problems:
            print(f"  {problem.file}: {problem.problem}")
        print(f"also in {path}")
    if outcome.stopped:
        say(GOES_ON)
        return 130
    return 1 if outcome.problems else 0


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def run(arguments: argparse.Namespace) -> int:
    """Do as the command line says; the exit status. Raises UserError."""
    # Pillow tells so of a photograph whose pixels are whole; it is taken as it is stored
    warnings.filterwarnings("ignore", "Corrupt EXIF data")
    model = load_model(arguments.model)
    values = label_values(model.classes, arguments.ids)
    colors = class_colors.colors_for(model.classes, arguments.model)
    files, others = given_files(arguments.images, arguments.out)
    how = How(arguments.window, arguments.scales, arguments.flip, arguments.batch)
    seen = "x".join(map(str, how.window or model.size))
    view = f"windows of {seen}" if how.window else f"whole, at {seen}"
    print(f"{_images(len(files))}, {len(model.classes)} classes, seen {view}")
    if others:
        print(f"{others} other file{'s' * (others != 1)} left out: not images by their names")
    kinds = ["label", *(kind for kind in PICTURES if getattr(arguments, kind))]
    made_by = {
        "model": content_hash(arguments.model),
        "window": list(how.window) if how.window else None,
        "scales": list(how.scales),
        "flip": how.flip,
        "ids": arguments.ids,
    }
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with (
        device_for(arguments.device) as device,
        prediction_record.opened(
            arguments.out, made_by, kinds, redo=arguments.redo
        ) as record,
    ):  # fmt: skip
        class_colors.write(arguments.out / "classes.csv", model.classes, values, colors)
        pictures = Pictures(arguments.out, kinds, values, colors)
        try:
            outcome = predict_all(
                files, Predictor(model, device, how), pictures, record,
                1 if how.window else how.batch,
            )  # fmt: skip
        except torch.OutOfMemoryError:
            raise UserError(f"{device}: out of memory: lower --batch or --window") from None
        except ValueError as error:  # NaN
            raise UserError(f"{arguments.model}: {error}") from None
        return report(outcome, arguments.out)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}': give height x width, such as 512x1024")
    return int(found[1]), int(found[2])


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = (math.nan,)
    if not all(0 < scale <= 8 for scale in scales) or len(set(scales)) < len(scales):
        raise argparse.ArgumentTypeError(
            f"'{text}': give different numbers above 0 and up to 8, such as 0.75,1,1.25"
        )
    return tuple(sorted(scales))


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"'{text}': give a whole number from 1 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    p = parser_of(__doc__)
    p.add_argument("model", metavar="MODEL", type=Path, help="model.safetensors of a result")
    p.add_argument("images", metavar="IMAGES", nargs="+", help="folders, globs, files")
    p.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="to write to")
    p.add_argument(
        "--ids",
        choices=("train", "cityscapes"),
        default="train",
        help="values of the label maps: class indices, or the ids of Cityscapes",
    )
    p.add_argument("--color", action="store_true", help="write the classes' colours too")
    p.add_argument("--overlay", action="store_true", help="write colours over the image too")
    p.add_argument("--confidence", action="store_true", help="write the confidence too")
    p.add_argument("--entropy", action="store_true", help="write the entropy too")
    p.add_argument(
        "--window",
        metavar="HxW",
        type=_size,
        help="slide a window of this size over the image at its own size, overlapping "
        "by a third or more (default: the whole image at the working size)",
    )
    p.add_argument("--flip", action="store_true", help="average with the mirrored image")
    p.add_argument(
        "--scales",
        metavar="S,S,...",
        type=_scales,
        default=(1.0,),
        help="average over these sizes, relative to the usual one (default: 1)",
    )
    p.add_argument(
        "--batch",
        metavar="N",
        type=_count,
        default=BATCH,
        help=f"images or windows at once (default: {BATCH})",
    )
    p.add_argument("--device", help="cpu, cuda or cuda:N (default: a free GPU, else the CPU)")
    p.add_argument("--threads", metavar="N", type=_count, help="of the CPU (default: all)")
    p.add_argument(
        "--redo",
        action="store_true",
        help="make all anew where FOLDER holds predictions of other options",
    )
    return p


def main() -> None:
    arguments = parser().parse_args()
    with errors_as_text(GOES_ON):
        sys.exit(run(arguments))


if __name__ == "__main__":
    run_program(main)
