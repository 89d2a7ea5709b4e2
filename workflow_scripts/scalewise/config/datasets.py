"""The data sets of a project: their formats, where their files are, what their ids mean."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from scalewise import patterns
from scalewise.config.fields import (
    ByteValue,
    Color,
    ConfigError,
    Count,
    Number,
    OptionalText,
    Section,
    Size,
    Truth,
    Whole,
    class_name,
    nearest,
    nothing,
    shown,
)
from scalewise.taxonomy import (
    ALL_CLASSES,
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    IGNORE,
    IGNORE_NAME,
    SYNTHIA,
    TAXONOMIES,
    Taxonomy,
)

DATA_ROOT_VARIABLE = "SCALEWISE_DATA"


ClassMap = Annotated[
    dict[str, str],
    Field(description="{class of the set: one of data.classes, or ignore}; any set's"),
]

Audit = Annotated[
    Truth,
    Field(
        description="of the target: its labels judge the pseudo-labels, for the report alone; "
        "false where a set does not say it"
    ),
]


class StreetsSet(Section):
    """Procedural street scenes, written in Cityscapes' own layout and ids."""

    format: Literal["streets"] = Field(description="procedural street scenes")
    images: Count = Field(description="how many are drawn")
    seed: Whole = Field(description="of the drawing; the data are the same for all training seeds")
    split: Literal["train", "val"] = Field(description="folder below leftImg8bit and gtFine")
    style: dict[str, Number] = Field(
        description="differences from the source style; a later file replaces it whole"
    )
    map: ClassMap = {}
    audit: Audit = False


class Gta5Set(Section):
    """GTA5 (Playing for Data): images/ and labels/ with the same names below `root`."""

    format: Literal["gta5"] = Field(description="GTA5 (Playing for Data) as downloaded")
    root: str = Field(description="folder that holds images and labels")
    map: ClassMap = {}
    audit: Audit = False


def _relative(path: str) -> str:
    if path.startswith("/"):
        raise ValueError(f"{shown(path)} must be relative to root: leave out the leading slash")
    return path


class SynthiaSet(Section):
    """SYNTHIA-RAND-CITYSCAPES: RGB/ and the labels with the same names below `root`."""

    format: Literal["synthia"] = Field(description="SYNTHIA-RAND-CITYSCAPES")
    root: str = Field(description="folder that holds RGB")
    labels: Annotated[str, AfterValidator(_relative)] = Field(
        default="GT/LABELS",
        description="folder of the labels: the original ones or a copy in one channel, same ids",
    )
    map: ClassMap = {}
    audit: Audit = False


class CityscapesSet(Section):
    """Cityscapes as downloaded: leftImg8bit/ and gtFine/ below `root`."""

    format: Literal["cityscapes"] = Field(description="Cityscapes as downloaded")
    root: str = Field(description="folder that holds leftImg8bit and gtFine")
    split: str = Field(description="folder below leftImg8bit and gtFine: train or val")
    labels: Literal["labelIds", "labelTrainIds"] = Field(
        default="labelIds", description="which of the label files; labelTrainIds are made by users"
    )
    map: ClassMap = {}
    audit: Audit = False


class CamvidSet(Section):
    """CamVid in its 11-class form: images/ and labels/ with the same names below `root`."""

    format: Literal["camvid"] = Field(description="CamVid in its 11-class form")
    root: str = Field(description="folder that holds images and labels")
    map: ClassMap = {}
    audit: Audit = False


class FolderSet(Section):
    """Any folder: a glob for images, a rule for labels, a map from label ids to classes."""

    format: Literal["folder"] = Field(description="any folder of images and labels")
    root: str = Field(description="folder that images and labels are relative to")
    images: str = Field(description="glob relative to root; what its stars match is the image's id")
    labels: OptionalText = Field(
        default=None,
        description="path relative to root, with {id} or with the wildcards of images",
    )
    id_to_class: dict[ByteValue, str] = Field(
        default={}, description="label id -> class name or ignore"
    )
    map: ClassMap = {}
    audit: Audit = False

    @field_validator("images")
    @classmethod
    def _images_has_star(cls, value: str) -> str:
        if "*" not in value:
            raise ValueError("needs a star for what differs between images, as in images/*.png")
        return _relative(value)

    @field_validator("labels")
    @classmethod
    def _labels_has_rule(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if patterns.ID in value:
            if "*" in value:
                raise ValueError("has both {id} and a star: {id} is all that the stars stand for")
            return _relative(value)
        own, images = (patterns.wildcards(p) for p in (value, info.data.get("images", value)))
        if not own:
            raise ValueError(
                "needs {id} where the image's id stands, as in labels/{id}.png, or the wildcards "
                "of images"
            )
        if own != images:
            raise ValueError(
                f"its wildcards ({', '.join(own)}) do not correspond to those of images "
                f"({', '.join(images)}): give the same ones in the same order, or use {{id}}"
            )
        return _relative(value)


DataSet = Annotated[
    StreetsSet | Gta5Set | SynthiaSet | CityscapesSet | CamvidSet | FolderSet,
    Field(discriminator="format"),
]


class ClassSetting(Section):
    """One class of a list of one's own."""

    name: Annotated[str, AfterValidator(class_name)] = Field(description="unique")
    color: Color = Field(description="red, green and blue in 0..255, for pictures")


# the tags stand in pydantic's locations; `_key` leaves them out
Classes = Annotated[
    Annotated[Literal["cityscapes", "camvid"], Tag("<name>")]
    | Annotated[list[ClassSetting], Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]


# objects about twice as large as in the source, appearance about half-way to another
TARGET_STYLE: dict[str, float] = {
    "focal": 2.0,
    "palette": 0.5,
    "illumination": 0.5,
    "gamma": 1.05,
    "fog": 0.15,
    "texture": 1.1,
    "noise": 5.0,
    "saturation": 0.9,
}


class DataSettings(Section):
    """The classes, the working size, and the three sets."""

    root: OptionalText = Field(
        default=None,
        description=f"folder that relative folders start from; else ${DATA_ROOT_VARIABLE}, else "
        "the current folder",
    )
    classes: Classes = Field(
        default="cityscapes", description="cityscapes (19), camvid (11), or a list of {name, color}"
    )
    subsets: dict[str, list[str]] = Field(
        default={}, description="{name: [class, ...]}: a further mean IoU over each"
    )
    size: Size = Field(
        default=(96, 192),
        description="working height and width; evaluation is at the labels' own size",
    )
    source_size: Annotated[Size | None, BeforeValidator(nothing)] = Field(
        default=None, description="working size of the source images in training; null: as size"
    )
    source: DataSet = Field(
        default=StreetsSet(format="streets", images=500, seed=0, split="train", style={}, map={}),
        description="labelled; trained on",
    )
    target: DataSet = Field(
        default=StreetsSet(
            format="streets", images=400, seed=1, split="train", style=TARGET_STYLE, audit=True
        ),
        description="unlabelled: no step of the method looks at its labels",
    )
    validation: DataSet = Field(
        default=StreetsSet(format="streets", images=200, seed=2, split="val", style=TARGET_STYLE),
        description="labelled, of the target's kind; for evaluation alone",
    )
    on_problem: Literal["stop", "skip"] = Field(
        default="stop", description="at a file that is no use; skip leaves it out and counts it"
    )


@dataclass(frozen=True)
class Layout:
    """Where a set's files are and what its label ids mean.

    root: absolute folder, or None for a set that a stage draws; images: glob; labels: template with
    {id}, glob with the wildcards of `images`, or None; format: of the set; label_ids: label id ->
    class index or `IGNORE`; classes: those of data.classes that the set's labels are to hold.
    """

    root: Path | None
    images: str
    labels: str | None
    format: str
    label_ids: dict[int, int]
    classes: frozenset[str]


def taxonomy(data: DataSettings) -> Taxonomy:
    """The classes that the network learns, and the subsets over which a mean is reported."""
    if isinstance(data.classes, str):
        known = TAXONOMIES[data.classes]
    else:
        known = Taxonomy(
            tuple(c.name for c in data.classes), tuple(tuple(c.color) for c in data.classes)
        )
    own = {name: tuple(members) for name, members in data.subsets.items()}
    return replace(known, subsets={**known.subsets, **own})


def _at_home(path: str) -> Path:
    """A leading ~ as the user's home; `Path.expanduser` raises where ~x is no user, but a name."""
    return Path(os.path.expanduser(path))


def data_root(data: DataSettings) -> Path:
    """The folder that relative roots start from: the key, the variable, or the current folder."""
    return _at_home(data.root or os.environ.get(DATA_ROOT_VARIABLE) or ".")


def data_path(data: DataSettings, path: str) -> Path:
    """A path of the settings, which may be relative to the data root."""
    return data_root(data) / _at_home(path)


def _patterns(dataset: DataSet) -> tuple[str, str | None]:
    """Where images and labels are below the root."""
    match dataset:
        case FolderSet():
            return dataset.images, dataset.labels
        case SynthiaSet():
            return "RGB/*.png", f"{dataset.labels.rstrip('/')}/{{id}}.png"
        case CityscapesSet() | StreetsSet():
            kind = dataset.labels if isinstance(dataset, CityscapesSet) else "labelIds"
            return (
                f"leftImg8bit/{dataset.split}/**/*_leftImg8bit.png",
                f"gtFine/{dataset.split}/{{id}}_gtFine_{kind}.png",
            )
    return "images/*.png", "labels/{id}.png"


# what the ids of the formats with fixed classes mean
_FIXED = {
    "streets": CITYSCAPES,
    "gta5": CITYSCAPES,
    "cityscapes": CITYSCAPES,
    "synthia": SYNTHIA,
    "camvid": CAMVID,
}


def _own_ids(dataset: DataSet) -> tuple[dict[int, str], tuple[str, ...]]:
    """Label id -> the set's own name of the class, or ignore; and the classes that, though they
    have an id, occur nowhere."""
    if isinstance(dataset, FolderSet):
        return dataset.id_to_class, ()
    own = _FIXED[dataset.format]
    if isinstance(dataset, CityscapesSet) and dataset.labels == "labelTrainIds":
        own = CITYSCAPES_TRAIN_IDS
    names = {i: IGNORE_NAME if c == IGNORE else own.names[c] for i, c in own.label_ids.items()}
    return names, own.absent


def layout(data: DataSettings, dataset: DataSet) -> Layout:
    """Where the files of one of the data sets are, and what its ids mean."""
    names = taxonomy(data).names
    index = {**{name: i for i, name in enumerate(names)}, IGNORE_NAME: IGNORE}
    root = None
    if not isinstance(dataset, StreetsSet):
        root = Path(os.path.abspath(data_path(data, dataset.root)))
    own, absent = _own_ids(dataset)
    means = {name: dataset.map.get(name, name) for name in own.values()}
    label_ids = {i: index[means[name]] for i, name in own.items() if means[name] in index}
    classes = frozenset(means[name] for name in means if name not in absent) & set(names)
    return Layout(root, *_patterns(dataset), dataset.format, label_ids, classes)


def _did_you_mean(word: str, valid: Iterable[str]) -> str:
    near = nearest(word, list(valid))
    return f"; did you mean '{near}'?" if near else f" ({', '.join(valid)})"


def _check_map(data: DataSettings, name: str, where: str) -> None:
    """That every class of a set means one of data.classes, or is ignored."""
    dataset, names = getattr(data, name), taxonomy(data).names
    ids, absent = _own_ids(dataset)
    own = list(dict.fromkeys(n for n in ids.values() if n != IGNORE_NAME))
    for key, value in dataset.map.items():
        if key not in own:
            raise ConfigError(
                f"{where}.{name}.map: '{key}' is no class of this set{_did_you_mean(key, own)}"
            )
        if value not in (*names, IGNORE_NAME):
            hint = _did_you_mean(value, (*names, IGNORE_NAME))
            raise ConfigError(f"{where}.{name}.map.{key}: '{value}' is not in data.classes{hint}")
    for unknown in own:
        if unknown not in (*names, *dataset.map, *absent):
            hint = _did_you_mean(unknown, names)
            if dataset.format != "folder":
                hint += f". Say what it is, as in map: {{{unknown}: {IGNORE_NAME}}}"
            if name == "target":
                hint += "; or leave its labels alone, with audit: false"
            raise ConfigError(
                f"{where}.{name}: its class '{unknown}' is not among data.classes{hint}"
            )


def _check_subsets(data: DataSettings, where: str) -> None:
    names = taxonomy(data).names
    for subset, members in data.subsets.items():
        if subset in ("", ALL_CLASSES):
            raise ConfigError(f"{where}.subsets: '{subset}' is no name for a subset: rename it")
        published = isinstance(data.classes, str) and subset in TAXONOMIES[data.classes].subsets
        if published or subset == f"{len(taxonomy(data).names)} classes":
            raise ConfigError(
                f"{where}.subsets: '{subset}' has a meaning of its own already: rename it"
            )
        if not members or len(set(members)) < len(members):
            raise ConfigError(f"{where}.subsets.{subset}: must name classes, each of them once")
        for member in members:
            if member not in names:
                raise ConfigError(
                    f"{where}.subsets.{subset}: '{member}' is not among data.classes"
                    + _did_you_mean(member, names)
                )


def check_classes(data: DataSettings, where: str) -> None:
    """Raises ConfigError when classes, maps and subsets do not go together."""
    names = taxonomy(data).names
    doubled = [n for n in names if names.count(n) > 1]
    if doubled or IGNORE_NAME in names or not 2 <= len(names) <= 254:
        wrong = doubled[0] if doubled else IGNORE_NAME if IGNORE_NAME in names else len(names)
        raise ConfigError(
            f"{where}.classes: must be 2 to 254 different names, none of them '{IGNORE_NAME}'; "
            + (f"there are {wrong}" if isinstance(wrong, int) else f"'{wrong}' is wrong")
        )
    _check_subsets(data, where)
    labelled = {}
    for name in ("source", "validation", "target"):
        dataset = getattr(data, name)
        if name != "target" and dataset.audit:
            raise ConfigError(
                f"{where}.{name}.audit: only labels of the target judge pseudo-labels: leave it out"
            )
        if name == "target" and not dataset.audit:
            continue
        for_audit = " for its audit" if name == "target" else ""
        found = layout(data, dataset)
        labelled[name] = found.classes
        if name == "source" and dataset == data.target.model_copy(update={"audit": False}):
            name, for_audit = "target", " for the ceiling, which is trained on them"
        if found.labels is None:
            raise ConfigError(
                f"{where}.{name}.labels: this set needs labels{for_audit}: say where they are, as "
                "in labels/{id}.png"
            )
        _check_map(data, name, where)
        if not found.classes:
            key = "id_to_class" if dataset.format == "folder" and not dataset.map else "map"
            example = f"{{0: {names[0]}, 255: {IGNORE_NAME}}}" if key == "id_to_class" else ""
            raise ConfigError(
                f"{where}.{name}.{key}: no label id stands for a class: say which does"
                + (f", as in {example}" if example else "")
            )
    if not labelled["source"] & labelled["validation"]:
        have = "; ".join(
            f"{k} has {', '.join(sorted(labelled[k]))}" for k in ("source", "validation")
        )
        raise ConfigError(
            f"{where}: source and validation have no class in common ({have}). Map both to the "
            "same classes"
        )


def class_warnings(data: DataSettings) -> list[str]:
    """A line for the classes that the source cannot teach, and for those that the validation
    labels cannot measure."""
    lines = []
    for name, what in (("source", "learned"), ("validation", "measured")):
        found = layout(data, getattr(data, name)).classes
        lacking = [n for n in taxonomy(data).names if n not in found]
        if lacking:
            these = "it is" if len(lacking) == 1 else "they are"
            lines.append(f"the {name} set has no {', '.join(lacking)}: {these} not {what}")
    return lines
