"""The scans: each problem names the file and what to do, before anything is trained."""

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scalewise.artifacts import table
from scalewise.artifacts.images_csv import ImageRow
from scalewise.artifacts.labels_csv import LabelRow
from scalewise.artifacts.problems_csv import Problem
from scalewise.data import listing, scan
from scalewise.data.index import content_hash, find_images, index_files
from scalewise.data.scan import scan_images, scan_labels
from scalewise.errors import UserError

IDS = {"0": 0, "7": 1, "255": 255}
CLASSES = ["road", "sky"]


@pytest.fixture
def folder(tmp_path):
    """Two images of 3 x 2 pixels with their labels."""
    for k in "12":
        save(tmp_path / f"images/{k}.png", np.full((2, 3, 3), 9, np.uint8))
        save(tmp_path / f"labels/{k}.png", np.array([[0, 7, 7], [7, 255, 255]], np.uint8))
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def hashes(root, folder="images"):
    return {
        path: content_hash(root / path) if os.path.exists(root / path) else ""
        for path in find_images(root, f"{folder}/*.png")
    }


def images_of(root, expected=None):
    return scan_images(str(root), expected or hashes(root), "images/*.png", threads=2)


def labels_of(root, expected=None, label_ids=IDS):
    rows = images_of(root)[0]
    return scan_labels(
        str(root), rows, "labels/{id}.png", expected or hashes(root, "labels"), label_ids, CLASSES
    )


def only_problem(result):
    rows, problems = result
    assert [row.id for row in rows] == ["2"] and len(problems) == 1
    assert problems[0].verdict == "stop" and "\n" not in problems[0].problem
    return problems[0]


def test_good_images_and_labels_have_a_row_each(folder):
    rows, problems = images_of(folder)
    assert problems == []
    assert rows == [
        ImageRow(k, f"images/{k}.png", 3, 2, content_hash(folder / f"images/{k}.png")) for k in "12"
    ]
    rows, problems = labels_of(folder)
    assert problems == []
    assert rows == [
        LabelRow(k, f"labels/{k}.png", 3, 2, content_hash(folder / f"labels/{k}.png"), 2, (1, 3))
        for k in "12"
    ]


def test_every_file_is_counted_once_in_the_progress(folder):
    seen = []
    scan_images(str(folder), hashes(folder), "images/*.png", 2, lambda: seen.append(1))
    assert len(seen) == 2


def test_an_image_that_is_cut_short_is_named(folder):
    path = folder / "images/1.png"
    path.write_bytes(path.read_bytes()[:-28])
    problem = only_problem(images_of(folder))
    assert problem.file == str(path)
    assert problem.problem.startswith(("cannot be decoded", "not an image"))
    assert problem.problem.endswith(": replace or remove it")


def test_a_text_file_among_the_images_is_named(folder):
    (folder / "images/1.png").write_text("hello")
    assert only_problem(images_of(folder)) == Problem(
        str(folder / "images/1.png"), "not an image, or cut short: replace or remove it"
    )


def test_an_image_that_changed_or_went_since_the_run_began_is_named(folder):
    expected = hashes(folder)
    save(folder / "images/1.png", np.zeros((2, 3, 3), np.uint8))
    assert only_problem(images_of(folder, expected)).problem == (
        "changed since the run began: start again"
    )
    (folder / "images/1.png").unlink()
    assert only_problem(images_of(folder, expected)).problem == (
        "the file is gone: start again, so that the set is read anew"
    )


def test_a_link_to_nothing_is_named(folder):
    (folder / "images/1.png").unlink()
    (folder / "images/1.png").symlink_to("gone.png")
    assert only_problem(images_of(folder)) == Problem(
        str(folder / "images/1.png"), "is a link to a file that is not there: restore or remove it"
    )


def test_a_name_that_is_no_text_is_named(folder):
    try:
        shutil.copy(folder / "images/1.png", os.fsencode(folder) + b"/images/\xff.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    rows, problems = images_of(folder)
    assert [row.id for row in rows] == ["1", "2"]
    assert problems == [Problem(f"{folder}/images/\\xff.png", "its name is not UTF-8: rename it")]
    problems[0].file.encode()


def test_an_image_without_label_is_named_with_the_label_that_was_looked_for(folder):
    (folder / "labels/1.png").unlink()
    wanted = Problem(
        str(folder / "images/1.png"),
        f"has no label: {folder}/labels/1.png does not exist; add it, or remove the image",
    )
    assert only_problem(labels_of(folder)) == wanted
    assert only_problem(labels_of(folder, {**hashes(folder, "labels"), "labels/1.png": ""})) == (
        wanted
    )


def test_a_label_id_that_is_not_declared_is_named_with_its_file(folder):
    save(folder / "labels/1.png", np.array([[0, 3, 200], [7, 7, 7]], np.uint8))
    assert only_problem(labels_of(folder)) == Problem(
        str(folder / "labels/1.png"),
        "holds label id 3, 200, which the id map does not declare: add it to id_to_class (or map "
        "it to ignore)",
    )


def test_of_many_undeclared_ids_the_first_eight_are_listed(folder):
    save(folder / "labels/1.png", np.arange(20, 50, dtype=np.uint8).reshape(5, 6))
    assert "label id 20, 21, 22, 23, 24, 25, 26, 27, ..., which" in (
        only_problem(labels_of(folder)).problem
    )


def test_a_label_of_another_size_is_named_with_both_sizes(folder):
    save(folder / "labels/1.png", np.zeros((4, 5), np.uint8))
    assert only_problem(labels_of(folder)) == Problem(
        str(folder / "labels/1.png"),
        "is 5 x 4 pixels, its image 3 x 2: replace or remove the pair",
    )


def test_a_label_of_colours_is_named(folder):
    save(folder / "labels/1.png", np.zeros((2, 3, 3), np.uint8))
    assert only_problem(labels_of(folder)) == Problem(
        str(folder / "labels/1.png"),
        "holds colours (mode RGB), not class ids; convert it to one channel: replace it",
    )


def test_a_label_that_is_cut_short_is_named(folder):
    path = folder / "labels/1.png"
    path.write_bytes(path.read_bytes()[:40])
    problem = only_problem(labels_of(folder))
    assert problem.file == str(path) and problem.problem.endswith(": replace it")


def test_a_label_that_is_a_folder_is_named(folder):
    (folder / "labels/1.png").unlink()
    (folder / "labels/1.png").mkdir()
    expected = {**hashes(folder, "labels"), "labels/1.png": "unreadable"}
    assert only_problem(labels_of(folder, expected)) == Problem(
        str(folder / "labels/1.png"),
        "cannot be read (Is a directory): check what it is and who may read",
    )


def test_a_label_that_changed_since_the_run_began_is_named(folder):
    expected = hashes(folder, "labels")
    save(folder / "labels/1.png", np.zeros((2, 3), np.uint8))
    assert "start again" in only_problem(labels_of(folder, expected)).problem


def test_labels_that_are_all_ignored_stop_the_run(folder):
    rows, problems = labels_of(folder, label_ids={"0": 255, "7": 255, "255": 255})
    assert len(rows) == 2
    assert problems == [
        Problem(str(folder), "its labels hold no pixel of any class: is the id map right?")
    ]


def test_one_label_with_a_class_is_enough(folder):
    save(folder / "labels/1.png", np.full((2, 3), 255, np.uint8))
    rows, problems = labels_of(folder)
    assert problems == [] and [row.pixels for row in rows] == [(0, 0), (1, 3)]


def test_an_interrupt_does_not_wait_for_the_rest():
    looked = []

    def look(number):
        time.sleep(0.001)
        looked.append(number)

    def advance():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan._each(look, range(1000), 2, advance)
    assert len(looked) < 500


# --- what the scans are given ---------------------------------------------------------------------


def job(locations, drawn=None, digest=None):
    return SimpleNamespace(
        contents={"images": digest, "labels": digest},
        locations={k: str(v) for k, v in locations.items()},
        has_input=lambda role: role == "drawn" and drawn is not None,
        input=lambda role: drawn,
    )


def test_a_drawn_set_lists_its_own_files(tmp_path):
    names = {
        "leftImg8bit/train/street/s_1_leftImg8bit.png": "a",
        "leftImg8bit/train/s_2_leftImg8bit.png": "b",
        "leftImg8bit/val/street/s_3_leftImg8bit.png": "c",
        "gtFine/train/street/s_1_gtFine_labelIds.png": "d",
    }
    table.write(tmp_path / "files.csv", ["path", "hash"], names.items())
    pattern = "leftImg8bit/train/**/*_leftImg8bit.png"
    found = listing.image_hashes(job({}, tmp_path / "files.csv"), pattern)
    assert list(found.values()) == ["a", "b"]
    assert listing.label_hashes(job({}, tmp_path / "files.csv")) == names


def test_files_that_came_or_went_since_the_index_stop_the_scan(folder, monkeypatch):
    monkeypatch.chdir(folder)
    pattern = "images/*.png"
    found = index_files(folder, find_images(folder, pattern), "images")
    places = {"root": folder, "image_index": found.path, "label_index": found.path}
    here = job(places, digest=found.digest)
    assert listing.image_hashes(here, pattern) == found.files
    assert listing.label_hashes(here) == found.files
    save(folder / "images/3.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(UserError, match="came or went since the run began: start again"):
        listing.image_hashes(here, pattern)


def test_an_index_written_anew_since_the_plan_was_made_stops_the_scan(folder, monkeypatch):
    monkeypatch.chdir(folder)
    pattern = "images/*.png"
    found = index_files(folder, find_images(folder, pattern), "images")
    places = {"root": folder, "image_index": found.path, "label_index": found.path}
    planned = job(places, digest=found.digest)
    save(folder / found_name(found), np.full((2, 3, 3), 77, np.uint8))
    index_files(folder, find_images(folder, pattern), "images")
    for read in (
        lambda: listing.image_hashes(planned, pattern),
        lambda: listing.label_hashes(planned),
    ):
        with pytest.raises(UserError, match="changed since the run began: start again"):
            read()


def found_name(index):
    """Some file of an index."""
    return next(iter(index.files))


def test_a_link_to_nothing_is_left_to_the_scan(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "images/3.png").symlink_to("gone.png")
    found = index_files(folder, find_images(folder, "images/*.png"), "images")
    here = job({"root": folder, "image_index": found.path}, digest=found.digest)
    assert listing.image_hashes(here, "images/*.png")["images/3.png"] == ""
    assert json.loads(Path(found.path).read_text())["files"]["images/3.png"][3] == ""
