"""A user's own folders of images, through the whole workflow."""

import json
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from workflow_runs import finished, jobs, snakemake

NAMES = ["sky", "road", "car, or van"]
SIZE = (60, 80)


def write_set(root, count, seed, labels=True):
    """A set of made-up scenes: sky over road with a box on it; ids 5, 6, 7, void 0."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        ids = np.full(SIZE, 5, np.uint8)
        ids[generator.integers(20, 35) :] = 6
        top, left = generator.integers(20, 40), generator.integers(5, 55)
        ids[top : top + 16, left : left + 20] = 7
        ids[0, 0] = 0
        colors = np.array([[0, 0, 0]] * 5 + [[120, 160, 220], [90, 90, 90], [180, 30, 30]])
        pixels = np.clip(colors[ids] + generator.normal(0, 12, (*SIZE, 3)), 0, 255)
        # names that a shell or a formatter would trip over
        path = root / "images" / f"a {{b}} 'c' ü {number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        if labels:
            path = root / "labels" / path.name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids).save(path)


def configuration(root):
    ids = {0: "ignore", 5: "sky", 6: "road", 7: "car, or van"}

    def folder(name, labels=True):
        content = {"format": "folder", "root": name, "images": "images/*.png"}
        if labels:
            content.update(labels="labels/{id}.png", id_to_class=ids)
        return content

    return {
        "project": "own $folders; 'quoted' {braces} ü",
        "data": {
            "root": str(root),
            "classes": [{"name": n, "color": [9 * i, 90, 30]} for i, n in enumerate(NAMES)],
            "size": [48, 64],
            "source": folder("the source"),
            "target": folder("the target", labels=False),
            "validation": folder("checked"),
        },
        "network": {"width": 8},
        "source_training": {"steps": 20, "batch": 4},
        "rounds": {"portions": [1.0]},
        "selection": {"minimum_per_class": 1},
        "patches": {"per_image": 1, "claim_images": 2},
        "retraining": {"epochs": 1, "target_batch": 2},
        "evaluation": {"pictures": 1},
        "experiments": [{"name": "it's {1} *row*", "role": "method"}],
        "resources": {"threads": 1},
    }


def save(path, content):
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "my data"
    write_set(root / "the source", 8, 1)
    write_set(root / "the target", 6, 2, labels=False)
    write_set(root / "checked", 3, 3)
    return root


def test_own_folders_run_to_the_report_and_rerun_exactly_what_reads_a_changed_file(data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    config = configuration(data)
    file = save(tmp_path / "own.yaml", config)
    status, printed = snakemake(run, config=file)
    assert status == 0, printed
    place = run / "results/report" / config["project"]
    assert "car, or van" in (place / "index.html").read_text(encoding="utf-8")
    assert '"car, or van"' in (place / "per_class_iou.csv").read_text(encoding="utf-8")
    link = run / "results/experiments" / config["project"] / config["experiments"][0]["name"]
    assert (link / "seed0/round1/retrain/model.safetensors").is_file()

    # another place for the same files: nothing to do
    moved = data.rename(tmp_path / "elsewhere")
    save(file, configuration(moved))
    status, printed = snakemake(run, config=file)
    assert status == 0 and "Nothing to be done" in printed

    # one validation label: scanned, checked, evaluated, reported; nothing trained
    label = sorted((moved / "checked/labels").iterdir())[0]
    ids = np.array(Image.open(label))
    ids[:5] = 7
    Image.fromarray(ids).save(label)
    before = finished(run)
    status, printed = snakemake(run, config=file)
    assert status == 0, printed
    assert jobs(printed) == {
        "scan_labels": 1,
        "check_data": 1,
        "evaluate": 2,
        "report": 1,
        "all": 1,
    }
    assert before < finished(run)

    # one target image: all that looks at the target runs again, source training does not
    image = sorted((moved / "the target/images").iterdir())[0]
    Image.fromarray(np.array(Image.open(image)) // 2).save(image)
    status, printed = snakemake(run, "-n", config=file)
    assert status == 0
    assert "scoring the target images" in printed and "retraining" in printed
    assert "training on the source" not in printed

    for settings in (run / "results").glob("*/*/settings.json"):
        content = json.loads(settings.read_text())
        assert content["stage"] == settings.parent.parent.name.replace("reports", "report")
        assert "the target/labels" not in json.dumps(content)


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (
            lambda root: Image.fromarray(np.full(SIZE, 9, np.uint8)).save(
                root / "the source/labels/a {b} 'c' ü 3.png"
            ),
            "a {b} 'c' ü 3.png: holds label id 9",
        ),
        (
            lambda root: os.remove(root / "checked/labels/a {b} 'c' ü 1.png"),
            "checked/labels/a {b} 'c' ü 1.png",
        ),
        (
            lambda root: (root / "the target/images/a {b} 'c' ü 0.png").write_bytes(b"\x89PNG\r\n"),
            "the target/images/a {b} 'c' ü 0.png",
        ),
    ],
    ids=["an id that the map lacks", "an image without label", "a damaged image"],
)
def test_a_problem_in_the_data_stops_before_training_with_one_message(
    data, tmp_path, break_it, expected
):
    break_it(data)
    run = tmp_path / "run"
    run.mkdir()
    status, printed = snakemake(run, config=save(tmp_path / "own.yaml", configuration(data)))
    assert status != 0
    # said when it happens, and again below the engine's own lines
    assert expected in printed.split("Error in rule")[0]
    assert expected in printed.split("Error in rule")[1]
    assert "Traceback" not in printed
    assert not (run / "results/train_source").exists()
    stages = {stage for stage, _ in finished(run)}
    assert stages <= {"scan_images", "scan_labels"}
