"""Read settings files, merge them, check every key, and resolve the experiments."""

import copy
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from scalewise.compatibility import released
from scalewise.config.datasets import StreetsSet, check_classes, data_root, taxonomy
from scalewise.config.fields import ConfigError, shown
from scalewise.config.messages import WHOLE, Layers, check, layer_of, unknown
from scalewise.config.sections import (
    Experiment,
    ExperimentRow,
    ExperimentSettings,
    Project,
    ProjectSettings,
)


def merge(base: Mapping, over: Mapping) -> dict:
    """Return `base` overridden by `over`: mappings key by key, all else replaced whole.

    Id maps are replaced whole too, and so are a data set whose `format` changes and a network whose
    `name` does, since the keys of one mean nothing in another.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        mergeable = isinstance(old, Mapping) and isinstance(value, Mapping) and key not in WHOLE
        kind = "name" if key == "network" else "format"
        if mergeable and value.get(kind, old.get(kind)) == old.get(kind):
            result[key] = merge(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def resolve(layers: Layers) -> dict:
    """Merge the layers. What `compatibility: authors_code` stands for lies just below the layer
    that says so, so that a single switch set there, or later, wins."""
    whole: dict = {}
    for _, layer in layers:
        whole = merge(whole, layer)
    says_so = max(
        (i for i, (_, layer) in enumerate(layers) if "compatibility" in layer), default=-1
    )
    network = whole.get("network")
    if whole.get("compatibility") != "authors_code" or not isinstance(network, Mapping):
        return whole
    switches = released(str(network.get("name")))
    if "network" in switches:
        switches["network"] = {"name": network.get("name"), **switches["network"]}
    content: dict = {}
    for i, (_, layer) in enumerate(layers):
        content = merge(merge(content, switches) if i == says_so else content, layer)
    return content


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


def _flat(content: Mapping, resolved: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value in effect, for every key of `content`; `resolved` holds the values."""
    result = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and key not in WHOLE:
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
    content = resolve(layers)
    settings = check(ProjectSettings, content, partial(layer_of, layers))
    where = layer_of(layers, ["experiments"])
    experiments = [_experiment(row, settings, layers, where) for row in settings.experiments]
    # folders whose names differ in case alone are one folder on some systems
    names = [e.name.casefold() for e in experiments]
    for what, values in (("experiments", names), ("seeds", settings.seeds)):
        twice = [v for v in dict.fromkeys(values) if values.count(v) > 1]
        if twice:
            origin = layer_of(layers, [what])
            raise ConfigError(f"{origin}: {what}: '{twice[0]}' stands twice; each needs its own")
    check_classes(settings.data, f"{layer_of(layers, ['data'])}: data")
    subsets = ["all", *taxonomy(settings.data).subsets]
    if settings.report.classes not in subsets:
        raise ConfigError(
            f"{layer_of(layers, ['report', 'classes'])}: report.classes: must be one of "
            f"{', '.join(subsets)}, not {shown(settings.report.classes)}"
        )
    for experiment in experiments:
        if experiment.settings.data != settings.data:
            label = f"{where}: experiment '{experiment.name}': data"
            check_classes(experiment.settings.data, label)
    return Project(settings, experiments)


def _experiment(
    row: ExperimentRow, settings: ProjectSettings, layers: Layers, where: str
) -> Experiment:
    """The experiment of a row: the configuration of the layers with the row's overrides."""
    label = f"{where}: experiment '{row.name}'"
    changes = dict(row.model_extra or {})
    for key in changes:
        if key not in ExperimentSettings.model_fields:
            if key in ProjectSettings.model_fields:
                hint = "it is the same for all experiments: set it outside of the rows"
                raise ConfigError(f"{label}: {key}: not a key of a row; {hint}")
            valid = [*ExperimentSettings.model_fields, *ExperimentRow.model_fields]
            raise ConfigError(f"{label}: {key}: {unknown(key, valid, ExperimentSettings)}")
    content = resolve([*layers, (label, changes)])
    content = {key: content[key] for key in ExperimentSettings.model_fields}
    resolved = check(ExperimentSettings, content, lambda location: label)
    differences = _flat(changes, resolved.model_dump(mode="json"))
    if row.role == "ceiling":
        resolved = _on_target_labels(resolved)
        differences = {k: v for k, v in differences.items() if not k.startswith(_NOT_OF_A_CEILING)}
        differences["data.source"] = "the target set, with its labels"
    for key in ("validation", "classes", "subsets", "root", "on_problem"):
        if getattr(resolved.data, key) != getattr(settings.data, key):
            raise ConfigError(
                f"{label}: data.{key}: must be the same for all experiments of a project, or their "
                "numbers could not stand in one table: set it outside of the rows"
            )
    if resolved.network.name == "fcn8s_vgg16":
        none = "fcn8s_vgg16 has no batch-norm whose statistics could be re-estimated"
        if resolved.rounds.method == "batch_norm":
            raise ConfigError(f"{label}: rounds.method: {none}: take the row out")
        if resolved.rounds.target_statistics > 0:
            raise ConfigError(f"{label}: rounds.target_statistics: {none}: leave it at 0")
    begins_mixed = resolved.rounds.target_statistics > 0
    shallow = begins_mixed and resolved.rounds.statistics_layers == "shallow"
    if shallow and resolved.network.name == "segformer":
        raise ConfigError(
            f"{label}: rounds.statistics_layers: segformer has no batch-norm in its shallow "
            "layers: leave it at all, or target_statistics at 0"
        )
    if begins_mixed and not resolved.retraining.freeze_batchnorm:
        raise ConfigError(
            f"{label}: rounds.target_statistics: each domain then has its own statistics, which "
            "stay as they are: set retraining.freeze_batchnorm: true"
        )
    if resolved.rounds.on_collapse == "revert" and resolved.retraining.carry_optimizer:
        raise ConfigError(
            f"{label}: rounds.on_collapse: revert goes on with earlier weights, whose moments "
            "retraining.carry_optimizer would not carry on: set one of them otherwise"
        )
    return Experiment(row.name, row.role, row.description, resolved, differences)


# what a ceiling's row may say without a say
_NOT_OF_A_CEILING = ("data.source", "rounds.", "source_training.weights")


def _on_target_labels(settings: ExperimentSettings) -> ExperimentSettings:
    """The settings of a ceiling: the target set takes the place of the source, and no round."""
    data, rounds, training = settings.data, settings.rounds, settings.source_training
    target = data.target.model_copy(update={"audit": False})
    return settings.model_copy(
        update={
            "data": data.model_copy(update={"source": target, "source_size": None}),
            "rounds": rounds.model_copy(update={"method": "retrain", "portions": []}),
            "source_training": training.model_copy(update={"weights": None}),
        }
    )


def _reads_files(settings: ExperimentSettings) -> bool:
    """Whether a relative folder or file has a say: procedural sets have none."""
    sets = (settings.data.source, settings.data.target, settings.data.validation)
    weights = settings.network.weights or settings.source_training.weights
    return weights is not None or not all(isinstance(s, StreetsSet) for s in sets)


def _row(experiment: Experiment, row: ExperimentRow, settings: ProjectSettings) -> dict:
    """A row of the resolved configuration: as it was, unless it is free of the switches of
    `compatibility`, or has those of another network: the configuration around it has its own
    written out by now."""
    plain = row.model_dump(mode="json")
    of = experiment.settings
    switched = (of.compatibility, of.network.name) == ("authors_code", settings.network.name)
    if settings.compatibility == "authors_code" and not switched:
        plain.update(of.model_dump(mode="json"))
    return plain


def resolved(project: Project, experiment: str | None = None, seed: int | None = None) -> dict:
    """The configuration in effect as plain JSON: a settings file that needs nothing around it.

    That of one experiment and seed, as its only row; without them the whole project's. Relative
    folders start from where they do now: `data.root` becomes absolute.
    """
    settings, experiments = project.settings, project.experiments
    content = settings.model_dump(mode="json")
    if experiment is None:
        pairs = zip(experiments, settings.experiments, strict=True)
        rows = [_row(e, row, settings) for e, row in pairs]
    else:
        experiments = [e for e in experiments if e.name == experiment]
        (of,) = experiments
        content.update(of.settings.model_dump(mode="json"), seeds=[seed])
        rows = [{"name": of.name, "role": of.role, "description": of.description}]
    content["experiments"] = rows
    if any(_reads_files(e.settings) for e in experiments):
        root = os.path.abspath(data_root(settings.data))
        for part in (content, *rows):
            if part is content or "root" in part.get("data", {}):
                part["data"]["root"] = root
    return content
