"""make_schema: write schemas/config.schema.json, with which editors complete and check settings.

It describes any settings file: config.yaml, and a project's file that holds only what differs.
"""

import argparse
import json
from pathlib import Path

from scalewise.artifacts.atomic import write_text
from scalewise.config import ExperimentSettings, ProjectSettings

SCHEMA = Path(__file__).resolve().parents[1] / "schemas" / "config.schema.json"
# entries of lists: these are never merged, so all of their keys are needed
WHOLE = ("ClassSetting", "ExperimentRow")


def schema() -> dict:
    """The JSON schema of a settings file, from the typed settings."""
    whole = ProjectSettings.model_json_schema()
    sections = whole["$defs"]
    row = sections["ExperimentRow"]
    row["additionalProperties"] = False
    for name, content in whole["properties"].items():
        if name in ExperimentSettings.model_fields:
            row["properties"][name] = content
    # a file may hold any part of the settings: what it leaves out comes from config.yaml
    del whole["required"]
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


def text() -> str:
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    write_text(SCHEMA, text())
    print(f"{SCHEMA.name} written")
