"""The loader alone: images per second and core, from files to batches, without a network.

    python benchmarks/loader.py [--images 8] [--repeats 5] [--threads 2]

Draws smooth coloured regions with the noise of a camera, and their labels, at the sizes of GTA5 and
Cityscapes, writes them as PNG (images also as JPEG), and makes batches of them at the working sizes
of the ready configurations: read, checked against the hash of the scan, decoded, resized and
augmented, each file anew. And patches of 512 x 1024 with 19 classes from a `patches.h5`. Rates are
by CPU time of one thread. Needed for a GPU that takes 30 images per second with 8 cores: 3.75.

That a batch is what a plain walk over its files gives is asserted before. The last column is how
much faster several threads are by the clock (of use on a machine that does nothing else).
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image
from timing import interleaved, table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from scalewise.artifacts import images_csv, labels_csv, patches_h5  # noqa: E402
from scalewise.artifacts.hashing import content_hash  # noqa: E402
from scalewise.data.dataset import DataSet  # noqa: E402
from scalewise.training.loop import prefetch  # noqa: E402
from scalewise.training.patch_batches import PatchBatches  # noqa: E402
from scalewise.training.source_batches import SourceBatches  # noqa: E402

CLASSES = [f"class {k}" for k in range(19)]
NEEDED = 30 / 8
PLAIN = {
    "flip": False, "scale": (1, 1), "brightness": 0, "contrast": 0, "saturation": 0,
    "channel_gain": 0, "gamma": 0, "blur": 0,
}  # fmt: skip
STRONG = {
    "flip": True, "scale": (0.5, 2), "brightness": 0.2, "contrast": 0.2, "saturation": 0.2,
    "channel_gain": 0.2, "gamma": 0.2, "blur": 1,
}  # fmt: skip
SETS = {  # size of the files, working size
    "GTA5": ((1052, 1914), (720, 1280)),
    "Cityscapes": ((1024, 2048), (512, 1024)),
}


def scene(draws: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 (H, W, 3), and its label, uint8 (H, W): regions of one colour each, shaded
    and noisy, so that a PNG of it takes about as many bytes per pixel as one of the real sets."""
    height, width = size
    fields = draws.normal(size=(len(CLASSES), 12, 20)).astype(np.float32)
    coarse = (height // 4 + 1, width // 4 + 1)
    fields = torch.nn.functional.interpolate(
        torch.from_numpy(fields)[None], coarse, mode="bicubic", align_corners=False
    )[0]
    label = fields.argmax(0).numpy().astype(np.uint8).repeat(4, 0).repeat(4, 1)[:height, :width]
    colours = draws.integers(20, 220, (len(CLASSES), 3)).astype(np.float32)
    shade = np.linspace(0.8, 1.2, height, dtype=np.float32)[:, None, None]
    noise = draws.normal(0, 2.5, (height, width, 1)).astype(np.float32)
    return (colours[label] * shade + noise).clip(0, 255).astype(np.uint8), label


def write_set(folder: Path, count: int, size: tuple[int, int], kind: str, draws) -> None:
    """`count` images of a kind with labels, images.csv and labels.csv."""
    images, labels = [], []
    folder.mkdir()
    for k in range(count):
        image, label = scene(draws, size)
        names = f"{k}.{kind}", f"{k}_label.png"
        Image.fromarray(image).save(folder / names[0], **({"quality": 92} if kind == "jpg" else {}))
        Image.fromarray(label).save(folder / names[1])
        hashes = [content_hash(folder / name) for name in names]
        images.append(images_csv.ImageRow(f"i{k}", names[0], size[1], size[0], hashes[0]))
        pixels = tuple(np.bincount(label.ravel(), minlength=len(CLASSES)).tolist())
        labels.append(
            labels_csv.LabelRow(f"i{k}", names[1], size[1], size[0], hashes[1], 0, pixels)
        )
    images_csv.write(folder / "images.csv", images)
    labels_csv.write(folder / "labels.csv", labels, CLASSES)


def source_batches(folder: Path, size: tuple[int, int], augmentation: dict) -> SourceBatches:
    """Of a set, with nothing decoded so far."""
    ids = {str(k): k for k in range(len(CLASSES))}
    data = DataSet(folder, folder / "images.csv", size, folder / "labels.csv", ids)
    return SourceBatches(data, 0, 1, augmentation)


def require_plain_walk(folder: Path, size: tuple[int, int]) -> None:
    """A batch without augmentation is its file, opened and resized."""
    images, labels = source_batches(folder, size, PLAIN).make(0)
    name = source_batches(folder, size, PLAIN).describe(0).removeprefix("source: i")
    (image,) = (f for f in folder.glob(f"{name}.*"))
    wanted = Image.open(image).resize(size[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(images[0].numpy(), np.asarray(wanted))
    wanted = Image.open(folder / f"{name}_label.png").resize(size[::-1], Image.Resampling.NEAREST)
    assert np.array_equal(labels[0].numpy(), np.asarray(wanted))


def write_patches(path: Path, count: int, draws: np.random.Generator) -> None:
    """Crops of 256 x 512, to be seen at 512 x 1024."""
    with patches_h5.writing(path, count, (256, 512), (512, 1024)) as writer:
        for k in range(count):
            image, label = scene(draws, (256, 512))
            # as smooth as maps of a network, whose logits are coarser than its images
            entropy = draws.random((64, 128), np.float32).repeat(4, 0).repeat(4, 1)
            entropy = cv2.blur(entropy, (4, 4))[None].astype(np.float16)
            large = label.repeat(2, 0).repeat(2, 1)
            writer.append(
                patches_h5.Patches(
                    [f"i{k}"], np.zeros((1, 2), np.int32), image[None], label[None], entropy,
                    large[None],
                )
            )  # fmt: skip
        writer.claim({})


def patch_batches(path: Path, augmentation: dict) -> PatchBatches:
    return PatchBatches(path, np.full(len(CLASSES), 0.5), 0, 1, augmentation)


def by_clock(make: Callable[[], object], count: int, threads: int) -> float:
    """Seconds for all batches with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    for _ in prefetch(make().make, 0, count):
        pass
    torch.set_num_threads(before)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=8, help="of each kind")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of the last column")
    parser.add_argument("--smaller", type=int, default=1, help="divides all sides, for a trial")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draws, count, by = np.random.default_rng(os.getpid()), arguments.images, arguments.smaller
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        makers: dict[tuple[str, str], Callable[[], object]] = {}
        weight = {}
        for name, (size, working) in SETS.items():
            size, working = (tuple(side // by for side in s) for s in (size, working))
            for kind in ("png", "jpg"):
                place = folder / f"{name} {kind}"
                write_set(place, count, size, kind, draws)
                if kind == "png":
                    require_plain_walk(place, working)
                row = f"{name}, {size[1]} x {size[0]} {kind} -> {working[1]} x {working[0]}"
                weight[row] = np.mean([f.stat().st_size for f in place.glob(f"?.{kind}")]) / 2**20
                for how, augmentation in (("plain", PLAIN), ("strong", STRONG)):
                    makers[row, how] = lambda p=place, w=working, a=augmentation: source_batches(
                        p, w, a
                    )
        write_patches(folder / "patches.h5", count, draws)
        row = "patches, 512 x 256 -> 1024 x 512"
        weight[row] = (folder / "patches.h5").stat().st_size / count / 2**20
        for how, augmentation in (("plain", PLAIN), ("strong", STRONG)):
            makers[row, how] = lambda a=augmentation: patch_batches(folder / "patches.h5", a)

        def all_of(make: Callable[[], object]) -> Callable[[], None]:
            def work() -> None:
                batches = make()
                for step in range(count):
                    batches.make(step)

            return work

        seconds = interleaved({k: all_of(m) for k, m in makers.items()}, arguments.repeats)
        rates = {key: count / median(values) for key, values in seconds.items()}
        clock = {
            row: median(
                by_clock(makers[row, "plain"], count, 1)
                / by_clock(makers[row, "plain"], count, arguments.threads)
                for _ in range(arguments.repeats)
            )
            for row in weight
        }
    print(f"images per second and core by CPU time; needed: {NEEDED:.2f}")
    rows = [
        [row, f"{weight[row]:.2f}", f"{rates[row, 'plain']:.1f}", f"{rates[row, 'strong']:.1f}",
         f"{clock[row]:.2f}"]
        for row in weight
    ]  # fmt: skip
    head = ["files", "MiB each", "as they are", "all augmentations"]
    print(table([*head, f"{arguments.threads} threads, by the clock"], rows))


if __name__ == "__main__":
    main()
