"""The data sets of a project: their formats, where their files are, what their ids mean."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator

from scalewise.config.fields import (
    ByteValue,
    Color,
    ConfigError,
    Count,
    Number,
    OptionalText,
    Section,
    Size,
    Whole,
    class_name,
    nearest,
    nothing,
    shown,
)
from scalewise.taxonomy import CAMVID, CITYSCAPES, IGNORE, IGNORE_NAME, TAXONOMIES, Taxonomy

DATA_ROOT_VARIABLE = "SCALEWISE_DATA"


class StreetsSet(Section):
    """Procedural street scenes, written in Cityscapes' own layout and ids."""

    format: Literal["streets"] = Field(description="procedural street scenes")
    images: Count = Field(description="how many images are drawn")
    seed: Whole = Field(description="seed of the drawing; training seeds are separate")
    split: Literal["train", "val"] = Field(description="folder below leftImg8bit and gtFine")
    style: dict[str, Number] = Field(description="differences from the source style")


class CityscapesSet(Section):
    """Cityscapes as downloaded: leftImg8bit/ and gtFine/ (labelIds) below `root`."""

    format: Literal["cityscapes"] = Field(description="Cityscapes as downloaded")
    root: str = Field(description="folder that holds leftImg8bit and gtFine")
    split: str = Field(description="folder below leftImg8bit and gtFine: train or val")


class CamvidSet(Section):
    """CamVid in its 11-class form: images/ and labels/ with the same names below `root`."""

    format: Literal["camvid"] = Field(description="CamVid in its 11-class form")
    root: str = Field(description="folder that holds images and labels")


class FolderSet(Section):
    """Any folder: a glob for images, a template for labels, a map from label ids to classes."""

    format: Literal["folder"] = Field(description="any folder of images and labels")
    root: str = Field(description="folder that images and labels are relative to")
    images: str = Field(description="glob relative to root; what its stars match is the image's id")
    labels: OptionalText = Field(default=None, description="path relative to root, with {id}")
    id_to_class: dict[ByteValue, str] = Field(
        default={}, description="label id -> class name or ignore"
    )

    @field_validator("images")
    @classmethod
    def _images_has_star(cls, value: str) -> str:
        if "*" not in value:
            raise ValueError("needs a star for what differs between images, as in images/*.png")
        return _relative(value)

    @field_validator("labels")
    @classmethod
    def _labels_has_id(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "{id}" not in value:
            raise ValueError("needs {id} where the image's id stands, as in labels/{id}.png")
        return _relative(value)


def _relative(path: str) -> str:
    if path.startswith("/"):
        raise ValueError(f"{shown(path)} must be relative to root: leave out the leading slash")
    return path


DataSet = Annotated[
    StreetsSet | CityscapesSet | CamvidSet | FolderSet, Field(discriminator="format")
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


class DataSettings(Section):
    """The classes, the working size, and the three sets."""

    root: OptionalText = Field(
        description=f"folder of relative roots; else ${DATA_ROOT_VARIABLE}, else the current folder"
    )
    classes: Classes = Field(
        description="cityscapes (19), camvid (11), or a list of name and color"
    )
    size: Size = Field(description="working height and width in pixels")
    source_size: Annotated[Size | None, BeforeValidator(nothing)] = Field(
        description="working size of the source images in training; null: as `size`"
    )
    source: DataSet = Field(description="labelled; trained on")
    target: DataSet = Field(description="unlabelled; its labels are never looked at")
    validation: DataSet = Field(description="labelled, of the target's kind; for evaluation alone")


@dataclass(frozen=True)
class Layout:
    """Where a set's files are and what its label ids mean.

    root: absolute folder, or None for a set that a stage draws; images: glob; labels: template with
    {id} or None; label_ids: label id -> class index or `IGNORE`; classes: names that it labels.
    """

    root: Path | None
    images: str
    labels: str | None
    label_ids: dict[int, int]
    classes: frozenset[str]


def taxonomy(data: DataSettings) -> Taxonomy:
    """The classes that the network learns."""
    if isinstance(data.classes, str):
        return TAXONOMIES[data.classes]
    return Taxonomy(
        tuple(c.name for c in data.classes), tuple(tuple(c.color) for c in data.classes)
    )


def data_root(data: DataSettings) -> Path:
    """The folder that relative roots start from: the key, the variable, or the current folder."""
    return Path(data.root or os.environ.get(DATA_ROOT_VARIABLE) or ".").expanduser()


_CITYSCAPES_IMAGES = "leftImg8bit/{split}/**/*_leftImg8bit.png"
_CITYSCAPES_LABELS = "gtFine/{split}/{id}_gtFine_labelIds.png"


def layout(data: DataSettings, dataset: DataSet) -> Layout:
    """Where the files of one of the data sets are, and what its ids mean."""
    names = taxonomy(data).names
    root = None
    if not isinstance(dataset, StreetsSet):
        root = Path(os.path.abspath(data_root(data) / Path(dataset.root).expanduser()))
    if isinstance(dataset, FolderSet):
        ids = {
            i: IGNORE if name == IGNORE_NAME else names.index(name) if name in names else -1
            for i, name in dataset.id_to_class.items()
        }
        labelled = frozenset(dataset.id_to_class.values()) - {IGNORE_NAME}
        return Layout(root, dataset.images, dataset.labels, ids, labelled)

    def by_name(own: Taxonomy) -> dict[int, int]:
        """The set's ids as indices of data.classes, in whatever order these are listed."""
        index = {c: names.index(n) if n in names else -1 for c, n in enumerate(own.names)}
        return {i: index.get(c, IGNORE) for i, c in own.label_ids.items()}

    if isinstance(dataset, CamvidSet):
        patterns, own = ("images/*.png", "labels/{id}.png"), CAMVID
    else:
        patterns = tuple(
            pattern.replace("{split}", dataset.split)
            for pattern in (_CITYSCAPES_IMAGES, _CITYSCAPES_LABELS)
        )
        own = CITYSCAPES
    return Layout(root, *patterns, by_name(own), frozenset(own.names))


def check_classes(data: DataSettings, where: str) -> None:
    names = taxonomy(data).names
    doubled = [n for n in names if names.count(n) > 1]
    if doubled or IGNORE_NAME in names or not 2 <= len(names) <= 254:
        wrong = doubled[0] if doubled else IGNORE_NAME if IGNORE_NAME in names else len(names)
        raise ConfigError(
            f"{where}.classes: must be 2 to 254 different names, none of them '{IGNORE_NAME}'; "
            + (f"there are {wrong}" if isinstance(wrong, int) else f"'{wrong}' is wrong")
        )
    labelled = {}
    for name in ("source", "validation"):
        dataset = getattr(data, name)
        found = layout(data, dataset)
        labelled[name] = found.classes
        if found.labels is None:
            raise ConfigError(
                f"{where}.{name}.labels: this set needs labels: say where they are, as in "
                "labels/{id}.png"
            )
        if not found.classes:
            raise ConfigError(
                f"{where}.{name}.id_to_class: no label id stands for a class: say which does, as "
                f"in {{0: {names[0]}, 255: {IGNORE_NAME}}}"
            )
        unknown = sorted(found.classes - set(names))
        if unknown:
            near = nearest(unknown[0], names)
            hint = f"; did you mean '{near}'?" if near else f" ({', '.join(names)})"
            raise ConfigError(
                f"{where}.{name}: its class '{unknown[0]}' is not among data.classes{hint}"
            )
    for one, other in (("source", "validation"), ("validation", "source")):
        only = sorted(labelled[one] - labelled[other])
        if only:
            raise ConfigError(
                f"{where}: source and validation have different classes: only {one} has "
                f"'{only[0]}'. Map both to the same classes (id_to_class)"
            )
