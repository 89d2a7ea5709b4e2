"""The pictures: the same images for every experiment, chosen by rule, never by hand.

Of the validation images that every evaluation keeps, those whose mean IoU changed most for the
better, most for the worse, and by the median, between source-only and the last round of the first
method; then others, evenly spread between. Each with what every network predicts, and of the last
one how unsure it is and what its round's thresholds would keep to teach. Of the target images,
patches with their entropy and what of them teaches.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
SHADES = 16
IGNORE_COLOR = (0, 0, 0)
_THRESHOLDS = ("compute_thresholds", "thresholds.csv")


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


@dataclass(frozen=True)
class _Networks:
    """What is shown of one seed: its source-only networks, each with the names of the experiments
    that begin with it; and of each experiment the networks after that, or a ceiling's."""

    seed: int
    before: Sequence[tuple[list[str], Evaluation]]
    after: Mapping[str, Sequence[Evaluation]]

    @property
    def all(self) -> list[Evaluation]:
        return [e for _, e in self.before] + [e for own in self.after.values() for e in own]

    def of_last_rounds(self) -> "_Networks":
        return replace(self, after={name: own[-1:] for name, own in self.after.items()})


def build(
    project: Project,
    evaluations: Sequence[Evaluation],
    rounds: Sequence[RoundFiles],
    room: int,
) -> dict[str, Any] | None:
    """The pictures: image, label, and of each seed what was predicted before and after each round;
    and how unsure the first and the last network are, with what would be kept.

    Args:
        project: says how many pictures, and the order of the experiments.
        evaluations: those that are there.
        rounds: where the thresholds of the rounds are, as far as they are.
        room: bytes that the pictures may take in the page. What does not fit is left out: first
            further seeds, then further pictures, then, of the first one, the rounds before the
            last.

    Returns: pictures (name, why, tiles, views: of each seed its tiles, and rows: of each experiment
    its tiles), experiments, seeds (those shown), seeds_wanted, rule, wanted (how many pictures
    there would be); None where there is nothing to show.
    """
    kept = [e for e in evaluations if e.pictures is not None]
    seeds = [_networks(project, kept, seed) for seed in sorted({e.seed for e in kept})]
    if not seeds or project.gallery < 1:
        return None
    first = seeds[0]
    changes, rule = _changes(project, first)
    chosen = choose(changes, project.gallery)
    tau = _Thresholds(rounds)
    palette = _palette(project.colors)
    pictures: list[dict[str, Any]] = []
    for name, why in chosen:
        picture = _picture(name, why, first, tau, palette)
        size = _bytes(picture)
        if size > room and not pictures:
            picture = _picture(name, why, first.of_last_rounds(), tau, palette)
            size = _bytes(picture)
        if size > room:
            break
        room -= size
        pictures.append(picture)
    if not pictures:
        return None
    shown = [first]
    for networks in seeds[1:]:
        views = [_view(picture["name"], networks, tau, palette) for picture in pictures]
        room -= sum(map(_bytes, views))
        if room < 0:
            break
        for picture, view in zip(pictures, views, strict=True):
            picture["views"].append(view)
        shown.append(networks)
    return {
        "pictures": pictures,
        "experiments": [
            e["name"] for e in project.experiments if any(e["name"] in n.after for n in shown)
        ],
        "seeds": [networks.seed for networks in shown],
        "seeds_wanted": len(seeds),
        "kept": any("kept" in tile["caption"] for tile in _tiles(pictures[0])),
        "rule": rule,
        "wanted": len(chosen),
    }


def _networks(project: Project, evaluations: Sequence[Evaluation], seed: int) -> _Networks:
    """Those of one seed, in the order of the project."""
    before: list[tuple[list[str], Evaluation]] = []
    after: dict[str, list[Evaluation]] = {}
    for experiment in project.experiments:
        name = experiment["name"]
        own = [e for e in evaluations if (e.experiment, e.seed) == (name, seed)]
        own.sort(key=lambda e: e.round)
        if name not in project.begun:
            if own:
                after[name] = own
            continue
        for evaluation in [e for e in own if e.round == 0]:
            for names, other in before:
                if _same_predictions(evaluation, other):
                    names.append(name)
                    break
            else:
                before.append(([name], evaluation))
        if any(e.round > 0 for e in own):
            after[name] = [e for e in own if e.round > 0]
    return _Networks(seed, before, after)


class _Thresholds:
    """The thresholds of the rounds, float (K,); each file is read once."""

    def __init__(self, rounds: Sequence[RoundFiles]):
        self._files = {one.who: one.find(*_THRESHOLDS) for one in rounds}
        self._known: dict[tuple[str, int, int], np.ndarray | None] = {}

    def of(self, e: Evaluation) -> np.ndarray | None:
        """Those of the round that made a network; None where there are none."""
        who = (e.experiment, e.seed, e.round)
        if who not in self._known:
            path = self._files.get(who)
            rows = thresholds_csv.read(path) if path else []
            self._known[who] = np.array([row.tau for row in rows]) if rows else None
        return self._known[who]


def _changes(project: Project, networks: _Networks) -> tuple[dict[str, float], str]:
    """Picture -> how much its mean IoU changed; and between what, in words."""
    first = networks.all[0].pictures["ids"]
    names = [e["name"] for e in project.experiments if e.get("role") == "method"]
    names += [e["name"] for e in project.experiments if e["name"] not in names]
    for name in names:
        start = next((e for who, e in networks.before if name in who), None)
        if start is None or name not in networks.after:
            continue
        end = networks.after[name][-1]
        ious = [
            {
                picture: picture_iou(e.pictures["label"][i], e.pictures["prediction"][i])
                for i, picture in enumerate(e.pictures["ids"])
            }
            for e in (start, end)
        ]
        changes = {
            picture: ious[1].get(picture, np.nan) - ious[0].get(picture, np.nan)
            for picture in first
        }
        return changes, f"between source-only and round {end.round} of {name}"
    return dict.fromkeys(first, np.nan), ""


def _picture(
    name: str, why: str, networks: _Networks, tau: _Thresholds, palette: bytes
) -> dict[str, Any]:
    content = networks.all[0].pictures
    i = list(content["ids"]).index(name)
    tiles = [
        {"caption": "image", "png": photo(content["image"][i])},
        {"caption": "label", "png": label_map(content["label"][i], palette)},
    ]
    view = _view(name, networks, tau, palette)
    return {"name": name, "why": why, "tiles": tiles, "views": [view]}


def _view(name: str, networks: _Networks, tau: _Thresholds, palette: bytes) -> dict[str, Any]:
    """What the networks of one seed say of a picture: seed, tiles (source-only), rows."""
    tiles = []
    for names, evaluation in networks.before:
        alone = len(networks.before) == 1
        which = "source-only" if alone else f"source-only ({', '.join(names)})"
        tiles += _prediction(evaluation, name, which, palette)
        tiles += _unsure(evaluation, name, which, None, palette)
    rows = []
    for experiment, own in networks.after.items():
        of_row = []
        for e in own:
            caption = f"{experiment}, round {e.round}" if e.round else experiment
            of_row += _prediction(e, name, caption, palette)
        last = own[-1]
        caption = f"round {last.round}" if last.round else experiment
        of_row += _unsure(last, name, caption, tau.of(last), palette)
        rows.append({"name": experiment, "tiles": of_row})
    return {"seed": networks.seed, "tiles": tiles, "rows": rows}


def _tiles(picture: Mapping[str, Any]) -> list[dict[str, str]]:
    """All tiles of a picture, or of the view of one seed."""
    found = [*picture["tiles"], *(tile for row in picture.get("rows", ()) for tile in row["tiles"])]
    return [*found, *(tile for view in picture.get("views", ()) for tile in _tiles(view))]


def _bytes(picture: Mapping[str, Any]) -> int:
    return sum(len(tile["png"]) + 250 for tile in _tiles(picture))


def _number_of(evaluation: Evaluation, name: str) -> int | None:
    ids = list(evaluation.pictures["ids"])
    return ids.index(name) if name in ids else None


def _prediction(
    evaluation: Evaluation, name: str, caption: str, palette: bytes
) -> list[dict[str, str]]:
    i = _number_of(evaluation, name)
    if i is None:
        return []
    return [{"caption": caption, "png": label_map(evaluation.pictures["prediction"][i], palette)}]


def _unsure(
    evaluation: Evaluation, name: str, which: str, tau: np.ndarray | None, palette: bytes
) -> list[dict[str, str]]:
    """The entropy of a network, and what of its prediction thresholds would keep to teach."""
    i = _number_of(evaluation, name)
    if i is None:
        return []
    predicted, entropy = (evaluation.pictures[n][i] for n in ("prediction", "entropy"))
    tiles = [{"caption": f"entropy, {which}", "png": shades(entropy)}]
    return tiles if tau is None else [*tiles, _kept(predicted, entropy, tau, "would be", palette)]


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
            if r.experiment == experiment["name"] and r.find(*PATCHES) and r.find(*_THRESHOLDS)
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
    predicted, entropy = patch["predicted"], patch["entropy"]
    palette = _palette(project.colors)
    return [
        {"caption": "image", "png": photo(patch["image"])},
        {"caption": "predicted", "png": label_map(predicted, palette)},
        {"caption": "entropy, bright: unsure", "png": shades(entropy)},
        _kept(predicted, entropy, tau, "", palette),
    ]


def _kept(
    predicted: np.ndarray, entropy: np.ndarray, tau: np.ndarray, verb: str, palette: bytes
) -> dict[str, str]:
    """The tile of what is sure enough to teach.

    Args:
        predicted: uint8 (H, W), class index or 255; entropy: (H, W) float, normalised; tau: (K,).
    """
    known = predicted != IGNORE
    limit = np.where(known, tau[np.where(known, predicted, 0)].astype(np.float32), -np.inf)
    # as in training: not a number is where one class has one entropy alone, and counts as sure
    entropy = np.nan_to_num(entropy.astype(np.float32), nan=0.0, posinf=np.inf)
    kept = known & (entropy < limit)
    share = cells.share(kept.sum() / max(known.sum(), 1))
    png = label_map(np.where(kept, predicted, IGNORE), palette)
    return {"caption": f"{verb} kept to teach: {share} %".strip(), "png": png}


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
    """A (H, W) float map of 0..1, cut off there, as a palette PNG data URI in `SHADES` shades of
    `figures.SCALE`: with more of them it would be larger than all other maps together."""
    image = Image.fromarray(np.clip(np.nan_to_num(values.astype(np.float32), posinf=1.0), 0, 1))
    # of several pixels that become one the mean: single ones would be noise
    small = np.asarray(image.resize(_size(image), Image.Resampling.BOX))
    scale = matplotlib.colormaps[figures.SCALE](np.linspace(0, 1, SHADES))[:, :3]
    palette = np.zeros((256, 3), np.uint8)
    palette[:SHADES] = np.round(255 * scale)
    return label_map(np.round((SHADES - 1) * small).astype(np.uint8), palette.tobytes())


def _size(image: Image.Image) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(image.size))
    return tuple(max(1, round(side * scale)) for side in image.size)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
