"""The pins: one list, in every place that holds it."""

import re
from pathlib import Path

import yaml

from write_lock import conda_file, read_pins

ROOT = Path(__file__).resolve().parents[1]
PINS = read_pins((ROOT / "requirements.lock").read_text())


def test_every_requirement_is_pinned_and_torch_to_the_tested_version():
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in PINS)
    assert "torch==2.13.0" in PINS
    wanted = [line for line in (ROOT / "requirements.in").read_text().splitlines() if line]
    names = {re.split(r"[\[<>=]", line)[0].lower() for line in wanted if line[0] != "#"}
    assert names <= {pin.split("==")[0].lower() for pin in PINS}


def test_the_conda_file_has_the_pins_of_the_lock_file():
    text = (ROOT / "envs" / "scalewise.yaml").read_text()
    assert text == conda_file(PINS)
    assert yaml.safe_load(text)["dependencies"][-1] == {"pip": PINS}
