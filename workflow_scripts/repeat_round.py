"""repeat_round: make one round from given class probabilities, and compare it with given results.

    python workflow_scripts/repeat_round.py INPUT.npz OUTPUT.npz [--compatibility authors_code]

INPUT.npz holds, of n images (h high, w wide), K classes and m patches (no pickled objects):

    probs           float32 (n, K, h, w)  class probabilities
    images          uint8 (n, h, w, 3)
    names           text (n,)             all different
    portion         float ()              p of the round
    source          text ()               gta5 or synthia: which of Cityscapes' 19 classes it has;
    source_classes  bool (K,)             or else say it by class
    previous        float (K,)            thresholds of the round before; leave it out in the first
    patch_source    text (m,)             name of the image that the patch is cut from
    patch_top, patch_left       int (m,)
    patch_height, patch_width   int () or (m,)

Patches are scaled up to the size of the images. Other names are allowed, and not read. OUTPUT.npz
gets pixels, mean_probability, mean_entropy (n, K), selected (names in order), thresholds (K,),
patch_images and patch_labels. Where INPUT holds some of the last four too, they are compared.

Exit status: 0; 1 where a comparison is out of its bounds (selected: equal, in order; thresholds:
1e-5, with the same NaNs; labels: equal; images: one grey level); 2 where INPUT cannot be used.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from zipfile import BadZipFile, is_zipfile

import numpy as np

from scalewise import compatibility
from scalewise.artifacts.atomic import replacing
from scalewise.errors import UserError
from scalewise.selftraining.one_round import RoundResult, repeat_round
from scalewise.taxonomy import CITYSCAPES

ABSENT = {"gta5": (), "synthia": ("terrain", "truck", "train")}
THRESHOLD_BOUND, GREY_BOUND = 1e-5, 1


def round_settings(authors_code: bool, portion: float) -> dict:
    """The settings of `one_round.repeat_round`; no network has other ones for this part."""
    choose = compatibility.released if authors_code else compatibility.ours
    sections = choose(network="any")
    return {
        "portion": portion,
        "scope": "class",
        "pool": 0,
        **sections["selection"],
        **sections["threshold"],
        **sections["patches"],
    }


def source_classes(given: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    """bool (K,). Raises UserError where INPUT does not say which classes the source has."""
    if "source_classes" in given:
        return given["source_classes"]
    source = str(given["source"]) if "source" in given else None
    if source not in ABSENT or classes != len(CITYSCAPES.names):
        raise UserError(
            "which classes the source has is not said: give source_classes, or for Cityscapes' "
            "19 classes source: gta5 or synthia"
        )
    return np.array([name not in ABSENT[source] for name in CITYSCAPES.names])


def crops(given: Mapping[str, np.ndarray]) -> np.ndarray:
    """int64 (m, 5): image index, top, left, height, width."""
    index = {name: i for i, name in enumerate(given["names"].tolist())}
    unknown = sorted(set(given["patch_source"].tolist()) - set(index))
    if unknown:
        raise UserError(f"patch_source: no image is named {unknown[0]}")
    image = np.array([index[name] for name in given["patch_source"].tolist()], dtype=np.int64)
    parts = (given[f"patch_{name}"] for name in ("top", "left", "height", "width"))
    return np.stack([image, *(np.broadcast_to(part, image.shape) for part in parts)], axis=1)


def compare(result: RoundResult, given: Mapping[str, np.ndarray]) -> Iterator[tuple[bool, str]]:
    """Whether each given result is met, and the sentence that says how well."""
    if "selected" in given:
        same = result.selected == given["selected"].tolist()
        yield same, f"selected: {'equal, in order' if same else 'differs'}"
    if "thresholds" in given:
        mine, theirs = np.isnan(result.thresholds), np.isnan(given["thresholds"])
        both = ~(mine | theirs)
        difference = np.abs(result.thresholds - given["thresholds"])[both].max(initial=0)
        yield (
            bool((mine == theirs).all() and difference <= THRESHOLD_BOUND),
            f"thresholds: largest difference {difference:.1e}, {(mine != theirs).sum()} classes "
            f"are NaN on one side alone, {(mine & theirs).sum()} on both",
        )
    if "patch_labels" in given:
        theirs = given["patch_labels"]
        count = int((result.patch_labels != theirs).sum())
        yield count == 0, f"patch_labels: {count} of {theirs.size} differ"
    if "patch_images" in given:
        difference = np.abs(result.patch_images.astype(int) - given["patch_images"])
        largest = int(difference.max(initial=0))
        yield largest <= GREY_BOUND, f"patch_images: largest difference {largest} grey levels"


def write(path: str, result: RoundResult) -> None:
    scores = result.scores
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            pixels=scores.pixels,
            mean_probability=scores.mean_probability,
            mean_entropy=scores.mean_entropy,
            selected=np.array(result.selected, dtype=str),
            thresholds=result.thresholds,
            patch_images=result.patch_images,
            patch_labels=result.patch_labels,
        )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", metavar="INPUT.npz")
    parser.add_argument("output", metavar="OUTPUT.npz")
    parser.add_argument(
        "--compatibility", choices=["authors_code"],
        help="follow the released program where this project differs (docs/method.md)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        if not is_zipfile(options.input):
            raise ValueError("not an .npz file; see --help")
        with np.load(options.input, allow_pickle=False) as file:
            given = {name: file[name] for name in file.files}
        probabilities = given["probs"]
        if probabilities.ndim != 4:
            raise ValueError(f"probs is {probabilities.shape}, not (images, classes, h, w)")
        result = repeat_round(
            probabilities,
            given["images"],
            given["names"].tolist(),
            in_source=source_classes(given, probabilities.shape[1]),
            crops=crops(given),
            size=probabilities.shape[2:],
            settings=round_settings(options.compatibility is not None, float(given["portion"])),
            previous=given.get("previous"),
        )
        write(options.output, result)
        found = list(compare(result, given))
    except KeyError as error:
        print(f"{options.input}: holds no {error}; see --help", file=sys.stderr)
        return 2
    except (OSError, ValueError, BadZipFile, UserError) as error:
        print(f"{options.input}: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {len(result.selected)} images selected")
    for _, sentence in found:
        print(sentence)
    return 0 if all(met for met, _ in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
