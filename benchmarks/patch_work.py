"""What a selected image costs beside the network: entropy, normalisation, reliability, patches.

    python benchmarks/patch_work.py

CPU time per image, one thread, 4 patches of half the image's height and width, in three ways:

- released: the released program's steps in their own way, PNG files included (released_steps.py);
- vectorised: no loop, but the entropy of all classes at once and all classes interpolated
  everywhere; it writes `patches.h5`, as this project does. Once with torch.argmax, as one would
  write it, and once with torch.max, which is several times as fast;
- this project: the functions that `infer_patches` calls, and the filter that is applied on reading.

The image is a drawn street, and what the network says of it is drawn too (segmentation_like.py).
Before anything is timed, the labels are compared: they may differ where two classes tie, and where
an entropy lies at its threshold, since `patches.h5` holds it as float16. Bounds, at 10 % of the
pixels at a border: 10 times less than released, 3 times less than vectorised. `--photographs`
measures the disk with images of one's own.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

import released_steps
from segmentation_like import BOUND, SHARES, border_share, draw_logits, seeded
from timing import interleaved, median_ratio, table

from scalewise.artifacts import patches_h5
from scalewise.artifacts.patch_parts import PatchParts
from scalewise.data.streets.draw import draw_street
from scalewise.selftraining import patches as library
from scalewise.selftraining.confidence import normalised_entropy, pixel_confidence

PATCHES = 4
TIE = 1e-6  # two probabilities so near to each other are equal, but for rounding
HALF = (
    2**-10
)  # an entropy so near to its threshold, in shares of it, may be on either side in float16
RULES = {"reliability": "bilinear", "constant_entropy": "nan"}  # the released program's


class Case(NamedTuple):
    """One selected image: what the network said of it, the thresholds, and where to cut."""

    name: str
    image: torch.Tensor  # uint8 (H, W, 3)
    probabilities: torch.Tensor  # float32 (1, K, H, W)
    tau: np.ndarray  # (K,)
    patches: list[library.Patch]


def draw_case(number: int, image: np.ndarray, args, share: float, generator) -> Case:
    size = image.shape[:2]
    probabilities = draw_logits(args.classes, size, share, generator).softmax(dim=1)
    tau = 0.1 + 0.3 * torch.rand(args.classes, generator=generator).double().numpy()
    patches = library.image_patches(0, 1, str(number), PATCHES, size, 2)
    return Case(str(number), torch.from_numpy(image), probabilities, tau, patches)


def entropy_at_once(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted class and normalised entropy, (1, H, W) each, with an array for each operation."""
    p = case.probabilities
    entropy = -(p * torch.log(p + 1e-12)).sum(dim=1)
    prediction = p.max(dim=1).indices.to(torch.uint8)
    return prediction, normalised_entropy(entropy, prediction, p.shape[1], constant_entropy="nan")


def everything_interpolated(highest: Callable) -> Callable:
    """cut_patches of the vectorised form; highest: the number of the largest value along dim 1."""

    def cut(image, probabilities, prediction, normalised, patches, size) -> library.CutPatches:
        labels = [
            highest(
                F.interpolate(
                    crop.of(probabilities)[None], size, mode="bilinear", align_corners=True
                )
            )
            for crop, _ in patches
        ]
        return library.CutPatches(
            [crop.of(image.permute(2, 0, 1)).permute(1, 2, 0).contiguous() for crop, _ in patches],
            [crop.of(prediction) for crop, _ in patches],
            [crop.of(normalised) for crop, _ in patches],
            torch.cat(labels).to(torch.uint8),
        )

    return cut


def confidence(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted class and normalised entropy, (1, H, W) each, as `infer_patches` finds them."""
    sure = pixel_confidence(case.probabilities)
    classes = case.probabilities.shape[1]
    return sure.prediction, normalised_entropy(
        sure.entropy, sure.prediction, classes, constant_entropy="nan"
    )


def to_file(cases: list[Case], folder: Path, confidence: Callable, cut_patches: Callable) -> list:
    """Write `patches.h5` of all cases; returns per case the labels before and after the filter."""
    size = tuple(cases[0].image.shape[:2])
    crop = cases[0].patches[0].crop
    parts = PatchParts(folder, (crop.height, crop.width), size)
    labels = []
    for case in cases:
        prediction, normalised = confidence(case)
        cut = cut_patches(
            case.image, case.probabilities[0], prediction[0], normalised[0], case.patches, size
        )
        batch = patches_h5.Patches(
            [case.name] * PATCHES,
            np.array([(crop.top, crop.left) for crop, _ in case.patches]),
            [t.numpy() for t in cut.image],
            [t.numpy() for t in cut.predicted],
            [t.half().numpy() for t in cut.entropy],
            cut.labels.numpy(),
        )
        parts.append(batch)
        kept = [
            library.pseudo_labels(
                cut.labels[k : k + 1],
                cut.predicted[k][None],
                torch.from_numpy(batch.entropy[k])[None],
                torch.from_numpy(case.tau),
                **RULES,
            )[0]
            for k in range(PATCHES)
        ]
        labels.append((cut.labels.numpy(), np.stack(kept)))
    parts.join(folder / "patches.h5", PATCHES * len(cases), {})
    return labels


def this_project(cases: list[Case], folder: Path) -> list:
    return to_file(cases, folder, confidence, library.cut_patches)


def vectorised(cases: list[Case], folder: Path) -> list:
    return to_file(cases, folder, entropy_at_once, everything_interpolated(lambda v: v.argmax(1)))


def vectorised_max(cases: list[Case], folder: Path) -> list:
    cut = everything_interpolated(lambda v: v.max(dim=1).indices)
    return to_file(cases, folder, entropy_at_once, cut)


def released(cases: list[Case], folder: Path) -> list:
    return [
        released_steps.make_patches(
            case.image.numpy(),
            case.probabilities[0].numpy(),
            case.tau,
            [(crop.top, crop.left) for crop, _ in case.patches],
            folder,
            case.name,
        )
        for case in cases
    ]


WAYS = {
    "released": released,
    "vectorised": vectorised,
    "with max": vectorised_max,
    "this project": this_project,
}


def compared(cases: list[Case], results: dict[str, list]) -> tuple[int, int]:
    """How many pixels have another class, and how many are kept by one alone: this project against
    the released steps. Ends the program where there is more behind it than rounding, or behind a
    difference from the vectorised form."""
    ties = sides = 0
    for n, case in enumerate(cases):
        before, after = results["this project"][n]
        for other, way in ((results[name][n], name) for name in ("vectorised", "with max")):
            ties_only(case, before, other[0], way)
        p = case.probabilities[0].numpy()
        normalised = released_steps.normalised_entropy(p)
        tau = case.tau[p.argmax(0)]
        for k, (crop, _) in enumerate(case.patches):
            theirs, size = results["released"][n][k], before[k].shape
            both = (theirs != 255) & (after[k] != 255)
            changed = (theirs != after[k]) & both
            ties += changed.sum()
            ties_only(case, after, np.where(both, theirs, after[k])[None], "released", k)
            kept_by_one = (theirs != 255) != (after[k] != 255)
            sides += kept_by_one.sum()
            at_tau = np.abs(normalised - tau) <= HALF * tau
            near = crop.of(torch.from_numpy(at_tau)).numpy()
            if (kept_by_one & (released_steps.scaled(near[None], size)[0] == 0)).any():
                sys.exit("patch_work: the filter of this project and the released one differ")
    return int(ties), int(sides)


def ties_only(case: Case, ours: np.ndarray, other: np.ndarray, way: str, first: int = 0) -> None:
    """End the program where two labels, uint8 (n, H, W) of the patches from `first` on, differ and
    the probabilities of both classes do not tie."""
    for k, theirs in enumerate(other, first):
        if (ours[k] == theirs).all():
            continue
        crop = case.patches[k].crop.of(case.probabilities[0]).numpy()
        values = released_steps.scaled(crop, theirs.shape)
        one, two = (np.take_along_axis(values, x[None].astype(int), 0) for x in (ours[k], theirs))
        if np.abs(one - two).max() > TIE:
            sys.exit(f"patch_work: labels of this project and of '{way}' differ by no tie")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--images", type=int, default=2, help="images of each turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--photographs", nargs="+", default=[], help="image files for the disk")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    generator = seeded(args.seed)
    times, disk = [], []
    for share in args.shares:
        first = int(torch.randint(0, 2**31, (1,), generator=generator))
        images = [draw_street(first, k, *args.size, {})[0] for k in range(args.images)]
        cases = [draw_case(k, x, args, share, generator) for k, x in enumerate(images)]
        with tempfile.TemporaryDirectory() as folder:
            times.append(timed(cases, Path(folder), args))
            disk.append((f"drawn streets, {share:.0%} at a border", *stored(cases, Path(folder))))
    for path in args.photographs:
        with Image.open(path) as file:
            photograph = np.array(file.convert("RGB").resize(args.size[::-1], Image.BICUBIC))
        with tempfile.TemporaryDirectory() as folder:
            cases = [draw_case(0, photograph, args, BOUND, generator)]
            disk.append((Path(path).name, *stored(cases, Path(folder))))
    head = ["at a border", *(f"{name}, ms" for name in WAYS)]
    head += [*(f"{name} / ours" for name in WAYS if name != "this project"), "ties", "filtered"]
    print(f"\n{args.size[0]} x {args.size[1]}, {args.classes} classes, {PATCHES} patches: CPU time")
    print(table(head, times))
    print("\ndisk, per image")
    print(table(["", "PNG, KB", "patches.h5, KB", "share"], disk))


def timed(cases: list[Case], folder: Path, args) -> tuple:
    """A row of the table, after the results were compared."""
    results = {name: way(cases, folder) for name, way in WAYS.items()}
    ties, sides = compared(cases, results)
    works = {name: lambda way=way: way(cases, folder) for name, way in WAYS.items()}
    seconds = interleaved(works, args.repeats)
    share = np.mean([border_share(case.probabilities) for case in cases])
    pixels = PATCHES * len(cases) * args.size[0] * args.size[1]
    ours = seconds["this project"]
    return (
        f"{share:.1%}",
        *(f"{1000 * np.median(t) / len(cases):.0f}" for t in seconds.values()),
        *(f"{median_ratio(t, ours):.1f}" for name, t in seconds.items() if t is not ours),
        f"{ties} of {pixels}",
        sides,
    )


def stored(cases: list[Case], folder: Path) -> tuple[str, str, str]:
    """Sizes on disk per image: of the PNG files, of `patches.h5`, and the one in the other."""
    released(cases, folder)
    this_project(cases, folder)
    png = sum(path.stat().st_size for path in folder.glob("*.png")) / len(cases)
    ours = (folder / "patches.h5").stat().st_size / len(cases)
    return f"{png / 1000:.0f}", f"{ours / 1000:.0f}", f"{ours / png:.2f}"


if __name__ == "__main__":
    main()
