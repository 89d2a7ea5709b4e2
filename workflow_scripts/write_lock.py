"""write_lock: pin what is installed beside this Python: requirements.lock and envs/scalewise.yaml.

Called by `make lock` in an environment into which requirements.in was resolved.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def conda_file(pins: list[str]) -> str:
    """The conda environment: the same pins, written out, since the engine copies the file away."""
    lines = "".join(f"      - {pin}\n" for pin in pins)
    return f"""# For `snakemake --software-deployment-method conda`; `make` needs no conda.
# The pins are those of requirements.lock; both are written by 'make lock'.
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


def main() -> None:
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    ).stdout
    # the same torch has another local version for each kind of device
    pins = read_pins(frozen.replace("+cpu", ""))
    header = "# Pinned: pip install -r requirements.lock. From requirements.in by 'make lock'."
    (ROOT / "requirements.lock").write_text("\n".join([header, *pins]) + "\n")
    (ROOT / "envs" / "scalewise.yaml").write_text(conda_file(pins))


if __name__ == "__main__":
    main()
