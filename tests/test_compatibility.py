"""The list of differences from the released program, as data and in the documentation."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scalewise
from scalewise.compatibility import DIFFERENCES, ours, released

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(
    r"\| (?P<row>\d+) \|[^|]+\|[^|]+\| (?:`(?P<setting>[\w.]+)`(?:, `(?P<network>\w+)` only)?)? ?"
    r"\| (?:`(?P<ours>\w+)`)? ?\| (?:`(?P<released>\w+)`)? ?\|"
)


def documented() -> list[dict]:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    table = text.split("## Where this project differs", 1)[1].split("\n\n### ", 1)[0]
    lines = [line for line in table.splitlines() if re.match(r"\| \d", line)]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return [match.groupdict() for match in found]


def shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_the_documentation_names_the_same_settings_and_values():
    written = [
        (int(d["row"]), d["setting"], d["ours"], d["released"], d["network"])
        for d in documented()
        if d["setting"]
    ]
    assert written == [
        (d.row, d.setting, shown(d.ours), shown(d.released), d.network) for d in DIFFERENCES
    ]


def test_only_crashes_and_lost_files_have_no_setting():
    rows = [int(d["row"]) for d in documented()]
    assert sorted(set(rows)) == list(range(1, 15))
    assert [int(d["row"]) for d in documented() if not d["setting"]] == [4, 12, 13]


def test_each_setting_is_listed_once_with_its_reason():
    assert len({d.setting for d in DIFFERENCES}) == len(DIFFERENCES)
    assert all(d.why for d in DIFFERENCES)


def test_the_released_settings_are_nested_overrides():
    assert released("fcn8s_vgg16") == {
        "selection": {
            "resample": True,
            "extra_images": 1,
            "min_pixels": 1,
            "minimum_per_class": 0,
            "missing_classes": "trust",
        },
        "threshold": {"constant_entropy": "nan", "estimator": "at_rank"},
        "patches": {"reliability": "bilinear"},
        "retraining": {"empty_patch": "nan", "carry_optimizer": True},
    }


def test_two_of_them_are_about_deeplab_alone():
    deeplab = released("deeplabv2_resnet101")
    assert deeplab["network"] == {"classifier_branches": 2}
    assert deeplab["retraining"]["focal"] == {"over": "mean"}
    assert ours("deeplabv2_resnet101")["network"] == {"classifier_branches": 4}


@pytest.mark.parametrize("network", ["compact", "fcn8s_vgg16", "deeplabv2_resnet101", "segformer"])
def test_both_sides_set_the_same_keys(network):
    def keys(settings: dict, path: str = "") -> set[str]:
        return {
            key
            for name, value in settings.items()
            for key in (
                keys(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}"}
            )
        }

    assert keys(ours(network)) == keys(released(network))


def test_it_imports_neither_numpy_nor_torch():
    program = (
        "import sys, scalewise.compatibility; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    )
    library = str(Path(scalewise.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": library}, check=True
    )
