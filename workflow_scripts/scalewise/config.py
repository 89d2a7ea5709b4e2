"""Typed settings: read config.yaml and what overrides it, check every key, resolve experiments.

`config.yaml` holds every key; a project's file holds only what differs. Mappings are merged key by
key; lists, id maps and everything under a changed `format:` are replaced whole.
"""

import copy
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from scalewise.taxonomy import CAMVID, CITYSCAPES, IGNORE, IGNORE_NAME, TAXONOMIES, Taxonomy

DATA_ROOT_VARIABLE = "SCALEWISE_DATA"


class ConfigError(Exception):
    """A user's mistake in the settings; the message names the key and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _folder_name(value: str) -> str:
    printable = value.isprintable() and value.strip() == value
    if (
        not value
        or not printable
        or value[0] in ".-"
        or set(value) & set('/\\"')
        or len(value) > 80
    ):
        raise ValueError(
            f"'{value}' becomes the name of a folder: 1 to 80 printable characters, no slash, "
            "backslash or double quote, not starting with a dot or a dash"
        )
    return value


FolderName = Annotated[str, AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, le=1)]
Portion = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Size = tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]


# --- data -----------------------------------------------------------------------------------------


class StreetsSet(_Section):
    """Procedural street scenes, written in Cityscapes' own layout and ids."""

    format: Literal["streets"]
    images: Count = Field(description="how many images are drawn")
    seed: int = Field(ge=0, description="seed of the drawing; training seeds are separate")
    split: Literal["train", "val"] = Field(description="folder below leftImg8bit and gtFine")
    style: dict[str, float] = Field(description="differences from the source style")


class CityscapesSet(_Section):
    """Cityscapes as downloaded: leftImg8bit/ and gtFine/ (labelIds) below `root`."""

    format: Literal["cityscapes"]
    root: str
    split: str


class CamvidSet(_Section):
    """CamVid in its 11-class form: images/ and labels/ with the same names below `root`."""

    format: Literal["camvid"]
    root: str


class FolderSet(_Section):
    """Any folder: a glob for images, a template for labels, a map from label ids to classes."""

    format: Literal["folder"]
    root: str
    images: str = Field(description="glob relative to root; what its stars match is the image's id")
    labels: str | None = Field(default=None, description="path relative to root, with {id}")
    id_to_class: dict[int, str] = Field(default={}, description="label id -> class name or ignore")

    @field_validator("images")
    @classmethod
    def _images_has_star(cls, value: str) -> str:
        if "*" not in value:
            raise ValueError("needs a star for what differs between images, as in images/*.png")
        return value

    @field_validator("labels")
    @classmethod
    def _labels_has_id(cls, value: str | None) -> str | None:
        if value is not None and "{id}" not in value:
            raise ValueError("needs {id} where the image's id stands, as in labels/{id}.png")
        return value


DataSet = Annotated[
    StreetsSet | CityscapesSet | CamvidSet | FolderSet, Field(discriminator="format")
]


class ClassSetting(_Section):
    name: str
    color: tuple[int, int, int]


class DataSettings(_Section):
    root: str | None = Field(description=f"folder of relative roots; else ${DATA_ROOT_VARIABLE}")
    classes: Literal["cityscapes", "camvid"] | list[ClassSetting]
    size: Size = Field(description="working height and width in pixels")
    source: DataSet
    target: DataSet
    validation: DataSet


# --- network and training -------------------------------------------------------------------------


class Preprocessing(_Section):
    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float] = Field(description="per channel in that order, of 0..255")
    scale: tuple[Positive, Positive, Positive] = Field(description="divisor, same order and unit")


class NetworkSettings(_Section):
    name: Literal["compact"]
    width: int = Field(ge=8, le=256, multiple_of=8)
    dropout: Annotated[float, Field(ge=0, lt=1)]
    preprocessing: Preprocessing


class OptimizerSettings(_Section):
    name: Literal["adam", "adamw", "sgd"]
    learning_rate: Positive
    weight_decay: NotNegative
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(description="of sgd; beta 1 of the Adams")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(description="of adam and adamw")


class ScheduleSettings(_Section):
    name: Literal["poly", "constant"]
    power: Positive = Field(description="of poly: (1 - step / steps) ** power")


class AugmentationSettings(_Section):
    flip: bool
    scale: tuple[Positive, Positive] = Field(description="log-uniform range; crop or ignore-pad")
    brightness: Share
    contrast: Share
    saturation: Share
    channel_gain: Share
    gamma: Share
    blur: NotNegative = Field(description="largest standard deviation in pixels")

    @model_validator(mode="after")
    def _scale_is_a_range(self):
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the first number is the smaller one, as in [0.5, 2]")
        return self


class SourceTrainingSettings(_Section):
    steps: Count
    batch: Count
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings


class RoundsSettings(_Section):
    method: Literal["retrain", "batch_norm"]
    portions: list[Portion] = Field(min_length=1, description="p of each round; one round each")


class SelectionSettings(_Section):
    minimum_per_class: int = Field(ge=0)
    min_pixels: int = Field(ge=1)


class ThresholdSettings(_Section):
    estimator: Literal["at_rank", "pooled"]
    pool: Count = Field(description="of pooled: ranked images on each side of the rank")


class PatchesSettings(_Section):
    per_image: Count
    scale: float
    claim_images: int = Field(ge=0)

    @field_validator("scale")
    @classmethod
    def _at_least_one(cls, value: float) -> float:
        if value <= 0:
            raise ValueError(f"must be positive; {value:g} is not. The paper's scale is 2")
        if value < 1:
            raise ValueError(f"must be 1 (the original scale) or more, not {value:g}")
        return value


class FocalSettings(_Section):
    beta: NotNegative
    gamma: NotNegative


class RetrainingSettings(_Section):
    epochs: Count
    source_batch: Count
    target_batch: Count
    target_weight: NotNegative
    source_zoom: Share
    freeze_batchnorm: bool
    focal: FocalSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings = Field(description="of the source images")
    target_augmentation: AugmentationSettings = Field(description="of the patches")


class EvaluationSettings(_Section):
    pictures: int = Field(ge=0, le=64)


# --- the whole ------------------------------------------------------------------------------------


class ReportSettings(_Section):
    gallery: int = Field(ge=0, le=64)


class ResourceSettings(_Section):
    threads: Count
    gpus_per_job: Count
    save_minutes: Positive


class ExperimentRow(BaseModel):
    """A named row; its other keys are the overrides."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: FolderName
    role: Literal["method", "control", ""] = ""
    description: str = ""


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

    project: FolderName
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    experiments: list[ExperimentRow] = Field(min_length=1)
    report: ReportSettings
    code: dict[str, Literal["pinned"]] = Field(description="stage -> pinned")
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

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                break  # not hashable: the base class says so
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"line {line}: the key '{key}' stands twice in one section")
            seen.add(key)
        return super().construct_mapping(node, deep)


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
        raise ConfigError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{path}{where}: {problem}") from None
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


def _describe(error: Mapping, model: type[BaseModel]) -> str:
    """One line for one error of pydantic."""
    location = list(error["loc"])
    # the tag of a union and the branches it tried are no keys of the user's
    shown = [
        str(part)
        for i, part in enumerate(location)
        if not (part in _FORMATS and i and location[i - 1] in ("source", "target", "validation"))
        and not str(part).startswith(("list[", "literal["))
    ]
    key = ".".join(shown) or "the configuration"
    value = error.get("input")
    kind = error["type"]
    if kind == "extra_forbidden":
        valid = _keys_beside(model, location)
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(valid)}"
        return f"{key}: unknown key; {hint}"
    if kind == "missing":
        return f"{key}: this key is missing"
    if kind == "value_error":
        return f"{key}: {str(error['ctx']['error'])}"
    if kind == "union_tag_invalid":
        return f"{key}.format: '{error['ctx']['tag']}' is none of {', '.join(_FORMATS)}"
    if kind == "union_tag_not_found":
        return f"{key}.format: this key is missing; one of {', '.join(_FORMATS)}"
    message = error["msg"][0].lower() + error["msg"][1:]
    message = message.removeprefix("input ").removesuffix(", unable to parse string as a number")
    text = repr(value)
    return f"{key}: {message}, not {text if len(text) < 60 else text[:57] + '...'}"


def _check(model: type[BaseModel], content: Mapping, where: str) -> Any:
    try:
        return model.model_validate(content)
    except ValidationError as failed:
        errors = failed.errors()
        lines = list(dict.fromkeys(_describe(error, model) for error in errors))
        more = [f"... and {len(lines) - 5} more"] if len(lines) > 5 else []
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines[:5] + more)) from None


def _flat(content: Mapping, prefix: str = "") -> dict[str, Any]:
    result = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and key not in _WHOLE:
            result.update(_flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


def load(files: Sequence[str | Path], overrides: Mapping | None = None) -> Project:
    """Read the settings: the first file holds every key, later ones and `overrides` differ.

    Raises ConfigError with one line for each mistake.
    """
    content: dict = {}
    for path in files:
        content = merge(content, read_yaml(path))
    content = merge(content, _read_text_values(overrides or {}))
    where = Path(files[-1]).name if not overrides else f"{Path(files[-1]).name} with --config"
    settings = _check(ProjectSettings, content, where)
    experiments = []
    for row in settings.experiments:
        label = f"{where}: experiment '{row.name}'"
        changes = dict(row.model_extra or {})
        for key in changes:
            if key not in ExperimentSettings.model_fields:
                valid = [*ExperimentSettings.model_fields, "name", "role", "description"]
                near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(valid)}"
                raise ConfigError(f"{label}: {key}: unknown key; {hint}")
        base = {key: content[key] for key in ExperimentSettings.model_fields}
        resolved = _check(ExperimentSettings, merge(base, changes), label)
        if resolved.data.validation != settings.data.validation or (
            (resolved.data.classes, resolved.data.root)
            != (settings.data.classes, settings.data.root)
        ):
            raise ConfigError(
                f"{label}: data.validation, data.classes and data.root are the same for all "
                "experiments of a project, or their numbers could not stand in one table"
            )
        experiments.append(
            Experiment(row.name, row.role, row.description, resolved, _flat(changes))
        )
    for what, values in (
        ("experiments: the name", [e.name for e in experiments]),
        ("seeds: the seed", settings.seeds),
    ):
        twice = [str(v) for v in dict.fromkeys(values) if values.count(v) > 1]
        if twice:
            raise ConfigError(f"{where}: {what} '{twice[0]}' stands twice")
    project = Project(settings, experiments)
    for experiment in experiments:
        _check_classes(experiment.settings.data, f"{where}: data")
    return project


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
    if isinstance(dataset, CamvidSet):
        return Layout(
            root, "images/*.png", "labels/{id}.png", CAMVID.label_ids, frozenset(CAMVID.names)
        )
    return Layout(
        root,
        _CITYSCAPES_IMAGES.replace("{split}", dataset.split),
        _CITYSCAPES_LABELS.replace("{split}", dataset.split),
        CITYSCAPES.label_ids,
        frozenset(CITYSCAPES.names),
    )


def _check_classes(data: DataSettings, where: str) -> None:
    names = taxonomy(data).names
    doubled = [n for n in names if names.count(n) > 1]
    if doubled or IGNORE_NAME in names or not 2 <= len(names) <= 254:
        raise ConfigError(
            f"{where}.classes: 2 to 254 different names, none of them '{IGNORE_NAME}'"
        )
    labelled = {}
    for name in ("source", "validation"):
        dataset = getattr(data, name)
        found = layout(data, dataset)
        labelled[name] = found.classes
        if found.labels is None:
            raise ConfigError(f"{where}.{name}.labels: this set needs labels: where are they?")
        unknown = sorted(found.classes - set(names))
        if unknown:
            raise ConfigError(
                f"{where}.{name}: its class '{unknown[0]}' is not among data.classes "
                f"({', '.join(names)})"
            )
    differ = sorted(labelled["source"] ^ labelled["validation"])
    if differ:
        raise ConfigError(
            f"{where}: source and validation have different classes: only one of them has "
            f"'{differ[0]}'. Map both to the same classes (id_to_class)"
        )
