"""The pins: one list, in every place that holds it."""

import re
from pathlib import Path

import pytest
import yaml

from scalewise.models.segformer import PACKAGE
from write_lock import beyond, conda_file, lock_file, read_pins

ROOT = Path(__file__).resolve().parents[1]
PINS = read_pins((ROOT / "requirements.lock").read_text())
SEGFORMER_PINS = read_pins((ROOT / "requirements-segformer.lock").read_text())
SLURM_PINS = read_pins((ROOT / "requirements-slurm.lock").read_text())


@pytest.mark.parametrize(
    ("name", "pins"),
    [
        ("requirements", PINS),
        ("requirements-segformer", SEGFORMER_PINS),
        ("requirements-slurm", SLURM_PINS),
    ],
)
def test_every_requirement_is_pinned(name, pins):
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    wanted = [line for line in (ROOT / f"{name}.in").read_text().splitlines() if line]
    names = {re.split(r"[\[<>=]", line)[0].lower() for line in wanted if line[0] != "#"}
    assert names and names <= {pin.split("==")[0].lower() for pin in pins}
    assert (ROOT / f"{name}.lock").read_text() == lock_file(pins, name)


def test_torch_and_transformers_are_pinned_to_the_tested_versions():
    assert "torch==2.13.0" in PINS
    assert PACKAGE in SEGFORMER_PINS
    assert PACKAGE in (ROOT / "requirements-segformer.in").read_text()


def test_what_only_segformer_or_slurm_needs_is_in_its_own_list_alone():
    for extra in (SEGFORMER_PINS, SLURM_PINS):
        names = [pin.split("==")[0] for pin in (*PINS, *extra)]
        assert len(set(names)) == len(names)
    assert beyond(["a==1", "b==2", "c==3"], ["a==1", "c==3"]) == ["b==2"]
    with pytest.raises(ValueError, match="c==3"):
        beyond(["a==1", "b==2", "c==4"], ["a==1", "c==3"])


def test_the_conda_file_has_the_pins_of_the_lock_files():
    # all of them: nobody adds a package to an environment that the engine makes
    text = (ROOT / "envs" / "scalewise.yaml").read_text()
    assert text == conda_file([*PINS, *SEGFORMER_PINS])
    assert yaml.safe_load(text)["dependencies"][-1] == {"pip": [*PINS, *SEGFORMER_PINS]}
