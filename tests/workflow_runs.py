"""Running the workflow in a test: the command, what it printed, what it left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "configs" / "tiny.yaml"
COMMAND = [
    sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"),
    "--workflow-profile", str(ROOT / "profiles" / "default"), "--cores", "2",
]  # fmt: skip


def snakemake(folder, *arguments, config=TINY, slots=("--resources", "gpu=1"), environment=None):
    """Run snakemake in `folder`; return exit status and all that it printed."""
    configs = map(str, config if isinstance(config, list) else [config])
    command = [*COMMAND, "--directory", str(folder), "--configfile", *configs, *slots]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def finished(folder):
    """(stage, key) of every finished result."""
    return {
        (p.parent.parent.name, p.parent.name)
        for p in Path(folder, "results").glob("*/*/settings.json")
    }


def jobs(printed):
    """Rule -> how many of its jobs finished."""
    names = re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", printed)
    return {name: names.count(name) for name in names}


def edited(tmp_path, changes, name="changed.yaml"):
    """The tiny configuration with changes to its sections, as a file."""
    content = yaml.safe_load(TINY.read_text())
    for section, values in changes.items():
        both = isinstance(values, dict) and isinstance(content.get(section), dict)
        content[section] = {**content[section], **values} if both else values
    path = tmp_path / name
    path.write_text(yaml.safe_dump(content))
    return path


def planned(printed):
    """Rule -> how many of its jobs a dry run would start."""
    table = printed.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
