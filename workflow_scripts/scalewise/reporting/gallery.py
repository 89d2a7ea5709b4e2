"""The pictures: the same images for every experiment, chosen by rule, never by hand.

Of the validation images that every evaluation keeps, those whose mean IoU changed most for the
better, most for the worse, and by the median, between source-only and the last round of the first
method; then others, evenly spread between. Of the target images, patches with their entropy and
what of them teaches.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from scalewise.artifacts import thresholds_csv
from scalewise.artifacts.patches_h5 import PatchReader
from scalewise.reporting import cells, figures
from scalewise.reporting.rounds import PATCHES, RoundFiles
from scalewise.reporting.tables import Evaluation, Project
from scalewise.taxonomy import IGNORE

LONGEST_SIDE = 384
MOST_PATCHES = 3  # images of the target
IGNORE_COLOR = (0, 0, 0)


def picture_iou(label: np.ndarray, prediction: np.ndarray) -> float:
    """Mean IoU of one picture in percent, over the classes that it or the prediction has; pixels
    without a label do not count; NaN where there are no others. Both uint8 (H, W)."""
    there = label != IGNORE
    label, prediction = label[there], prediction[there]
    ious = []
    for index in np.union1d(label, prediction):
        one, other = label == index, prediction == index
        ious.append(np.count_nonzero(one & other) / np.count_nonzero(one | other))
    return 100 * float(np.mean(ious)) if ious else np.nan


def choose(changes: Mapping[str, float], count: int) -> list[tuple[str, str]]:
    """Pictures by their change: the best, the worst, the median, then others evenly spread between.

    Args:
        changes: picture -> change of its mean IoU, NaN where there is none: such come last.
        count: how many at most.

    Returns: (picture, why), in the order in which they are dropped last.
    """
    ranked = sorted((name for name in changes if not np.isnan(changes[name])), key=changes.get)
    unknown = [name for name in changes if np.isnan(changes[name])]
    if not ranked:
        return [(name, "") for name in unknown][:count]
    last = len(ranked) - 1
    chosen: dict[int, str] = {}
    for k, why in ((last, "best change"), (0, "worst change"), (last // 2, "median change")):
        chosen.setdefault(k, why)
    others = [k for k in range(last, -1, -1) if k not in chosen]
    spread = max(0, min(count - len(chosen), len(others)))
    for i in range(spread):
        chosen[others[i * len(others) // spread]] = "in between"
    said = [
        (ranked[k], f"{why}: {cells.signed(changes[ranked[k]])} mIoU of this picture")
        for k, why in chosen.items()
    ]
    return [*said, *((name, "") for name in unknown)][:count]


def build(project: Project, evaluations: Sequence[Evaluation], room: int) -> dict[str, Any] | None:
    """The pictures of the lowest seed that has any: image, label, before, and each round after.

    Args:
        project: says how many pictures, and the order of the experiments.
        evaluations: those that are there.
        room: bytes that the pictures may take in the page. What does not fit is left out: first
            further pictures, then, of the first one, the rounds before the last.

    Returns: pictures (name, why, tiles, rows: of each experiment its tiles), seeds, rule, wanted
    (how many pictures there would be); None where there is nothing to show.
    """
    before: list[tuple[list[str], Evaluation]] = []
    after: dict[str, list[Evaluation]] = {}
    for experiment in project.experiments:
        own = [e for e in evaluations if e.experiment == experiment["name"]]
        own = sorted((e for e in own if e.pictures is not None), key=lambda e: (e.seed, e.round))
        own = [e for e in own if e.seed == own[0].seed]
        if experiment["name"] not in project.begun:
            if own:
                after[experiment["name"]] = own
            continue
        for evaluation in [e for e in own if e.round == 0]:
            for names, other in before:
                if _same_predictions(evaluation, other):
                    names.append(experiment["name"])
                    break
            else:
                before.append(([experiment["name"]], evaluation))
        if any(e.round > 0 for e in own):
            after[experiment["name"]] = [e for e in own if e.round > 0]
    shown = [e for _, e in before] + [e for own in after.values() for e in own]
    if not shown or project.gallery < 1:
        return None
    changes, rule = _changes(project, before, after, shown[0])
    chosen = choose(changes, project.gallery)
    palette = _palette(project.colors)
    pictures: list[dict[str, Any]] = []
    for name, why in chosen:
        picture = _picture(name, why, before, after, shown[0], palette)
        size = _bytes(picture)
        if size > room and not pictures:
            last = {experiment: own[-1:] for experiment, own in after.items()}
            picture = _picture(name, why, before, last, shown[0], palette)
            size = _bytes(picture)
        if size > room:
            break
        room -= size
        pictures.append(picture)
    if not pictures:
        return None
    return {
        "pictures": pictures,
        "experiments": list(after),
        "seeds": sorted({e.seed for e in shown}),
        "rule": rule,
        "wanted": len(chosen),
    }


def _changes(
    project: Project,
    before: Sequence[tuple[list[str], Evaluation]],
    after: Mapping[str, Sequence[Evaluation]],
    first: Evaluation,
) -> tuple[dict[str, float], str]:
    """Picture -> how much its mean IoU changed; and between what, in words."""
    names = [e["name"] for e in project.experiments if e.get("role") == "method"]
    names += [e["name"] for e in project.experiments if e["name"] not in names]
    for name in names:
        start = next((e for who, e in before if name in who), None)
        if start is None or name not in after:
            continue
        end = after[name][-1]
        ious = [
            {
                picture: picture_iou(e.pictures["label"][i], e.pictures["prediction"][i])
                for i, picture in enumerate(e.pictures["ids"])
            }
            for e in (start, end)
        ]
        changes = {
            picture: ious[1].get(picture, np.nan) - ious[0].get(picture, np.nan)
            for picture in first.pictures["ids"]
        }
        return changes, f"between source-only and round {end.round} of {name}"
    return dict.fromkeys(first.pictures["ids"], np.nan), ""


def _picture(
    name: str,
    why: str,
    before: Sequence[tuple[list[str], Evaluation]],
    after: Mapping[str, Sequence[Evaluation]],
    first: Evaluation,
    palette: bytes,
) -> dict[str, Any]:
    content = first.pictures
    i = list(content["ids"]).index(name)
    tiles = [
        {"caption": "image", "png": photo(content["image"][i])},
        {"caption": "label", "png": label_map(content["label"][i], palette)},
    ]
    for names, evaluation in before:
        which = "source-only" if len(before) == 1 else f"source-only ({', '.join(names)})"
        tiles += _prediction(evaluation, name, which, palette)
    rows = []
    for experiment, own in after.items():
        of_row = []
        for e in own:
            caption = f"{experiment}, round {e.round}" if e.round else experiment
            of_row += _prediction(e, name, caption, palette)
        rows.append({"name": experiment, "tiles": of_row})
    return {"name": name, "why": why, "tiles": tiles, "rows": rows}


def _bytes(picture: Mapping[str, Any]) -> int:
    tiles = [*picture["tiles"], *(tile for row in picture["rows"] for tile in row["tiles"])]
    return sum(len(tile["png"]) + 200 for tile in tiles)


def _prediction(
    evaluation: Evaluation, name: str, caption: str, palette: bytes
) -> list[dict[str, str]]:
    if name not in evaluation.pictures["ids"]:
        return []
    i = list(evaluation.pictures["ids"]).index(name)
    return [{"caption": caption, "png": label_map(evaluation.pictures["prediction"][i], palette)}]


def _same_predictions(one: Evaluation, other: Evaluation) -> bool:
    return (
        one.seed == other.seed
        and list(one.pictures["ids"]) == list(other.pictures["ids"])
        and np.array_equal(one.pictures["prediction"], other.pictures["prediction"])
    )


# --- patches of the target ------------------------------------------------------------------------


def patches(
    project: Project, rounds: Sequence[RoundFiles], room: int
) -> list[dict[str, Any]] | None:
    """Patches of each experiment's last round that has any, of its lowest seed: the crop, the class
    predicted, its entropy, and what of it teaches.

    The images are the first, the middle and the last, most confident first, of those that the first
    such experiment selected and all others did too; where there is no such image each experiment
    shows its own.

    Args:
        room: bytes that they may take in the page; what does not fit is left out.

    Returns: of each experiment name, round, seed, tiles (image, with the tiles of its first patch),
    common (whether the images are those of all).
    """
    if project.gallery < 1:
        return None
    last: dict[str, RoundFiles] = {}
    for experiment in project.experiments:
        own = [
            r
            for r in rounds
            if r.experiment == experiment["name"]
            and r.find(*PATCHES)
            and r.find("compute_thresholds", "thresholds.csv")
        ]
        if own:
            seed = min(r.seed for r in own)
            last[experiment["name"]] = max(
                (r for r in own if r.seed == seed), key=lambda r: r.round
            )
    opened = {name: one.patches() for name, one in last.items()}
    readers = {name: reader for name, reader in opened.items() if reader and len(reader)}
    if not readers:
        return None
    images = {name: list(dict.fromkeys(reader.image_id)) for name, reader in readers.items()}
    first = next(iter(images.values()))
    common = [image for image in first if all(image in own for own in images.values())]
    count = min(MOST_PATCHES, project.gallery)
    found = []
    for name, reader in readers.items():
        one = last[name]
        tau = [row.tau for row in thresholds_csv.read(one.find(*_THRESHOLDS))]
        shown = [
            {"name": image, "tiles": _patch(reader, image, np.array(tau), project)}
            for image in _spread(common or images[name], count)
        ]
        size = sum(len(tile["png"]) + 200 for image in shown for tile in image["tiles"])
        if size > room:
            break
        room -= size
        found.append(
            {
                "name": name,
                "round": one.round,
                "seed": one.seed,
                "images": shown,
                "common": bool(common),
            }
        )
    return found


_THRESHOLDS = ("compute_thresholds", "thresholds.csv")


def _spread(items: Sequence[str], count: int) -> list[str]:
    """The first, the last, and others evenly between; at most `count`."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _patch(
    reader: PatchReader, image: str, tau: np.ndarray, project: Project
) -> list[dict[str, str]]:
    """The tiles of the first patch of an image."""
    number = reader.image_id.index(image)
    patch = reader.patch(number, ("image", "predicted", "entropy"))
    predicted, entropy = patch["predicted"], patch["entropy"].astype(np.float32)
    known = predicted != IGNORE
    limit = np.where(known, tau[np.where(known, predicted, 0)].astype(np.float32), -np.inf)
    # as in training: not a number is where one class has one entropy alone, and counts as sure
    kept = known & (np.nan_to_num(entropy, nan=0.0, posinf=np.inf) < limit)
    share = cells.share(kept.sum() / max(known.sum(), 1))
    palette = _palette(project.colors)
    return [
        {"caption": "image", "png": photo(patch["image"])},
        {"caption": "predicted", "png": label_map(predicted, palette)},
        {"caption": "entropy, bright: unsure", "png": shades(np.clip(entropy, 0, 1))},
        {
            "caption": f"kept to teach: {share} %",
            "png": label_map(np.where(kept, predicted, IGNORE), palette),
        },
    ]


# --- images as text -------------------------------------------------------------------------------


def _palette(colors: Sequence[tuple[int, int, int]]) -> bytes:
    """256 x 3 bytes: the class colours, and black for everything that is no class."""
    palette = np.full((256, 3), IGNORE_COLOR, dtype=np.uint8)
    palette[: len(colors)] = colors
    palette[IGNORE] = IGNORE_COLOR
    return palette.tobytes()


def photo(pixels: np.ndarray) -> str:
    """A (H, W, 3) uint8 image as a PNG data URI, no side longer than `LONGEST_SIDE`."""
    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))
    return _png(image.resize(_size(image), Image.Resampling.LANCZOS))


def label_map(classes: np.ndarray, palette: bytes) -> str:
    """A (H, W) uint8 map of class indices as a palette PNG data URI."""
    image = Image.fromarray(np.ascontiguousarray(classes, dtype=np.uint8))
    image = image.resize(_size(image), Image.Resampling.NEAREST)
    image.putpalette(palette)
    return _png(image)


def shades(values: np.ndarray) -> str:
    """A (H, W) float map of 0..1 as a palette PNG data URI, in the shades of `figures.SCALE`."""
    scale = matplotlib.colormaps[figures.SCALE](np.arange(256))[:, :3]
    indices = np.round(255 * np.nan_to_num(values)).astype(np.uint8)
    return label_map(indices, np.round(255 * scale).astype(np.uint8).tobytes())


def _size(image: Image.Image) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    return tuple(max(1, round(side * scale)) for side in image.size)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
