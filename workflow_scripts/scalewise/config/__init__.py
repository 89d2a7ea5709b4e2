"""Typed settings: read config.yaml and what overrides it, check every key, resolve experiments.

`config.yaml` holds every key; a project's file holds only what differs. Mappings are merged key by
key; lists, id maps and everything under a changed `format:` are replaced whole.

In the order of reading: `fields` (types of single settings), `datasets` (where files are and what
ids mean), `sections` (one model per section, with the defaults), `messages` (what is said of a
mistake), `loading`; `generated` writes config.yaml and the JSON schema.
"""

from scalewise.config.datasets import (
    DATA_ROOT_VARIABLE,
    DataSettings,
    Layout,
    StreetsSet,
    class_warnings,
    data_path,
    data_root,
    layout,
    taxonomy,
)
from scalewise.config.fields import ConfigError
from scalewise.config.loading import load, merge, read_yaml, resolved
from scalewise.config.sections import Experiment, ExperimentSettings, Project, ProjectSettings

__all__ = [
    "DATA_ROOT_VARIABLE",
    "ConfigError",
    "DataSettings",
    "Experiment",
    "ExperimentSettings",
    "Layout",
    "Project",
    "ProjectSettings",
    "StreetsSet",
    "class_warnings",
    "data_path",
    "data_root",
    "layout",
    "load",
    "merge",
    "read_yaml",
    "resolved",
    "taxonomy",
]
