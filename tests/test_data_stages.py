"""The scans and the check within the workflow: real folders, each in its own layout."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from scalewise import config
from scalewise.data.index import content_hash, read_index
from scalewise.plan import DataFiles, Plan
from scalewise.taxonomy import CITYSCAPES
from scalewise.workflow import DEFAULT_CONFIG, load_plan
from test_scan import colours, save, save_wide
from workflow_runs import snakemake

IDS = np.array([[7, 7, 26], [23, 0, 11]], np.uint8)
CITY = "leftImg8bit/val/ulm/ulm_0{}_leftImg8bit.png"
CITY_LABEL = "gtFine/val/ulm/ulm_0{}_gtFine_labelTrainIds.png"


@pytest.fixture
def data(tmp_path):
    """SYNTHIA with labels of both encodings, GTA5 and Cityscapes, three images of each."""
    for k in range(3):
        save(tmp_path / f"syn/RGB/{k}.png", colours(k))
        write = save if k else save_wide
        write(tmp_path / f"syn/labels/{k}.png", np.array([[3, 3, 8], [1, 0, 22]], np.uint8))
        save(tmp_path / f"gta/images/{k}.png", colours(k + 3))
        save(tmp_path / "city" / CITY.format(k), colours(k + 6))
        train_ids = np.array([[0, 0, 13], [10, 255, 2]], np.uint8)
        save(tmp_path / "city" / CITY_LABEL.format(k), train_ids)
        palette = Image.fromarray(IDS).convert("P")
        palette.putdata(IDS.ravel().tolist())
        (tmp_path / "gta/labels").mkdir(parents=True, exist_ok=True)
        palette.save(tmp_path / f"gta/labels/{k}.png")
    return tmp_path


def settings(root, **data):
    return {
        "project": "formats",
        "selection": {"minimum_per_class": 1},
        "data": {
            "root": str(root),
            "source": {"format": "synthia", "root": "syn", "labels": "labels"},
            "target": {"format": "gta5", "root": "gta"},
            "validation": {
                "format": "cityscapes", "root": "city", "split": "val", "labels": "labelTrainIds",
            },
            "size": [16, 16],
            **data,
        },
    }  # fmt: skip


def write(path, content):
    path.write_text(yaml.safe_dump(content))
    return path


def stages(plan, name):
    """Beginning of what they look at -> stage."""
    found = [s for s in plan.stages.values() if s.name == name]
    return {s.what.split()[3]: s for s in found}


def test_each_format_is_scanned_through_the_workflow_and_what_is_left_out_is_told(data, tmp_path):
    save(data / "syn/RGB/1.png", np.full((2, 3, 3), 5, np.uint8))
    run = tmp_path / "run"
    run.mkdir()
    file = write(tmp_path / "mine.yaml", settings(data, on_problem="skip"))
    status, printed = snakemake(run, "--", "data", config=file)
    assert status == 0, printed
    verdict = next(run.glob("results/check_data/*/verdict.txt")).read_text().splitlines()
    assert verdict[0] == "fit for use" and "the source images" in verdict[1]
    assert "1 of the files is left out" in verdict[1]
    assert verdict[2] == "the source set has no terrain, truck, train: they are not learned"
    assert all("no label holds a pixel of" in line for line in verdict[3:]) and len(verdict) == 5
    assert all(line in printed for line in verdict[1:])

    tables = {}
    for path in run.glob("results/scan_labels/*/labels.csv"):
        table = pd.read_csv(path, dtype={"ids": str, "id": str})
        tables["syn" if "labels/" in table.path[0] else "city"] = table
    assert list(tables["syn"].id) == ["0", "2"] and list(tables["city"].id) == [
        f"ulm/ulm_0{k}" for k in range(3)
    ]
    assert list(tables["syn"]["mode"]) == ["RGB;16", "L"]
    assert set(tables["syn"].ids) == {"0 1 3 8 22"} and set(tables["city"].ids) == {"0 2 10 13 255"}
    for table in tables.values():
        assert list(table["pixels: road"]) == [2] * len(table)
        assert list(table["pixels: car"]) == list(table["pixels: sky"]) == [1] * len(table)
    assert not list(run.glob("results/scan_labels/*/labels.csv"))[2:]  # none of the target

    # stop at it instead: the run ends with the file's name, and says how to go on
    file = write(tmp_path / "mine.yaml", settings(data))
    status, printed = snakemake(run, "--", "data", config=file)
    assert status != 0
    assert f"{data}/syn/RGB/1.png: is blank (one colour throughout)" in printed
    assert "data.on_problem: skip leaves it out" in printed and "Traceback" not in printed


def test_the_star_rule_finds_labels_in_a_parallel_tree(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for town in ("ulm", "bonn"):
        save(data / f"own/{town}/rgb/1.png", colours(1))
        save(data / f"own/{town}/label/1.png", IDS)
    folder = {
        "format": "folder", "root": "own", "images": "*/rgb/*.png", "labels": "*/label/*.png",
        "id_to_class": {0: "ignore", 7: "road", 11: "building", 23: "sky", 26: "car"},
    }  # fmt: skip
    plan = load_plan([write(tmp_path / "mine.yaml", settings(data, source=folder))])
    scanned = stages(plan, "scan_labels")["source"]
    files = read_index(scanned.locations["label_index"])
    assert {path: file.hash for path, file in files.items()} == {
        f"{town}/label/1.png": content_hash(data / f"own/{town}/label/1.png")
        for town in ("ulm", "bonn")
    }


def made(tmp_path, **data):
    path = write(tmp_path / "plan.yaml", settings("/nowhere", **data))
    project = config.load([DEFAULT_CONFIG, path])
    files = DataFiles("d", "d", "i", "l")
    return Plan(project, lambda stage: "c", lambda layout, labels: files, lambda path: "w")


def test_what_a_scan_is_to_do_stands_in_its_settings(tmp_path):
    plan = made(tmp_path)
    source = stages(plan, "scan_labels")["source"].settings
    assert source["format"] == "synthia" and source["labels"] == "labels/{id}.png"
    assert source["label_ids"]["21"] == 3
    assert source["declared"] == list(CITYSCAPES.subsets["16 classes"])
    told = plan.check.settings
    assert told["on_problem"] == "stop"
    assert told["warnings"] == ["the source set has no terrain, truck, train: they are not learned"]
    # the default's rows select alike: one rule, told with the smallest portion
    assert [s["portion"] for s in told["selections"]] == [0.3]
    scans = [s for s in plan.stages.values() if s.name in ("scan_images", "scan_labels")]
    assert plan.check.locations.keys() == {"selection 0", *(s.key for s in scans)}


def test_leaving_out_what_was_found_scans_and_trains_nothing_anew(tmp_path):
    before, after = made(tmp_path), made(tmp_path, on_problem="skip")
    assert {name for name, _ in set(before.stages) ^ set(after.stages)} == {"check_data", "report"}
