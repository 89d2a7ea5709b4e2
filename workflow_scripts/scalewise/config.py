"""Typed settings: read config.yaml and what overrides it, check every key, resolve experiments.

`config.yaml` holds every key; a project's file holds only what differs. Mappings are merged key by
key; lists, id maps and everything under a changed `format:` are replaced whole.
"""

import copy
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
)

from scalewise.taxonomy import CAMVID, CITYSCAPES, IGNORE, IGNORE_NAME, TAXONOMIES, Taxonomy

DATA_ROOT_VARIABLE = "SCALEWISE_DATA"


class ConfigError(Exception):
    """A user's mistake in the settings; the message names the key and what to do."""


class _Section(BaseModel):
    # not a number and infinity are no settings
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _shown(value: Any) -> str:
    """A value as it would stand in a settings file, cut to a readable length."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _folder_name(value: str) -> str:
    printable = value.isprintable() and value.strip() == value
    if (
        not value
        or not printable
        or value[0] in ".-"
        or set(value) & set('/\\"')
        or len(value) > 80
        or len(value.encode()) > 200
    ):
        raise ValueError(
            f"{_shown(value)} becomes the name of a folder: 1 to 80 printable characters, no "
            "slash, backslash or double quote, not starting with a dot or a dash"
        )
    return value


def _class_name(value: str) -> str:
    if not value or not value.isprintable() or value.strip() != value or ";" in value:
        raise ValueError(f"{_shown(value)} is no class name: printable characters, no semicolon")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, not {_shown(value)}")
    return value


def _truth(value: Any) -> Any:
    # text: what --config makes of it
    words = ("true", "false", "yes", "no", "on", "off")
    if not isinstance(value, bool) and str(value).lower() not in words:
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def _nothing(value: Any) -> Any:
    """What `--config` makes of null."""
    return None if value in ("", "null", "~") else value


def _values(count: int, what: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != count:
            raise ValueError(f"must be {what}, not {_shown(value)}")
        return value

    return BeforeValidator(check)


FolderName = Annotated[str, AfterValidator(_folder_name)]
OptionalText = Annotated[str | None, BeforeValidator(_nothing)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Whole = Annotated[int, Field(ge=0), BeforeValidator(_number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)]
Portion = Annotated[float, Field(gt=0, le=1), BeforeValidator(_number)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(_number)]
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(_number)]
Side = Annotated[int, Field(ge=16), BeforeValidator(_number)]
Size = Annotated[tuple[Side, Side], _values(2, "two numbers, height and width, as in [96, 192]")]
ByteValue = Annotated[int, Field(ge=0, le=255), BeforeValidator(_number)]
Color = Annotated[
    tuple[ByteValue, ByteValue, ByteValue],
    _values(3, "red, green and blue in 0..255, as in [128, 64, 128]"),
]


# --- data -----------------------------------------------------------------------------------------


class StreetsSet(_Section):
    """Procedural street scenes, written in Cityscapes' own layout and ids."""

    format: Literal["streets"] = Field(description="procedural street scenes")
    images: Count = Field(description="how many images are drawn")
    seed: Whole = Field(description="seed of the drawing; training seeds are separate")
    split: Literal["train", "val"] = Field(description="folder below leftImg8bit and gtFine")
    style: dict[str, Number] = Field(description="differences from the source style")


class CityscapesSet(_Section):
    """Cityscapes as downloaded: leftImg8bit/ and gtFine/ (labelIds) below `root`."""

    format: Literal["cityscapes"] = Field(description="Cityscapes as downloaded")
    root: str = Field(description="folder that holds leftImg8bit and gtFine")
    split: str = Field(description="folder below leftImg8bit and gtFine: train or val")


class CamvidSet(_Section):
    """CamVid in its 11-class form: images/ and labels/ with the same names below `root`."""

    format: Literal["camvid"] = Field(description="CamVid in its 11-class form")
    root: str = Field(description="folder that holds images and labels")


class FolderSet(_Section):
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
        raise ValueError(f"{_shown(path)} must be relative to root: leave out the leading slash")
    return path


DataSet = Annotated[
    StreetsSet | CityscapesSet | CamvidSet | FolderSet, Field(discriminator="format")
]


class ClassSetting(_Section):
    """One class of a list of one's own."""

    name: Annotated[str, AfterValidator(_class_name)] = Field(description="unique")
    color: Color = Field(description="red, green and blue in 0..255, for pictures")


# the tags stand in pydantic's locations; `_key` leaves them out
Classes = Annotated[
    Annotated[Literal["cityscapes", "camvid"], Tag("<name>")]
    | Annotated[list[ClassSetting], Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<name>"),
]


class DataSettings(_Section):
    """The classes, the working size, and the three sets."""

    root: OptionalText = Field(
        description=f"folder of relative roots; else ${DATA_ROOT_VARIABLE}, else the current folder"
    )
    classes: Classes = Field(
        description="cityscapes (19), camvid (11), or a list of name and color"
    )
    size: Size = Field(description="working height and width in pixels")
    source: DataSet = Field(description="labelled; trained on")
    target: DataSet = Field(description="unlabelled; its labels are never looked at")
    validation: DataSet = Field(description="labelled, of the target's kind; for evaluation alone")


# --- network and training -------------------------------------------------------------------------


class Preprocessing(_Section):
    """What is done to an image's 0..255 values before the network sees them."""

    order: Literal["rgb", "bgr"] = Field(description="order of the channels")
    mean: Annotated[
        tuple[Number, Number, Number], _values(3, "three numbers, one for each channel")
    ] = Field(description="per channel in that order, of 0..255")
    scale: Annotated[
        tuple[Positive, Positive, Positive], _values(3, "three numbers, one for each channel")
    ] = Field(description="divisor, same order and unit")


class NetworkSettings(_Section):
    """The network."""

    name: Literal["compact"] = Field(description="residual, dilated, ASPP, skip at 1/4")
    width: Annotated[int, Field(ge=8, le=256, multiple_of=8), BeforeValidator(_number)] = Field(
        description="channels of the first layers"
    )
    dropout: ShareBelowOne = Field(description="share of features left out in training")
    preprocessing: Preprocessing


class OptimizerSettings(_Section):
    """The optimiser and its rates."""

    name: Literal["adam", "adamw", "sgd"] = Field(description="adamw decouples the decay")
    learning_rate: Positive = Field(description="at the first step")
    weight_decay: NotNegative = Field(description="pull of the weights towards 0")
    momentum: ShareBelowOne = Field(description="of sgd; beta 1 of the Adams")
    beta2: ShareBelowOne = Field(description="of adam and adamw")


class ScheduleSettings(_Section):
    """How the learning rate falls."""

    name: Literal["poly", "constant"] = Field(description="poly falls to 0 at the last step")
    power: Positive = Field(description="of poly: (1 - step / steps) ** power")


class AugmentationSettings(_Section):
    """Random views of an image: largest relative changes; 0 is off."""

    flip: Truth = Field(description="left and right, every other time")
    scale: Annotated[
        tuple[Positive, Positive], _values(2, "two numbers, smallest and largest, as in [0.5, 2]")
    ] = Field(description="log-uniform range; crop or ignore-pad")
    brightness: Share = Field(description="largest change, as a share of white")
    contrast: Share = Field(description="largest relative change about the image's mean")
    saturation: Share = Field(description="largest relative change about grey")
    channel_gain: Share = Field(description="largest relative change of each channel")
    gamma: Share = Field(description="largest relative change of the exponent")
    blur: NotNegative = Field(description="largest standard deviation in pixels")

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the first number is the smaller one, as in [0.5, 2]")
        return value


class SourceTrainingSettings(_Section):
    """Training on the labelled source images (round 0)."""

    steps: Count = Field(description="batches trained on")
    batch: Count = Field(description="images a step")
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings


class RoundsSettings(_Section):
    """The rounds of adaptation."""

    method: Literal["retrain", "batch_norm"] = Field(
        description="batch_norm re-estimates statistics on the target and trains nothing"
    )
    portions: list[Portion] = Field(min_length=1, description="p of each round; one round each")


class SelectionSettings(_Section):
    """Which target images are confident."""

    minimum_per_class: Whole = Field(
        description="take at least so many images of every class that is predicted"
    )
    min_pixels: Count = Field(description="fewer pixels of a class in an image do not count")


class ThresholdSettings(_Section):
    """Which pixels of the patches are reliable."""

    estimator: Literal["at_rank", "pooled"] = Field(
        description="tau from the first image not taken, or pooled over its neighbours"
    )
    pool: Count = Field(description="of pooled: ranked images on each side of the rank")


class PatchesSettings(_Section):
    """The crops of the selected images."""

    per_image: Count = Field(description="crops of every selected image")
    scale: Number = Field(
        json_schema_extra={"minimum": 1},
        description="crops of 1/scale of each side, scaled up; 1 is self-training",
    )
    claim_images: Whole = Field(description="images on which the paper's claim is measured")

    @field_validator("scale")
    @classmethod
    def _at_least_one(cls, value: float) -> float:
        if value <= 0:
            raise ValueError(f"must be positive; {value:g} is not. The paper's scale is 2")
        if value < 1:
            raise ValueError(f"must be 1 (the original scale) or more, not {value:g}")
        return value


class FocalSettings(_Section):
    """The focal term of the patches' loss."""

    beta: NotNegative = Field(description="weight")
    gamma: NotNegative = Field(description="exponent of (1 - probability)")


class RetrainingSettings(_Section):
    """Training of one round, on source images and patches."""

    epochs: Count = Field(description="passes over the patches of the selected images")
    source_batch: Count = Field(description="source images a step")
    target_batch: Count = Field(description="patches a step")
    target_weight: NotNegative = Field(description="of the patches' loss; 0: the source only")
    source_zoom: Share = Field(
        description="share of source images replaced by crops scaled up by 2 (a control)"
    )
    freeze_batchnorm: Truth = Field(description="keep statistics as the source left them")
    focal: FocalSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings = Field(description="of the source images")
    target_augmentation: AugmentationSettings = Field(description="of the patches")


class EvaluationSettings(_Section):
    """What evaluation keeps beside the numbers."""

    pictures: Annotated[int, Field(ge=0, le=64), BeforeValidator(_number)] = Field(
        description="validation images kept with their predictions, evenly spread"
    )


# --- the whole ------------------------------------------------------------------------------------


class ReportSettings(_Section):
    """What the report shows."""

    gallery: Annotated[int, Field(ge=0, le=64), BeforeValidator(_number)] = Field(
        description="images shown with every experiment's prediction"
    )


class ResourceSettings(_Section):
    """What jobs use; no result depends on it."""

    threads: Count = Field(description="of a job that runs the network")
    gpus_per_job: Count = Field(description="device slots of a job that runs the network")
    save_minutes: Positive = Field(description="between saved states of a training")


class ExperimentRow(BaseModel):
    """A named row; its other keys are the overrides."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: FolderName = Field(description="unique; names its folder and its row in the report")
    role: Literal["method", "control", ""] = Field(default="", description="for the report")
    description: str = Field(default="", description="what it is, in words, for the report")


class ExperimentSettings(_Section):
    """All that an experiment's row may override, resolved."""

    data: DataSettings
    network: NetworkSettings
    source_training: SourceTrainingSettings
    rounds: RoundsSettings
    selection: SelectionSettings
    threshold: ThresholdSettings
    patches: PatchesSettings
    retraining: RetrainingSettings
    evaluation: EvaluationSettings

    @property
    def round_count(self) -> int:
        """Re-estimated statistics depend on the weights alone: one round says it all."""
        return 1 if self.rounds.method == "batch_norm" else len(self.rounds.portions)

    @property
    def uses_target(self) -> bool:
        """Whether target images have a say in the weights, be it only in their statistics."""
        return self.rounds.method == "batch_norm" or self.retraining.target_weight > 0


class ProjectSettings(ExperimentSettings):
    """The whole configuration."""

    project: FolderName = Field(description="names results/report/<project>/")
    seeds: list[Whole] = Field(min_length=1, description="one training of everything per seed")
    experiments: list[ExperimentRow] = Field(
        min_length=1, description="each row is this configuration with its own overrides"
    )
    report: ReportSettings
    code: dict[str, Literal["pinned"]] = Field(
        description="stage -> pinned: keep its results over a harmless change of code"
    )
    resources: ResourceSettings


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


@dataclass(frozen=True)
class Experiment:
    """An experiment with its settings resolved; `differences` are its row's overrides, flat."""

    name: str
    role: str
    description: str
    settings: ExperimentSettings
    differences: dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A checked configuration."""

    settings: ProjectSettings
    experiments: list[Experiment]

    @property
    def name(self) -> str:
        return self.settings.project


# --- merging --------------------------------------------------------------------------------------

_WHOLE = frozenset({"id_to_class"})


def merge(base: Mapping, over: Mapping) -> dict:
    """Return `base` overridden by `over`: mappings key by key, all else replaced whole.

    Id maps are replaced whole too, and so is a mapping whose `format` changes, since the keys of
    one format mean nothing in another.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        mergeable = isinstance(old, Mapping) and isinstance(value, Mapping) and key not in _WHOLE
        if mergeable and value.get("format", old.get("format")) == old.get("format"):
            result[key] = merge(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _read_text_values(value: Any) -> Any:
    """What `--config` leaves as text, such as '[0, 1]' or '{scale: 1}', as lists and mappings."""
    if isinstance(value, Mapping):
        return {key: _read_text_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_text_values(item) for item in value]
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError:
            return value
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; here it is an error."""

    def compose_mapping_node(self, anchor):
        # here and not where values are made: by then merge keys (<<) are written out
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if (key.tag, key.value) in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"line {line}: the key '{key.value}' stands twice in one section")
            seen.add((key.tag, key.value))
        return node


def read_yaml(path: str | Path) -> dict:
    """Read one settings file. Raises ConfigError when it cannot be read or is no mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    except ConfigError as error:
        raise ConfigError(f"{path}, {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        if "'\\t'" in problem:
            problem = "a tab: indent with spaces"
        raise ConfigError(f"{path}{where}: not valid YAML: {problem}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold 'key: value' lines, not a {type(content).__name__}")
    return content


# --- checking -------------------------------------------------------------------------------------


def _keys_beside(model: type[BaseModel], location: Sequence) -> list[str]:
    """The valid keys of the section in which `location` (a pydantic error's) ends."""
    fields = model.model_fields
    for part in location[:-1]:
        annotation = fields[part].annotation if part in fields else None
        for candidate in _models_in(annotation, location):
            fields = candidate.model_fields
            break
    return list(fields)


def _models_in(annotation: Any, location: Sequence) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [m for a in getattr(annotation, "__args__", ()) for m in _models_in(a, location)]
    tagged = [
        m
        for m in found
        if "format" in m.model_fields
        and set(getattr(m.model_fields["format"].annotation, "__args__", ())) & set(location)
    ]
    return tagged or found


_FORMATS = ("streets", "cityscapes", "camvid", "folder")
_SETS = ("source", "target", "validation")


def _own(location: Sequence) -> list:
    """A location of pydantic's without the tags of unions: the user's own keys and positions."""
    return [
        part
        for i, part in enumerate(location)
        if not (part in _FORMATS and i and location[i - 1] in _SETS)
        and part not in ("<name>", "<list>", "[key]")
    ]


def _key(location: Sequence) -> str:
    """Dotted keys; a position in a list counts from 1, as in `rounds.portions (entry 2)`."""
    text = ""
    for i, part in enumerate(location):
        if isinstance(part, int) and i and location[i - 1] not in _WHOLE:
            text += f" (entry {part + 1})"
        else:
            text += f".{part}" if text else str(part)
    return text or "the configuration"


def _nearest(word: object, valid: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(word), valid, n=1, cutoff=0.5)), None)


def _places(key: str, model: type[BaseModel], prefix: str = "") -> list[str]:
    """Where in the sections below `model` a key of this name stands, dotted."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            if key in field.annotation.model_fields:
                found.append(f"{prefix}{name}.{key}")
            found += _places(key, field.annotation, f"{prefix}{name}.")
    return found


def _unknown(key: object, valid: Sequence[str], model: type[BaseModel] | None = None) -> str:
    near, elsewhere = _nearest(key, valid), _places(str(key), model) if model else []
    if near:
        hint = f"did you mean '{near}'?"
    elif elsewhere:
        hint = f"did you mean {' or '.join(elsewhere[:3])}?"
    else:
        hint = f"valid keys: {', '.join(valid)}"
    return f"unknown key; {hint}"


_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}
# beginning of pydantic's kind of error -> what the value must be
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text (in quotes where it looks like something else)",
    "list": "a list, in [brackets] or with a dash before each entry",
    "tuple": "a list, in [brackets] or with a dash before each entry",
    "dict": "a section of keys",
    "model": "a section of keys",
}


def _describe(error: Mapping, model: type[BaseModel]) -> str:
    """One line for one error of pydantic."""
    location, kind, value = list(error["loc"]), error["type"], error.get("input")
    context = error.get("ctx", {})
    own = _own(location)
    key = _key(own)
    if kind in ("extra_forbidden", "invalid_key"):
        whole = model if len(own) == 1 else None
        return f"{key}: {_unknown(own[-1], _keys_beside(model, location), whole)}"
    if kind == "missing":
        return f"{key}: this key is missing"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        found = _shown(value.get("format"))
        return f"{key}.format: must be one of {', '.join(_FORMATS)}, not {found}"
    if kind == "literal_error":
        expected = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = _nearest(value, expected) if isinstance(value, str) else None
        valid = ", ".join(filter(None, expected))
        hint = f"; did you mean '{near}'?" if near else ""
        if own[-2:] == ["data", "classes"]:
            valid += ", or a list of {name, color}"
        choice = "one of " if "," in valid else ""
        return f"{key}: must be {choice}{valid}, not {_shown(value)}{hint}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        return f"{key}: must be {words} {context[name]:g}, not {_shown(value)}"
    if kind == "too_short":
        return f"{key}: must have at least {context['min_length']} entry"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted == "a section of keys" and value is None:
        return f"{key}: this section is empty: give its keys, or leave it out"
    if wanted:
        return f"{key}: must be {wanted}, not {_shown(value)}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}, not {_shown(value)}"


def _place(error: Mapping) -> list:
    """The key that is wrong; of one that is missing, its section."""
    own = _own(error["loc"])
    return own[:-1] if error["type"] == "missing" else own


Layers = Sequence[tuple[str, Mapping]]


def _origin(layers: Layers, location: Sequence) -> str:
    """Name of the last layer that says something about the key, or about the section around it.

    A list is its last layer's whole, so positions in lists say nothing.
    """
    positions = [i for i, part in enumerate(location) if isinstance(part, int)]
    for length in range(min(positions, default=len(location)), 0, -1):
        for name, content in reversed(layers):
            node: Any = content
            for part in location[:length]:
                if not isinstance(node, Mapping) or part not in node:
                    break
                node = node[part]
            else:
                return name
    return layers[-1][0]


def _check(model: type[BaseModel], content: Mapping, where: Callable[[Sequence], str]) -> Any:
    """Raises ConfigError with one line per mistake; `where` says which file it stands in."""
    try:
        return model.model_validate(content)
    except ValidationError as failed:
        lines = list(
            dict.fromkeys(
                f"{where(_place(error))}: {_describe(error, model)}" for error in failed.errors()
            )
        )
        more = [f"and {len(lines) - 5} more"] if len(lines) > 5 else []
        raise ConfigError("\n".join(lines[:5] + more)) from None


def _flat(content: Mapping, resolved: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value in effect, for every key of `content`; `resolved` holds the values."""
    result = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and key not in _WHOLE:
            result.update(_flat(value, resolved[key], f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = resolved[key]
    return result


def load(files: Sequence[str | Path], overrides: Mapping | None = None) -> Project:
    """Read the settings: the first file holds every key, later ones and `overrides` differ.

    Raises ConfigError with one line for each mistake.
    """
    layers = [(Path(path).name, read_yaml(path)) for path in files]
    if overrides:
        layers.append(("--config", _read_text_values(overrides)))
    content: dict = {}
    for _, layer in layers:
        content = merge(content, layer)
    settings = _check(ProjectSettings, content, partial(_origin, layers))
    where = _origin(layers, ["experiments"])
    experiments = [_experiment(row, settings, content, where) for row in settings.experiments]
    # folders whose names differ in case alone are one folder on some systems
    names = [e.name.casefold() for e in experiments]
    for what, values in (("experiments", names), ("seeds", settings.seeds)):
        twice = [v for v in dict.fromkeys(values) if values.count(v) > 1]
        if twice:
            origin = _origin(layers, [what])
            raise ConfigError(f"{origin}: {what}: '{twice[0]}' stands twice; each needs its own")
    _check_classes(settings.data, f"{_origin(layers, ['data'])}: data")
    for experiment in experiments:
        if experiment.settings.data != settings.data:
            label = f"{where}: experiment '{experiment.name}': data"
            _check_classes(experiment.settings.data, label)
    return Project(settings, experiments)


def _experiment(
    row: ExperimentRow, settings: ProjectSettings, content: Mapping, where: str
) -> Experiment:
    """The experiment of a row: the configuration `content` with the row's overrides."""
    label = f"{where}: experiment '{row.name}'"
    changes = dict(row.model_extra or {})
    for key in changes:
        if key not in ExperimentSettings.model_fields:
            if key in ProjectSettings.model_fields:
                hint = "it is the same for all experiments: set it outside of the rows"
                raise ConfigError(f"{label}: {key}: not a key of a row; {hint}")
            valid = [*ExperimentSettings.model_fields, *ExperimentRow.model_fields]
            raise ConfigError(f"{label}: {key}: {_unknown(key, valid, ExperimentSettings)}")
    base = {key: content[key] for key in ExperimentSettings.model_fields}
    resolved = _check(ExperimentSettings, merge(base, changes), lambda location: label)
    for key in ("validation", "classes", "root"):
        if getattr(resolved.data, key) != getattr(settings.data, key):
            raise ConfigError(
                f"{label}: data.{key}: must be the same for all experiments of a project, or their "
                "numbers could not stand in one table: set it outside of the rows"
            )
    differences = _flat(changes, resolved.model_dump(mode="json"))
    return Experiment(row.name, row.role, row.description, resolved, differences)


# --- classes and layouts --------------------------------------------------------------------------


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


def _check_classes(data: DataSettings, where: str) -> None:
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
            near = _nearest(unknown[0], names)
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
