"""write_lock: pin what is installed beside this Python.

Called by `make lock`: where requirements.in was resolved it writes requirements.lock; with
`segformer` or `slurm`, where requirements-<that>.in was added to that, it writes what came on top
into requirements-<that>.lock; of segformer all of it into envs/scalewise.yaml too.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def conda_file(pins: list[str]) -> str:
    """The conda environment: the same pins, written out, since the engine copies the file away."""
    lines = "".join(f"      - {pin}\n" for pin in pins)
    return f"""# For `snakemake --software-deployment-method conda`; `make` needs no conda.
# The pins are those of requirements.lock and requirements-segformer.lock; 'make lock' writes them.
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
{lines}"""


def read_pins(lock: str) -> list[str]:
    """The pins of a lock file's text."""
    return [line for line in lock.splitlines() if line and not line.startswith("#")]


def lock_file(pins: list[str], name: str) -> str:
    """The text of `<name>.lock`."""
    header = f"# Pinned: pip install -r {name}.lock. From {name}.in by 'make lock'."
    return "\n".join([header, *pins]) + "\n"


def beyond(pins: list[str], lock: list[str]) -> list[str]:
    """The pins that came on top of those of a lock file. Raises ValueError where one of these is no
    longer the same: what needs no extra package must not change with it."""
    if changed := sorted(set(lock) - set(pins)):
        raise ValueError(f"the extra packages changed the pins of others: {', '.join(changed)}")
    return [pin for pin in pins if pin not in lock]


def main(extra: str | None) -> None:
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    ).stdout
    # the same torch has another local version for each kind of device
    pins = read_pins(frozen.replace("+cpu", ""))
    lock = ROOT / "requirements.lock"
    if extra is None:
        lock.write_text(lock_file(pins, "requirements"))
        return
    common = read_pins(lock.read_text())
    more, name = beyond(pins, common), f"requirements-{extra}"
    (ROOT / f"{name}.lock").write_text(lock_file(more, name))
    if extra == "segformer":
        (ROOT / "envs" / "scalewise.yaml").write_text(conda_file([*common, *more]))


if __name__ == "__main__":
    main(next(iter(sys.argv[1:]), None))
