"""Running the workflow in a test: the command, what it printed, what it left."""

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "configs" / "tiny.yaml"
SLOTS = ("--resources", "gpu=1")


def command(repository=ROOT):
    """The beginning of every call of snakemake, for the workflow of a copy of this repository."""
    return [
        sys.executable, "-m", "snakemake", "-s", str(Path(repository, "Snakefile")),
        "--workflow-profile", str(Path(repository, "profiles", "default")), "--cores", "2",
    ]  # fmt: skip


COMMAND = command()


def snakemake(
    folder, *arguments, config=TINY, slots=SLOTS, environment=None, repository=ROOT, timeout=900
):
    """Run snakemake in `folder`; return exit status and all that it printed."""
    configs = map(str, config if isinstance(config, list) else [config])
    start = [*command(repository), "--directory", str(folder), "--configfile", *configs, *slots]
    done = subprocess.run(
        [*start, *arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return done.returncode, done.stdout


def program(name, folder, *arguments, **how):
    """Run a program of workflow_scripts/ in `folder`; what it printed is kept."""
    words = [sys.executable, str(ROOT / "workflow_scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, **how)


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
    if "Nothing to be done" in printed:
        return {}
    table = printed.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


# They hold times and places; the page is made of what stands in the tables beside it.
_NOT_COMPARED = {"settings.json", "verdict.txt", "index.html", "cost.csv", "cost.tex"}


def _arrays(path):
    """Name -> array, of an HDF5 file: two files of the same arrays may differ in their bytes."""
    found = {}
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    return {**{f"attribute {name}": np.asarray(v) for name, v in attributes.items()}, **found}


def _same_arrays(path_a, path_b):
    a, b = _arrays(path_a), _arrays(path_b)
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        # bytes, so that NaN equals itself; text is an array of objects
        and (a[name].tolist() == b[name].tolist() if a[name].dtype == object
             else a[name].tobytes() == b[name].tobytes())
        for name in a
    )  # fmt: skip


def same_results(folder_a, folder_b, stages=None):
    """Assert that two folders hold the same results, and return how many files were compared.

    Stage by stage and key by key: the same bytes in weights, tables and pictures, the same arrays
    in HDF5 files. `stages`: pairs of stage and key to compare; all that either folder has, unless
    given. A stage that one of the folders lacks is a difference.
    """
    found = [finished(folder) for folder in (folder_a, folder_b)]
    wanted = set(stages) if stages is not None else found[0] | found[1]
    wanted = {("reports" if stage == "report" else stage, key) for stage, key in wanted}
    missing = {
        str(folder): sorted(wanted - there)
        for folder, there in zip((folder_a, folder_b), found, strict=True)
    }
    assert not any(missing.values()), f"not finished: {missing}"
    compared, differ = 0, []
    for stage, key in sorted(wanted):
        places = [Path(folder, "results", stage, key) for folder in (folder_a, folder_b)]
        names = [
            {
                path.relative_to(place).as_posix()
                for path in place.rglob("*")
                if path.is_file() and path.name not in _NOT_COMPARED
            }
            for place in places
        ]
        differ += [f"{stage}/{key}/{name} is in one of them" for name in names[0] ^ names[1]]
        for name in sorted(names[0] & names[1]):
            a, b = (place / name for place in places)
            same = _same_arrays(a, b) if name.endswith(".h5") else a.read_bytes() == b.read_bytes()
            differ += [] if same else [f"{stage}/{key}/{name}"]
            compared += 1
    assert not differ, f"{folder_a} and {folder_b} differ in:\n" + "\n".join(differ)
    assert compared
    return compared
