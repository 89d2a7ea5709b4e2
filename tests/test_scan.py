"""The scans: each problem names the file and what to do, before anything is trained."""

import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from scalewise.artifacts import table
from scalewise.artifacts.images_csv import ImageRow
from scalewise.artifacts.labels_csv import LabelRow
from scalewise.artifacts.problems_csv import Problem
from scalewise.data import fact_store, listing, reading, scan
from scalewise.data.facts import image_facts
from scalewise.data.index import Expected, content_hash, find_images, index_files, stamp
from scalewise.data.scan import Findings, scan_images, scan_labels
from scalewise.errors import UserError

IDS = {"0": 0, "7": 1, "255": 255}
CLASSES = ["road", "sky"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The facts of a test's files are stored in a folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    """Two images of 3 x 2 pixels with their labels."""
    for k in "12":
        save(tmp_path / f"images/{k}.png", colours(int(k)))
        save(tmp_path / f"labels/{k}.png", np.array([[0, 7, 7], [7, 255, 255]], np.uint8))
    return tmp_path


def colours(seed, size=(2, 3)):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_wide(path, red):
    """A png of 16-bit colours as SYNTHIA's labels are: class in red, instance in green."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blue, green = np.zeros_like(red, np.uint16), np.full_like(red, 300, np.uint16)
    assert cv2.imwrite(str(path), np.dstack([blue, green, red.astype(np.uint16)]))


def hashes(root, folder="images", stamped=False):
    return {
        path: Expected(
            content_hash(root / path) if os.path.exists(root / path) else "",
            stamp(root / path) if stamped else None,
        )
        for path in find_images(root, f"{folder}/*.*")
    }


def images_of(root, expected=None):
    findings = Findings()
    expected = hashes(root) if expected is None else expected
    rows = list(scan_images(str(root), expected, "images/*.png", findings, threads=2))
    return rows, findings.problems


def labels_of(
    root, expected=None, label_ids=IDS, kind="folder", pattern="labels/{id}.png",
    declared=CLASSES,
):  # fmt: skip
    findings = Findings()
    rows = scan_labels(
        str(root),
        images_of(root)[0],
        ("images/*.png", pattern),
        hashes(root, "labels") if expected is None else expected,
        kind,
        label_ids,
        CLASSES,
        declared,
        findings,
        threads=2,
    )
    return list(rows), findings.problems


def only_problem(result, left=("2",)):
    rows, problems = result
    assert [row.id for row in rows] == list(left) and len(problems) == 1
    assert "\n" not in problems[0].problem
    return problems[0]


def test_good_images_and_labels_have_a_row_each(folder):
    rows, problems = images_of(folder)
    assert problems == []
    assert rows == [
        ImageRow(k, f"images/{k}.png", 3, 2, content_hash(folder / f"images/{k}.png"), "RGB")
        for k in "12"
    ]
    rows, problems = labels_of(folder)
    assert problems == []
    assert rows == [
        LabelRow(
            k, f"labels/{k}.png", 3, 2, content_hash(folder / f"labels/{k}.png"), 2, (1, 3), "L",
            (0, 7, 255),
        )
        for k in "12"
    ]  # fmt: skip


def test_every_file_is_counted_once_in_the_progress(folder):
    (folder / "labels/1.png").unlink()
    shutil.copy(folder / "images/1.png", os.fsencode(folder) + b"/images/\xff.png")
    seen = []

    def count():
        seen.append(1)

    rows = list(scan_images(
        str(folder), hashes(folder), "images/*.png", Findings(), 2, count
    ))  # fmt: skip
    assert len(seen) == 3
    patterns = ("images/*.png", "labels/{id}.png")
    expected = hashes(folder, "labels")
    list(scan_labels(
        str(folder), rows, patterns, expected, "folder", IDS, CLASSES, CLASSES, Findings(),
        2, count,
    ))  # fmt: skip
    assert len(seen) == 5


def test_rows_come_in_the_order_of_ids_however_many_files_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "BATCH", 3)
    names = ["b/1", "a", "a/z", "a-b", "c", "10", "2"]
    for k, name in enumerate(names):
        save(tmp_path / f"images/{name}.png", colours(k))
    expected = {
        f"images/{n}.png": Expected(content_hash(tmp_path / f"images/{n}.png")) for n in names
    }
    rows = list(scan_images(str(tmp_path), expected, "images/**/*.png", Findings(), 2))
    assert [row.id for row in rows] == sorted(names)


# --- files that may be left out -------------------------------------------------------------------


def left_out(file, text):
    return Problem(str(file), text, "skip")


def test_an_image_that_is_cut_short_is_named(folder):
    path = folder / "images/1.png"
    path.write_bytes(path.read_bytes()[:-28])
    problem = only_problem(images_of(folder))
    assert problem.file == str(path) and problem.verdict == "skip"
    assert problem.problem.startswith(("cannot be decoded", "not an image"))
    assert ": replace or remove it" in problem.problem


def test_a_text_file_among_the_images_is_named(folder):
    (folder / "images/1.png").write_text("hello")
    assert only_problem(images_of(folder)) == left_out(
        folder / "images/1.png", "not an image, or cut short: replace or remove it"
    )


def test_an_image_of_too_many_pixels_is_named_with_its_size_and_the_limit(folder, monkeypatch):
    monkeypatch.setattr(reading, "MAX_PIXELS", 5)
    for problem, k in zip(images_of(folder)[1], "12", strict=False):
        assert problem == left_out(
            folder / f"images/{k}.png",
            "has 3 x 2 pixels; at most 5 are read: replace or remove it",
        )


def test_a_file_of_too_many_bytes_is_named_and_not_read(folder):
    expected = hashes(folder)
    with open(folder / "images/1.png", "r+b") as file:
        file.truncate(reading.MAX_BYTES + 1)  # takes no room on disk
    assert only_problem(images_of(folder, expected)) == left_out(
        folder / "images/1.png",
        "has 1,073,741,825 bytes; at most 1,073,741,824 are read: replace or remove it",
    )


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_pipe_or_a_device_is_neither_waited_for_nor_read_for_ever(folder, make):
    (folder / "images/1.png").unlink()
    make(folder / "images/1.png")
    found = index_files(folder, ["images/1.png", "images/2.png"], "x").files
    assert found["images/1.png"] == "unreadable"
    expected = {path: Expected(value) for path, value in found.items()}
    problem = only_problem(images_of(folder, expected))
    assert problem.file == str(folder / "images/1.png") and problem.verdict == "stop"
    assert "no ordinary file" in problem.problem


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_blank_image_is_named_whatever_its_mode(folder, mode):
    Image.new("RGB", (3, 2), (9, 9, 9)).convert(mode).save(folder / "images/1.png")
    assert only_problem(images_of(folder)) == left_out(
        folder / "images/1.png",
        "is blank (one colour throughout): replace or remove it",
    )


def test_an_image_with_a_single_other_pixel_is_not_blank(folder):
    pixels = np.full((2, 3, 3), 9, np.uint8)
    pixels[1, 2, 2] = 10
    save(folder / "images/1.png", pixels)
    assert [row.id for row in images_of(folder)[0]] == ["1", "2"]


def test_a_link_to_nothing_is_named(folder):
    (folder / "images/1.png").unlink()
    (folder / "images/1.png").symlink_to("gone.png")
    assert only_problem(images_of(folder)) == left_out(
        folder / "images/1.png",
        "is a link to a file that is not there: restore or remove it",
    )


def test_a_name_that_is_no_text_is_named(folder):
    try:
        shutil.copy(folder / "images/1.png", os.fsencode(folder) + b"/images/\xff.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    problem = only_problem(images_of(folder), left="12")
    assert problem == left_out(f"{folder}/images/\\xff.png", "its name is not UTF-8: rename it")
    problem.file.encode()


def test_an_image_without_label_is_named_with_the_label_that_was_looked_for(folder):
    (folder / "labels/1.png").unlink()
    wanted = left_out(
        folder / "images/1.png",
        f"has no label: {folder}/labels/1.png does not exist; add it, or remove the image",
    )
    assert only_problem(labels_of(folder)) == wanted
    missing = {**hashes(folder, "labels"), "labels/1.png": Expected("")}
    assert only_problem(labels_of(folder, missing)) == wanted


def test_a_label_of_another_size_is_named_with_both_sizes(folder):
    save(folder / "labels/1.png", np.zeros((4, 5), np.uint8))
    assert only_problem(labels_of(folder)) == left_out(
        folder / "labels/1.png",
        "is 5 x 4 pixels, its image 3 x 2: replace or remove the pair",
    )


def test_a_label_that_is_cut_short_is_named(folder):
    path = folder / "labels/1.png"
    path.write_bytes(path.read_bytes()[:40])
    problem = only_problem(labels_of(folder))
    assert (problem.file, problem.verdict) == (str(path), "skip")
    assert ": replace or remove it" in problem.problem


SYNTHIA = {str(i): {3: 0, 1: 1}.get(i, 255) for i in range(23)}


@pytest.mark.parametrize("write", [save, save_wide])
def test_a_synthia_label_of_zeros_is_named(folder, write):
    save_wide(folder / "labels/2.png", np.array([[3, 1, 1], [0, 22, 3]]))
    write(folder / "labels/1.png", np.zeros((2, 3), np.uint8))
    assert only_problem(labels_of(folder, label_ids=SYNTHIA, kind="synthia")) == left_out(
        folder / "labels/1.png",
        "holds id 0 alone: its 16-bit colours were read as zeros when it was copied, or it is "
        "empty; replace it",
    )


def test_where_most_files_are_of_no_use_skipping_stops_too(folder):
    for k in "345":
        save(folder / f"images/{k}.png", colours(int(k)))
    for k in "12":
        (folder / f"images/{k}.png").write_text("hello")
    rows, problems = images_of(folder)
    assert len(rows) == 3 and {p.verdict for p in problems} == {"skip"}
    (folder / "images/3.png").write_text("hello")
    rows, problems = images_of(folder)
    assert len(rows) == 2
    assert problems[-1] == Problem(
        str(folder),
        "3 of 5 images are of no use (more than half): this is no accident of single files; see "
        "the list",
        "stop",
    )


def test_a_set_without_a_pair_left_stops_whatever_is_said(folder):
    shutil.rmtree(folder / "labels")
    rows, problems = labels_of(folder)
    assert rows == [] and [p.verdict for p in problems] == ["skip", "skip", "stop"]
    assert "2 of 2 labels are of no use (none is left)" in problems[-1].problem


# --- what leaving out a file would not mend -------------------------------------------------------


def stops(result, file, text, left=("2",)):
    assert only_problem(result, left) == Problem(str(file), text, "stop")


def test_an_image_that_changed_or_went_since_the_run_began_is_named(folder):
    expected = hashes(folder)
    path = folder / "images/1.png"
    save(path, np.zeros((2, 3, 3), np.uint8))
    stops(images_of(folder, expected), path, "changed since the run began: start again")
    path.unlink()
    stops(
        images_of(folder, expected),
        path,
        "the file is gone: start again, so that the set is read anew",
    )


def test_a_label_id_that_is_not_declared_is_named_with_its_file(folder):
    save(folder / "labels/1.png", np.array([[0, 3, 200], [7, 7, 7]], np.uint8))
    stops(
        labels_of(folder),
        folder / "labels/1.png",
        "holds label id 3, 200, which the id map does not declare: add it to id_to_class (or map "
        "it to ignore)",
    )
    stops(
        labels_of(folder, kind="cityscapes"),
        folder / "labels/1.png",
        "holds label id 3, 200, which cityscapes labels do not have: is the format right?",
    )


@pytest.mark.parametrize("write", [save, save_wide])
def test_ids_above_those_of_synthia_are_named(folder, write):
    save_wide(folder / "labels/2.png", np.array([[3, 1, 1], [0, 22, 3]]))
    write(folder / "labels/1.png", np.array([[3, 23, 33], [0, 0, 0]], np.uint8))
    stops(
        labels_of(folder, label_ids=SYNTHIA, kind="synthia"),
        folder / "labels/1.png",
        "holds label id 23, 33, and SYNTHIA's go up to 22: if it was mapped to other ids say "
        "format: folder, with an id_to_class",
    )


def test_of_many_undeclared_ids_the_first_eight_are_listed(folder):
    save(folder / "labels/1.png", np.arange(20, 26, dtype=np.uint8).reshape(2, 3))
    save(folder / "labels/2.png", np.arange(20, 50, dtype=np.uint8).reshape(5, 6))
    _, problems = labels_of(folder)
    assert "label id 20, 21, 22, 23, 24, 25, which" in problems[0].problem
    assert "label id 20, 21, 22, 23, 24, 25, 26, 27, ..., which" in problems[1].problem


def test_labels_that_a_jpeg_changed_are_told_so(folder):
    for k in "12":
        ids = np.kron(np.array([[0, 255]], np.uint8), np.ones((40, 37), np.uint8))
        save(folder / f"labels/{k}.jpg", ids)
    _, problems = labels_of(
        folder, label_ids={"0": 0, "255": 1}, pattern="labels/{id}.jpg", declared=[]
    )
    assert [p.verdict for p in problems] == ["stop", "stop"]
    assert problems[0].problem.endswith("JPEG changes ids: labels need a format without loss, such "
                                        "as png")  # fmt: skip


def test_a_label_of_colours_is_named(folder):
    save(folder / "labels/1.png", np.full((2, 3, 3), 7, np.uint8))
    stops(
        labels_of(folder),
        folder / "labels/1.png",
        "holds colours (mode RGB), not class ids; convert it to one channel: replace or remove it",
    )


@pytest.mark.parametrize("kind", ["folder", "synthia"])
def test_16_bit_labels_that_a_program_made_zeros_of_are_named_as_such(folder, kind):
    if kind == "synthia":
        save_wide(folder / "labels/2.png", np.array([[3, 1, 1], [0, 22, 3]]))
    save(folder / "labels/1.png", np.zeros((2, 3, 3), np.uint8))
    stops(
        labels_of(folder, label_ids=SYNTHIA if kind == "synthia" else IDS, kind=kind),
        folder / "labels/1.png",
        "holds zeros alone, as colours (mode RGB): this is what becomes of SYNTHIA's 16-bit labels "
        "in most programs; use the original with format: synthia: replace or remove it",
    )


@pytest.mark.parametrize("kind", ["folder", "cityscapes"])
def test_a_label_of_16_bit_colours_that_is_not_said_to_be_synthias_is_named(folder, kind):
    save_wide(folder / "labels/1.png", np.array([[0, 7, 7], [7, 255, 255]]))
    stops(
        labels_of(folder, kind=kind),
        folder / "labels/1.png",
        "is a png of 16-bit colours, which most programs read as zeros: if these are SYNTHIA's "
        "labels say format: synthia, else convert it to one channel of ids",
    )


def test_a_label_that_is_a_folder_is_named(folder):
    (folder / "labels/1.png").unlink()
    (folder / "labels/1.png").mkdir()
    (folder / "labels/1.png/x.txt").write_text("x")
    expected = {**hashes_of_files(folder), "labels/1.png": Expected("unreadable")}
    stops(
        labels_of(folder, expected),
        folder / "labels/1.png",
        "cannot be read (Is a directory): check what it is and who may read",
    )


def hashes_of_files(folder):
    return {"labels/2.png": Expected(content_hash(folder / "labels/2.png"))}


def test_a_label_that_changed_since_the_run_began_is_named(folder):
    expected = hashes(folder, "labels")
    save(folder / "labels/1.png", np.zeros((2, 3), np.uint8))
    assert "start again" in only_problem(labels_of(folder, expected)).problem


def test_two_images_that_share_a_label_are_named_both(folder):
    for name in ("a/1_2x3", "a/1x2_3"):
        save(folder / f"images/{name}.png", colours(5))
    save(folder / "labels/1x2x3.png", np.zeros((2, 3), np.uint8))
    rows = [ImageRow(n, f"images/a/{n}.png", 3, 2, "") for n in ("1_2x3", "1x2_3")]
    findings = Findings()
    patterns = ("images/a/*_*.png", "labels/*x*.png")
    found = list(
        scan_labels(
            str(folder), rows, patterns, hashes(folder, "labels"), "folder", IDS, CLASSES, [],
            findings,
        )
    )  # fmt: skip
    assert [row.id for row in found] == ["1_2x3"]
    assert findings.problems == [
        Problem(
            f"{folder}/images/a/1x2_3.png",
            f"has the same label as {folder}/images/a/1_2x3.png: {folder}/labels/1x2x3.png",
            "stop",
        )
    ]


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


def test_a_class_that_is_declared_and_found_in_no_label_is_told_and_stops_nothing(folder):
    for k in "12":
        save(folder / f"labels/{k}.png", np.zeros((2, 3), np.uint8))
    rows, problems = labels_of(folder)
    assert len(rows) == 2
    assert problems == [Problem(str(folder), "no label holds a pixel of sky", "warn")]
    assert labels_of(folder, declared=["road"])[1] == []


def test_an_interrupt_does_not_wait_for_the_rest(tmp_path):
    files = {f"images/{k}.png": Expected("x") for k in range(1000)}
    looked = []

    def advance():
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scan, "hash_of", lambda content: looked.append(1))
        list(scan_images(str(tmp_path), files, "images/*.png", Findings(), 2, advance))
    assert len(looked) < 500 and threading.active_count() < 5


# --- encodings, through the scans -----------------------------------------------------------------

PIXELS = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)


def encoded(path, encoding):
    """Write `PIXELS` as a mask of two ids in an encoding; return which ids these are."""
    if encoding == "palette":
        image = Image.fromarray(PIXELS, mode=None).convert("P")
        image.putdata(PIXELS.ravel().tolist())
        image.putpalette([128, 64, 128, 244, 35, 232])
        image.save(path)
    elif encoding == "0 and 255":
        save(path, PIXELS * 255)
        return 0, 255
    elif encoding == "single bits":
        Image.fromarray(PIXELS * 255).convert("1").save(path)
    elif encoding == "16-bit grey":
        save(path, PIXELS.astype(np.uint16))
    else:
        save(path, PIXELS)
    return 0, 1


@pytest.mark.parametrize(
    ("encoding", "mode"),
    [("8-bit", "L"), ("palette", "P"), ("0 and 255", "L"), ("single bits", "1"),
     ("16-bit grey", "I;16")],
)  # fmt: skip
def test_a_mask_of_two_classes_is_counted_in_every_encoding(folder, encoding, mode):
    for k in "12":
        off, on = encoded(folder / f"labels/{k}.png", encoding)
    rows, problems = labels_of(folder, label_ids={str(off): 0, str(on): 1})
    assert problems == []
    assert [(r.mode, r.ids, r.pixels, r.ignored) for r in rows] == [
        (mode, (off, on), (2, 4), 0)
    ] * 2


def test_original_and_re_encoded_labels_of_synthia_are_told_apart_file_by_file(folder):
    ids = np.array([[3, 1, 1], [0, 22, 3]], np.uint8)
    save_wide(folder / "labels/1.png", ids)
    save(folder / "labels/2.png", ids)
    rows, problems = labels_of(folder, label_ids=SYNTHIA, kind="synthia")
    assert problems == []
    assert [r.mode for r in rows] == [reading.WIDE_COLOUR, "L"]
    assert [(r.ids, r.pixels, r.ignored) for r in rows] == [((0, 1, 3, 22), (2, 2), 2)] * 2


# --- what was scanned before ----------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch):
    """How many images and labels were decoded, and how many files were read."""
    counts = {"image": 0, "label": 0, "read": 0}
    for name in ("image", "label"):
        real = getattr(reading, f"decode_{name}")

        def counting(content, name=name, real=real):
            counts[name] += 1
            return real(content)

        monkeypatch.setattr(reading, f"decode_{name}", counting)
    real_hash = scan.hash_of

    def hashing(content):
        counts["read"] += 1
        return real_hash(content)

    monkeypatch.setattr(scan, "hash_of", hashing)

    def since():
        result = tuple(counts.values())
        counts.update(dict.fromkeys(counts, 0))
        return result

    return since


def everything(folder, **options):
    expected = hashes(folder, stamped=True)
    images = images_of(folder, expected)
    return images, labels_of(folder, hashes(folder, "labels", stamped=True), **options)


def test_a_second_scan_decodes_nothing_and_reads_nothing(folder, decoded):
    first = everything(folder)
    assert decoded() == (2, 2, 6)  # labels_of looks at the images once more, without their times
    assert everything(folder) == first
    assert decoded() == (0, 0, 2)


def test_files_whose_times_say_nothing_are_read_and_not_decoded(folder, decoded):
    images_of(folder)
    assert decoded() == (2, 0, 2)
    images_of(folder)
    assert decoded() == (0, 0, 2)


def test_another_map_or_further_files_decode_no_old_file_again(folder, decoded):
    everything(folder)
    decoded()
    rows, problems = everything(folder, label_ids={"0": 1, "7": 0, "255": 255})[1]
    assert decoded()[:2] == (0, 0) and [row.pixels for row in rows] == [(3, 1)] * 2
    assert problems == []
    save(folder / "images/3.png", colours(3))
    save(folder / "labels/3.png", np.array([[0, 7, 7], [7, 255, 0]], np.uint8))
    rows, _ = everything(folder)[1]
    assert decoded()[:2] == (1, 1) and [row.pixels for row in rows] == [(1, 3), (1, 3), (2, 3)]


def test_a_changed_file_is_decoded_again(folder, decoded):
    images_of(folder)
    decoded()
    save(folder / "images/1.png", colours(9, (4, 5)))
    rows, _ = images_of(folder)
    assert decoded()[0] == 1 and (rows[0].width, rows[0].height) == (5, 4)


def test_a_file_that_changes_under_its_old_size_and_times_is_found_by_its_times_of_the_inode(
    folder, decoded
):
    expected = hashes(folder, stamped=True)
    images_of(folder, expected)
    path = folder / "images/1.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes([*content[:-1], 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "changed since the run began" in only_problem(images_of(folder, expected)).problem


def test_what_could_not_be_decoded_is_known_too(folder, decoded):
    (folder / "images/1.png").write_text("hello")
    first = images_of(folder)
    decoded()
    assert images_of(folder) == first and decoded()[0] == 0


def test_one_content_as_image_and_as_label_is_decoded_as_both(folder):
    shutil.copy(folder / "labels/1.png", folder / "images/1.png")
    assert [row.mode for row in images_of(folder)[0]] == ["L", "RGB"]
    assert [row.ids for row in labels_of(folder)[0]] == [(0, 7, 255)] * 2


@pytest.mark.parametrize("what", ["code", "library"])
def test_facts_that_other_code_or_another_library_made_are_not_believed(
    folder, decoded, monkeypatch, what
):
    images_of(folder)
    decoded()
    if what == "code":
        monkeypatch.setattr(fact_store.facts, "__file__", __file__)
    else:
        monkeypatch.setattr(fact_store.PIL, "__version__", "0.0")
    images_of(folder)
    assert decoded()[0] == 2


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_store_does_no_harm_and_the_scan_after_the_next_uses_a_new_one(
    folder, decoded, content
):
    good = images_of(folder)
    fact_store.PLACE.write_bytes(content)
    assert images_of(folder) == good
    images_of(folder)
    decoded()
    assert images_of(folder) == good
    assert decoded()[0] == 0


def test_a_store_with_damaged_bytes_gives_right_facts_or_none(folder):
    """Any byte of the file, in turn of a random order."""
    good = images_of(folder)
    whole = np.frombuffer(fact_store.PLACE.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    held = np.flatnonzero(whole)  # most of the file is empty
    for _ in range(100):
        damaged = whole.copy()
        damaged[rng.choice(held, 3)] = rng.integers(256, size=3)
        fact_store.PLACE.write_bytes(damaged.tobytes())
        for _ in range(3):
            assert images_of(folder) == good
        with fact_store.FactStore(image_facts) as store:  # it was mended, or made anew
            assert store.get([row.hash for row in good[0]]).keys() == {r.hash for r in good[0]}


def test_a_store_that_cannot_be_opened_or_written_does_no_harm(folder, monkeypatch):
    good = images_of(folder)
    fact_store.PLACE.unlink()
    fact_store.PLACE.mkdir()
    assert images_of(folder) == good
    fact_store.PLACE.rmdir()
    monkeypatch.setattr(fact_store, "_PATIENCE_SECONDS", 0)
    images_of(folder)
    save(folder / "images/1.png", colours(9))
    other = sqlite3.connect(fact_store.PLACE)
    other.execute("BEGIN EXCLUSIVE")
    assert len(images_of(folder)[0]) == 2
    other.close()


def test_two_scans_at_once_do_not_disturb_each_other(folder, monkeypatch):
    monkeypatch.setattr(scan, "BATCH", 2)
    for k in range(30):
        save(folder / f"images/x{k}.png", colours(k))
    found = []
    expected = hashes(folder)
    scans = [
        threading.Thread(target=lambda: found.append(images_of(folder, expected))) for _ in range(3)
    ]
    for one in scans:
        one.start()
    for one in scans:
        one.join()
    assert len(found) == 3 and found[0] == found[1] == found[2] and len(found[0][0]) == 32


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
    found = listing.expected_images(job({}, tmp_path / "files.csv"), pattern)
    assert [file.hash for file in found.values()] == ["a", "b"]
    assert listing.expected_labels(job({}, tmp_path / "files.csv")) == {
        path: Expected(hash_) for path, hash_ in names.items()
    }


def test_files_that_came_or_went_since_the_index_stop_the_scan(folder, monkeypatch):
    monkeypatch.chdir(folder)
    pattern = "images/*.png"
    found = index_files(folder, find_images(folder, pattern), "images")
    places = {"root": folder, "image_index": found.path, "label_index": found.path}
    here = job(places, digest=found.digest)
    for files in (listing.expected_images(here, pattern), listing.expected_labels(here)):
        assert {path: file.hash for path, file in files.items()} == found.files
    save(folder / "images/3.png", np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(UserError, match="came or went since the run began: start again"):
        listing.expected_images(here, pattern)


def test_an_index_written_anew_since_the_plan_was_made_stops_the_scan(folder, monkeypatch):
    monkeypatch.chdir(folder)
    pattern = "images/*.png"
    found = index_files(folder, find_images(folder, pattern), "images")
    places = {"root": folder, "image_index": found.path, "label_index": found.path}
    planned = job(places, digest=found.digest)
    save(folder / found_name(found), np.full((2, 3, 3), 77, np.uint8))
    index_files(folder, find_images(folder, pattern), "images")
    for read in (
        lambda: listing.expected_images(planned, pattern),
        lambda: listing.expected_labels(planned),
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
    assert listing.expected_images(here, "images/*.png")["images/3.png"] == Expected("")
    assert json.loads(Path(found.path).read_text())["files"]["images/3.png"][3] == ""


def test_times_that_were_settled_when_a_file_was_indexed_are_relied_on_and_others_are_not(
    folder, monkeypatch
):
    found = index_files(folder, find_images(folder, "images/*.png"), "images")
    stored = json.loads(Path(found.path).read_text())
    path = folder / "images/1.png"
    for later, relied_on in ((0, False), (60 * 10**9, True)):
        Path(found.path).write_text(json.dumps({**stored, "begun": stored["begun"] + later}))
        here = job({"root": folder, "image_index": found.path}, digest=found.digest)
        file = listing.expected_images(here, "images/*.png")["images/1.png"]
        assert file.is_unchanged(path) == relied_on
    os.utime(path)
    assert not file.is_unchanged(path)
    path.unlink()
    assert not file.is_unchanged(path)
