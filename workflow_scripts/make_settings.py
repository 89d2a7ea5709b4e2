"""make_settings: write what the typed settings generate: config.yaml and its JSON schema.

    python workflow_scripts/make_settings.py      (or make settings)

config.yaml is read at run time, as the first layer of every configuration; with the schema, editors
complete and check settings files.
"""

import argparse
from pathlib import Path

from scalewise.artifacts.atomic import write_text
from scalewise.config.generated import default_file, schema_file

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    ROOT / "config.yaml": default_file,
    ROOT / "schemas" / "config.schema.json": schema_file,
}

if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    for path, text in FILES.items():
        write_text(path, text())
        print(f"{path.relative_to(ROOT)} written")
