"""The files that the typed settings generate: config.yaml and its JSON schema.

In config.yaml a key has the default of its field, and beside it the field's description, where the
key of a kind of section stands for the first time. Sections are blocks; lists and maps take one
line where they fit. What is about a place of the file and not about a key stands here: the head,
`ABOVE`, `BESIDE`, and the names of `ANCHORS`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

from scalewise.config.datasets import StreetsSet
from scalewise.config.sections import ExperimentRow, ExperimentSettings, ProjectSettings

WIDTH = 100
COMMENTS = 32  # column at which comments begin

HEAD = """\
# The embedded default: adapts a small network from one style of procedurally drawn streets to
# another, and runs anywhere in minutes. Each section stands here, each key with its reason; keys of
# other formats of data and of other networks: docs/data.md, docs/networks.md.
# A project of your own is a file with only what differs: see configs/.
# `make settings` writes this file, from the defaults in workflow_scripts/scalewise/config/.
"""
FIRST = ("project", "seeds", "compatibility")  # the other keys follow as the typed settings go
# a line of its own above a key
ABOVE = {
    "retraining.rare_classes": (
        'what later papers add (docs/method.md, "Beyond the paper"); off for the paper\'s method'
    ),
}
# beside a key in place of its field's description
BESIDE = {
    "data.source.format": "streets, gta5, synthia, cityscapes, camvid, folder: docs/data.md",
    "data.target.style": "objects about twice as large, appearance about half-way to another",
    "network.name": "or fcn8s_vgg16, deeplabv2_resnet101, segformer: docs/networks.md",
}
# where a value stands for the first time -> its name; where it stands again, the name alone does
ANCHORS = {
    "data.target.style": "target_style",
    "source_training.schedule": "schedule",
    "source_training.augmentation": "flip_only",
}
# of the schema: entries of lists; these are never merged, so all of their keys are needed
WHOLE = ("ClassSetting", "ExperimentRow")


def _plain(value: Any) -> str:
    """A value as YAML in one line. Text is written as it is: what the defaults hold needs no
    quotes, which the test of the generated file asserts."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _commented(line: str, comment: str) -> Iterator[str]:
    """A line with a comment beside it, which goes on in lines below."""
    start = max(COMMENTS, len(line) + 1)
    for text in wrap(comment, WIDTH - start - 2, break_on_hyphens=False) or [""]:
        yield f"{line:{start}}# {text}" if text else line
        line = ""


class _Writer:
    def __init__(self) -> None:
        self._described: set[tuple[type, str]] = set()  # keys whose description is written
        self._named: list[tuple[str, Any]] = []  # values that have an anchor

    def section(self, section: BaseModel, keys: Iterable[str], path: str = "") -> Iterator[str]:
        """The lines of some keys of a section; `path` is empty or ends in a dot."""
        for key in keys:
            place, which = path + key, (type(section), key)
            comment = BESIDE.get(place, "")
            if not comment and which not in self._described:
                comment = type(section).model_fields[key].description or ""
            self._described.add(which)
            indent = "  " * place.count(".")
            if place in ABOVE:
                yield f"{indent}# {ABOVE[place]}"
            yield from self._entry(f"{indent}{key}:", getattr(section, key), comment, place)

    def _entry(self, line: str, value: Any, comment: str, place: str) -> Iterator[str]:
        """The lines of a key, of which `line` is the beginning."""
        again = [
            name for name, other in self._named if type(other) is type(value) and other == value
        ]
        if again:
            yield from _commented(f"{line} *{again[0]}", comment)
            return
        if place in ANCHORS:
            self._named.append((ANCHORS[place], value))
            line += f" &{ANCHORS[place]}"
        if isinstance(value, BaseModel):
            yield from _commented(line, comment)
            yield from self.section(value, _shown(value), f"{place}.")
        elif place == "experiments":
            yield from _commented(line, comment)
            for row in value:
                yield from _row(row)
        elif len(whole := f"{line} {_plain(value)}") <= WIDTH:
            yield from _commented(whole, comment)
        else:
            yield from _commented(line, comment)
            indent = "  " * (place.count(".") + 1)
            yield from _wrapped(_plain(value), indent, f"{indent} ")


def _shown(section: BaseModel) -> Iterable[str]:
    """The keys of a section that the file shows: of a drawn set those that it was given."""
    keys = type(section).model_fields
    if isinstance(section, StreetsSet):
        return [key for key in keys if key in section.model_fields_set]
    return keys


def _row(row: ExperimentRow) -> Iterator[str]:
    """The lines of an experiment's row."""
    start = "  - "
    for key, value in row.model_dump(exclude_unset=True).items():
        yield from _wrapped(f"{key}: {_plain(value)}", start, "      ")
        start = "    "


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def default_file() -> str:
    """The text of config.yaml."""
    settings, writer = ProjectSettings(), _Writer()
    blocks = [FIRST, *([key] for key in ProjectSettings.model_fields if key not in FIRST)]
    texts = ["".join(f"{line}\n" for line in writer.section(settings, keys)) for keys in blocks]
    return "\n".join([HEAD, *texts])


def schema() -> dict:
    """The JSON schema of a settings file: config.yaml, or one that holds only what differs."""
    whole = ProjectSettings.model_json_schema()
    sections = whole["$defs"]
    row = sections["ExperimentRow"]
    row["additionalProperties"] = False
    for name, content in whole["properties"].items():
        content.pop("default")  # a whole section each: config.yaml shows it better
        if name in ExperimentSettings.model_fields:
            row["properties"][name] = content
    # a file may hold any part of the settings: what it leaves out comes from config.yaml
    for name, section in sections.items():
        if name not in WHOLE:
            section.pop("required", None)
    # what tells one alternative from the others may stand in another file
    for section in (whole, *sections.values()):
        for choice in section["properties"].values():
            if choice.pop("discriminator", None):
                choice["anyOf"] = choice.pop("oneOf")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "title": "Scalewise settings",
    }


def schema_file() -> str:
    """The text of schemas/config.schema.json."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
