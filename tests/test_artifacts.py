"""Every kind of file reads back as it was written; nothing half-written takes a file's name."""

import dataclasses
import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalewise import publishing
from scalewise.artifacts import (
    health_csv,
    images_csv,
    iou_csv,
    labels_csv,
    patches_h5,
    pictures_h5,
    predictions_h5,
    problems_csv,
    scores_csv,
    selected_csv,
    source_csv,
    table,
    thresholds_csv,
    training_csv,
)
from scalewise.artifacts.atomic import replacing, write_text
from scalewise.artifacts.maps_file import MapsFile
from scalewise.errors import UserError

FILES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# what a file system or a person may put into a name; lone surrogates have no UTF-8
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def same(one, other):
    """Equal to the bit; a NaN is a NaN."""
    return np.array_equal(
        np.asarray(one, np.float64).view(np.uint64), np.asarray(other, np.float64).view(np.uint64)
    )


# --- atomic ---------------------------------------------------------------------------------------


def test_a_file_that_was_not_finished_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_finished_file_takes_the_place_of_the_old_one_and_makes_its_folder(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, "one\r\ntwo\n")
    write_text(path, "ünï\n")
    assert path.read_bytes() == "ünï\n".encode()
    with open(path, encoding="utf-8") as reader:
        write_text(path, "new\n")
        assert reader.read() == "ünï\n"  # who had opened the old one still reads the old one
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_file_may_be_read_by_whom_the_user_lets_read_files(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "secretive") as temporary:
        temporary.touch(mode=0o600)
    modes = [(tmp_path / name).stat().st_mode for name in ("plain", "secretive")]
    assert modes[0] == modes[1]


def test_a_block_that_writes_nothing_is_an_error_and_makes_no_file(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())


# --- table ----------------------------------------------------------------------------------------


@FILES
@given(rows=st.lists(st.tuples(TEXT, st.floats(), st.integers(-(10**20), 10**20))))
def test_a_table_reads_back_to_the_same_bits(tmp_path, rows):
    path = tmp_path / "t.csv"
    table.write(path, ["name", "x", "n"], rows)
    read = table.read(path, {"n": int, "x": float, "name": str})
    assert list(read) == ["n", "x", "name"]
    assert read["name"] == [r[0] for r in rows] and read["n"] == [r[2] for r in rows]
    assert same([x for x in read["x"] if x == x], [r[1] for r in rows if r[1] == r[1]])
    assert [math.isnan(x) for x in read["x"]] == [math.isnan(r[1]) for r in rows]


def test_numpy_floats_are_written_as_python_floats(tmp_path):
    values = np.array([0.1, 1 / 3, 5e-324, 1e308, -0.0, np.nan])
    table.write(tmp_path / "t.csv", ["x"], ([v] for v in values))
    assert (tmp_path / "t.csv").read_text() == (
        'x\n0.1\n0.3333333333333333\n5e-324\n1e+308\n-0.0\n""\n'
    )
    assert same(table.read(tmp_path / "t.csv", {"x": float})["x"][:5], values[:5])


def test_an_empty_table_keeps_its_header(tmp_path):
    table.write(tmp_path / "t.csv", ["a", "b"], [])
    assert table.read(tmp_path / "t.csv", {"b": float}) == {"b": []}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column a; it has "),
        ("b,c\n1,2\n", "no column a; it has b, c"),
        ("a,b\nx,2\n", "column a: invalid literal for int"),
        ("a,b\n1,2\n3\n", "row 2 has 1 cells, not 2"),
        ("a,b\n1,2,3\n", "row 1 has 3 cells, not 2"),
    ],
)
def test_a_table_that_is_damaged_is_refused_with_its_name(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="t.csv") as failed:
        table.read(path, {"a": int})
    assert said in str(failed.value)


# --- one kind after the other ---------------------------------------------------------------------


def test_the_tables_of_the_scans_read_back(tmp_path):
    images = [
        images_csv.ImageRow("ulm/1", "images/ulm/1.png", 30, 20, "ab", "RGB;16"),
        images_csv.ImageRow('a, "b"\n', "x;y\r.png", 1, 2, ""),
    ]
    images_csv.write(tmp_path / "i.csv", images)
    assert images_csv.read(tmp_path / "i.csv") == images
    problems = [
        problems_csv.Problem("a.png", "is cut, short"),
        problems_csv.Problem("b", "", "skip"),
    ]
    problems_csv.write(tmp_path / "p.csv", problems)
    assert problems_csv.read(tmp_path / "p.csv") == problems
    for kind in (images_csv, problems_csv):
        kind.write(tmp_path / "none.csv", [])
        assert kind.read(tmp_path / "none.csv") == []


def test_pixels_per_class_are_read_in_the_order_that_is_asked_for(tmp_path):
    rows = [
        labels_csv.LabelRow("1", "l/1.png", 3, 2, "ab", 1, (5, 0), "P", (0, 7, 255)),
        labels_csv.LabelRow("2", "l/2.png", 3, 2, "cd", 0, (2, 4)),
    ]
    labels_csv.write(tmp_path / "l.csv", rows, ["road", "sky"])
    assert labels_csv.read(tmp_path / "l.csv", ["road", "sky"]) == rows
    assert [r.pixels for r in labels_csv.read(tmp_path / "l.csv", ["sky", "road"])] == [
        (0, 5),
        (4, 2),
    ]
    assert [r.pixels for r in labels_csv.read(tmp_path / "l.csv")] == [(), ()]
    with pytest.raises(ValueError, match="no column pixels: tree"):
        labels_csv.read(tmp_path / "l.csv", ["tree"])


def test_scores_read_back_with_nan_where_a_class_is_not_predicted(tmp_path):
    nan = np.nan
    scores = scores_csv.Scores(
        ["b", "a"],
        np.array([[3, 0, 1], [0, 2, 0]]),
        np.array([[0.1, nan, 1 / 3], [nan, 0.7, nan]]),
        np.array([[0.0, nan, 1.0], [nan, 2 / 3, nan]]),
        np.array([[0.3, nan, 1e-9], [nan, 2.5, nan]]),
    )
    scores_csv.write(tmp_path / "s.csv", scores, ["x", "y", "z"])
    read = scores_csv.read(tmp_path / "s.csv", ["x", "y", "z"])
    assert read.images == ["b", "a"] and read.pixels.dtype == np.int64
    np.testing.assert_array_equal(read.pixels, scores.pixels)
    np.testing.assert_array_equal(read.mean_probability, scores.mean_probability)
    np.testing.assert_array_equal(read.mean_entropy, scores.mean_entropy)
    np.testing.assert_array_equal(read.entropy, scores.entropy)
    turned = scores_csv.read(tmp_path / "s.csv", ["z", "y", "x"])
    np.testing.assert_array_equal(turned.pixels, scores.pixels[:, ::-1])


def test_the_selection_reads_back(tmp_path):
    rows = [
        selected_csv.SelectedRow(0, "a", ("road",), 1 / 3),
        selected_csv.SelectedRow(1, "b", ("traffic light", "sky"), 0.1),
        selected_csv.SelectedRow(2, "c", (), 0.0),
    ]
    selected_csv.write(tmp_path / "s.csv", rows)
    assert selected_csv.read(tmp_path / "s.csv") == rows


@pytest.mark.parametrize("size", [(8, 12), (9, 13), (3, 1)])
def test_predictions_keep_every_4th_pixel_and_read_back_in_blocks(tmp_path, monkeypatch, size):
    draw = np.random.default_rng(0)
    maps = draw.integers(0, 256, (7, *size), np.uint8)
    thin = predictions_h5.thinned(maps)
    height, width = -(-size[0] // 4), -(-size[1] // 4)
    assert thin.shape == (7, height, width)
    for y in range(height):
        for x in range(width):
            assert np.array_equal(thin[:, y, x], maps[:, 4 * y, 4 * x])
    ids = [f"straße {k}" for k in range(7)]
    monkeypatch.setattr(predictions_h5, "_CHUNK", 3 * height * width)
    predictions_h5.write(tmp_path / "p.h5", ids, thin)
    with predictions_h5.reading(tmp_path / "p.h5") as reader:
        assert reader.image_id == ids and reader.shape == thin.shape
        blocks = list(reader.blocks())
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert blocks[0].dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate(blocks), thin)
    one = (tmp_path / "p.h5").read_bytes()
    predictions_h5.write(tmp_path / "p.h5", ids, thin)
    assert (tmp_path / "p.h5").read_bytes() == one


def test_maps_on_disk_go_on_after_those_that_a_state_knows(tmp_path):
    maps = np.random.default_rng(1).integers(0, 256, (9, 3, 5), np.uint8)
    first = MapsFile(tmp_path / "x.maps")
    for part in (maps[:2], maps[2:5]):
        first.append(part)
    known = first.state()
    first.append(maps[:1])  # after the state: by a run that is killed now
    first.state()
    second = MapsFile(tmp_path / "x.maps")
    second.restore(**known)
    assert second.shape == (5, 3, 5)
    second.append(maps[5:])
    predictions_h5.write(tmp_path / "disk.h5", list("abcdefghi"), second)
    predictions_h5.write(tmp_path / "memory.h5", list("abcdefghi"), maps)
    assert (tmp_path / "disk.h5").read_bytes() == (tmp_path / "memory.h5").read_bytes()
    np.testing.assert_array_equal(second[4:7], maps[4:7])


@pytest.mark.parametrize("damage", ["a byte", "cut short", "gone"])
def test_maps_that_a_state_does_not_know_are_refused(tmp_path, damage):
    path = tmp_path / "x.maps"
    maps = MapsFile(path)
    maps.append(np.ones((4, 2, 3), np.uint8))
    known = maps.state()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20] + (b"" if damage == "cut short" else b"\x02" * 4))
    with pytest.raises(UserError, match=r"x\.maps: damaged: .* Remove the folder .* begins anew"):
        MapsFile(path).restore(**known)


def test_predictions_of_no_images_read_back(tmp_path):
    predictions_h5.write(tmp_path / "p.h5", [], np.zeros((0, 2, 3), np.uint8))
    with predictions_h5.reading(tmp_path / "p.h5") as reader:
        assert reader.shape == (0, 2, 3) and list(reader.blocks()) == []


def test_predictions_of_another_format_or_count_are_refused(tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.attrs["format"] = "scalewise predictions 0"
    with (
        pytest.raises(UserError, match=r"p\.h5: not a file of format 'scalewise predictions 1'"),
        predictions_h5.reading(tmp_path / "p.h5"),
    ):
        pass
    with pytest.raises(ValueError, match="2 images and 3 predictions"):
        predictions_h5.write(tmp_path / "q.h5", ["a", "b"], np.zeros((3, 1, 1), np.uint8))
    assert not (tmp_path / "q.h5").exists()


def test_the_health_of_a_round_reads_back(tmp_path):
    rows = [
        health_csv.HealthRow("kept", 1 / 3, 0.5, 0.1, "ok", "33%, after 50%"),
        health_csv.HealthRow("classes", 0.0, math.nan, 0.05, "warn", 'lost: "a", b'),
    ]
    health_csv.write(tmp_path / "h.csv", rows)
    first = (tmp_path / "h.csv").read_text().splitlines()[0]
    assert first == "measure,value,previous,limit,verdict,sentence"
    read = health_csv.read(tmp_path / "h.csv")
    assert read[0] == rows[0] and math.isnan(read[1].previous)
    assert (read[1].measure, read[1].verdict, read[1].sentence) == (
        "classes",
        "warn",
        'lost: "a", b',
    )


def test_the_loss_on_the_source_reads_back_with_nan_where_an_image_has_no_label(tmp_path):
    rows = [
        source_csv.SourceRow('straße, "1"', 18432, 1 / 3),
        source_csv.SourceRow("empty", 0, math.nan),
    ]
    source_csv.write(tmp_path / "s.csv", rows)
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").splitlines() == [
        "id,pixels,loss",
        '"straße, ""1""",18432,0.3333333333333333',
        "empty,0,",
    ]
    read = source_csv.read(tmp_path / "s.csv")
    assert read[0] == rows[0]
    assert (read[1].id, read[1].pixels) == ("empty", 0) and math.isnan(read[1].loss)


def test_thresholds_read_back(tmp_path):
    rows = [
        thresholds_csv.ThresholdRow("road", 1 / 3, "a", 2, 5, 0.25, 400),
        thresholds_csv.ThresholdRow("sky", 1.0, "", 0, 0, math.nan, 0),
    ]
    thresholds_csv.write(tmp_path / "t.csv", rows)
    read = thresholds_csv.read(tmp_path / "t.csv")
    assert read[0] == rows[0] and math.isnan(read[1].kept) and read[1].image == ""


def test_infinite_and_undefined_thresholds_read_back(tmp_path):
    rows = [
        thresholds_csv.ThresholdRow("road", math.inf, "", 2, 5, 1.0, 7),
        thresholds_csv.ThresholdRow("sky", math.nan, "a", 0, 1, 0.5, 8),
    ]
    thresholds_csv.write(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text().splitlines()[1:] == [
        "road,inf,,2,5,1.0,7",
        "sky,,a,0,1,0.5,8",
    ]
    read = thresholds_csv.read(tmp_path / "t.csv")
    assert read[0] == rows[0] and math.isnan(read[1].tau) and read[1].image == "a"


def test_confusion_iou_and_training_are_written_as_they_say(tmp_path):
    iou_csv.write_confusion(tmp_path / "c.csv", np.array([[3, 1], [0, 2]]), ["road", "sky"])
    assert (tmp_path / "c.csv").read_text() == "label,road,sky\nroad,3,1\nsky,0,2\n"
    counts = (np.array([3, 0]), np.array([4, 0]), np.array([4, 0]))
    iou_csv.write_iou(tmp_path / "i.csv", ["road", "sky"], np.array([75.0, np.nan]), *counts)
    assert (tmp_path / "i.csv").read_text() == (
        "class,iou,intersection,union,pixels\nroad,75.0,3,4,4\nsky,,0,0,0\n"
    )
    training_csv.write(tmp_path / "t.csv", ["rate", "loss"], np.array([[0.5, 0.1], [0.25, 2]]))
    assert (tmp_path / "t.csv").read_text() == "step,rate,loss\n0,0.5,0.1\n1,0.25,2.0\n"


def some_patches(count, rng):
    return patches_h5.Patches(
        [f"ü{k}" for k in range(count)],
        rng.integers(0, 9, (count, 2), dtype=np.int32),
        rng.integers(0, 255, (count, 3, 4, 3), dtype=np.uint8),
        rng.integers(0, 19, (count, 3, 4), dtype=np.uint8),
        rng.random((count, 3, 4)).astype(np.float16),
        rng.integers(0, 19, (count, 6, 8), dtype=np.uint8),
    )


FIELDS = ("position", "image", "predicted", "entropy", "label")


def test_patches_read_back_batch_after_batch(tmp_path):
    rng = np.random.default_rng(0)
    batches = [some_patches(2, rng), some_patches(1, rng)]
    with patches_h5.writing(tmp_path / "p.h5", 3, (3, 4), (6, 8)) as writer:
        for batch in batches:
            writer.append(batch)
        writer.claim({"entropy": np.array([0.1, np.nan])})
    reader = patches_h5.PatchReader(tmp_path / "p.h5")
    assert (len(reader), reader.crop, reader.image_id) == (3, (3, 4), ["ü0", "ü1", "ü0"])
    assert reader.read(slice(0, 3), ("size",))["size"].tolist() == [[3, 4]] * 3
    read = reader.read(slice(0, 3), FIELDS)
    for name in FIELDS:
        wanted = np.concatenate([getattr(b, name) for b in batches])
        np.testing.assert_array_equal(read[name], wanted)
        assert read[name].dtype == wanted.dtype
        np.testing.assert_array_equal(reader.patch(2, (name,))[name], wanted[2])
    np.testing.assert_array_equal(reader.claim()["entropy"], [0.1, np.nan])


def test_patches_are_data_sets_that_any_program_reads(tmp_path):
    batch = some_patches(3, np.random.default_rng(0))
    with patches_h5.writing(tmp_path / "p.h5", 3, (3, 4), (6, 8)) as writer:
        writer.append(batch)
    with h5py.File(tmp_path / "p.h5") as file:
        for name in ("predicted", "entropy", "label"):
            np.testing.assert_array_equal(file[name][:], getattr(batch, name))
        crops = np.cumsum(file["image"][:], axis=2, dtype=np.uint8)
    np.testing.assert_array_equal(crops, batch.image)


def test_parts_that_are_packed_in_another_way_are_not_joined(tmp_path):
    path = written_patches(tmp_path)
    with patches_h5.writing(tmp_path / "joined.h5", None, (3, 4), (6, 8)) as writer:
        writer.append_file(path)
    with h5py.File(path, "a") as file:
        entropy = file["entropy"][:]
        del file["entropy"]
        file.create_dataset("entropy", data=entropy, chunks=(1, 3, 4), compression="gzip")
    with (
        pytest.raises(ValueError, match="entropy is"),
        patches_h5.writing(tmp_path / "joined.h5", None, (3, 4), (6, 8)) as writer,
    ):
        writer.append_file(path)


def test_labels_of_another_size_than_the_file_s_are_refused(tmp_path):
    batch = dataclasses.replace(
        some_patches(1, np.random.default_rng(0)), label=np.zeros((1, 6, 7), np.uint8)
    )
    with (
        pytest.raises(ValueError, match=r"label of a patch is \(6, 7\), not \(6, 8\)"),
        patches_h5.writing(tmp_path / "p.h5", 1, (3, 4), (6, 8)) as writer,
    ):
        writer.append(batch)


def sized_patches(sizes, rng):
    def each(*channels):
        return [rng.integers(1, 19, (*size, *channels), dtype=np.uint8) for size in sizes]

    return patches_h5.Patches(
        [f"image {k}" for k in range(len(sizes))],
        np.zeros((len(sizes), 2), np.int32),
        each(3),
        each(),
        [rng.random(size).astype(np.float16) + 1 for size in sizes],
        rng.integers(0, 19, (len(sizes), 6, 8), dtype=np.uint8),
    )


def test_patches_of_several_sizes_read_back_at_their_own_size(tmp_path):
    """The tallest and the widest crop need not be the same one."""
    batch = sized_patches([(3, 2), (1, 5), (2, 2)], np.random.default_rng(0))
    with patches_h5.writing(tmp_path / "p.h5", 3, (3, 5), (6, 8)) as writer:
        writer.append(batch)
    reader = patches_h5.PatchReader(tmp_path / "p.h5")
    for number in range(3):
        read = reader.patch(number, FIELDS)
        for name in FIELDS:
            np.testing.assert_array_equal(read[name], getattr(batch, name)[number])
    padded = reader.read(slice(1, 3), ("size", "image", "predicted", "entropy"))
    assert padded["size"].tolist() == [[1, 5], [2, 2]]
    outside = padded["predicted"] == 255
    assert outside.sum() == 2 * 15 - 5 - 4
    assert not padded["image"][outside].any() and not padded["entropy"][outside].any()
    assert (padded["entropy"][~outside] >= 1).all()


def test_places_read_back_and_are_the_whole_patch_where_none_are_given(tmp_path):
    rng = np.random.default_rng(0)
    place = np.array([[1, 2, 5, 6], [0, 0, 6, 8]])
    with patches_h5.writing(tmp_path / "p.h5", 3, (3, 4), (6, 8)) as writer:
        writer.append(dataclasses.replace(some_patches(2, rng), place=place))
        writer.append(some_patches(1, rng))
    reader = patches_h5.PatchReader(tmp_path / "p.h5")
    read = reader.read(slice(None), ("place",))["place"]
    assert read.tolist() == [[1, 2, 5, 6], [0, 0, 6, 8], [0, 0, 6, 8]]
    assert reader.patch(0, ("place",))["place"].tolist() == [1, 2, 5, 6]


@pytest.mark.parametrize(
    "place", [(1, 0, 6, 8), (0, 1, 6, 8), (-1, 0, 2, 2), (0, 0, 0, 2), (2**31 - 1, 0, 1, 1)]
)
def test_a_place_outside_of_its_patch_is_refused_on_reading(tmp_path, place):
    path = written_patches(tmp_path)
    replaced(path, "place", data=np.array([[0, 0, 6, 8], place, [0, 0, 1, 1]], np.int32))
    refused(patches_h5.PatchReader, path, "a crop has its place outside of the patch")


@pytest.mark.parametrize("sizes", [[(4, 2)], [(3, 6)]])
def test_a_crop_larger_than_the_file_says_is_refused(tmp_path, sizes):
    batch = sized_patches(sizes, np.random.default_rng(0))
    with (
        pytest.raises(ValueError, match=r"largest crop \(3, 5\)"),
        patches_h5.writing(tmp_path / "p.h5", 1, (3, 5), (6, 8)) as writer,
    ):
        writer.append(batch)


@pytest.mark.parametrize("written", [0, 1, 3])
def test_a_file_of_patches_with_another_count_never_appears(tmp_path, written):
    rng = np.random.default_rng(0)
    with (
        pytest.raises((ValueError, TypeError)),
        patches_h5.writing(tmp_path / "p.h5", 2, (3, 4), (6, 8)) as writer,
    ):
        for _ in range(written):
            writer.append(some_patches(1, rng))
    assert not list(tmp_path.iterdir())


def test_no_patches_at_all_are_a_file_too(tmp_path):
    with patches_h5.writing(tmp_path / "p.h5", 0, (3, 4), (6, 8)) as writer:
        writer.claim({})
    reader = patches_h5.PatchReader(tmp_path / "p.h5")
    assert len(reader) == 0 and reader.read(slice(0, 5), ("image",))["image"].shape == (0, 3, 4, 3)


def test_a_file_of_another_format_is_no_file_of_patches(tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["image_id"] = 1
        file.attrs["format"] = "scalewise patches 3"
    said = r"p\.h5: not a file of format 'scalewise patches 4', but of 'scalewise patches 3'"
    with pytest.raises(UserError, match=said):
        patches_h5.PatchReader(tmp_path / "p.h5")


def written_patches(folder):
    rng = np.random.default_rng(0)
    with patches_h5.writing(folder / "p.h5", 3, (3, 4), (6, 8)) as writer:
        writer.append(some_patches(3, rng))
        writer.claim({"pixels": np.zeros(5)})
    return folder / "p.h5"


def refused(read, path, *words):
    """The one message about a file that is not read; it names file and remedy."""
    with pytest.raises(UserError) as told:
        read(path)
    message = str(told.value)
    assert message.startswith(f"{path}: ") and f"remove the folder {path.parent}" in message
    assert "\n" not in message
    assert all(word in message for word in words), message


def replaced(path, name, **arguments):
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, **arguments)


HUGE = 10**13


@pytest.mark.parametrize("chunks", [None, (1 << 20,)])
def test_data_sets_that_are_declared_and_not_stored_are_refused_before_they_are_read(
    tmp_path, chunks
):
    path = written_patches(tmp_path)
    assert len(patches_h5.PatchReader(path)) == 3
    text = h5py.string_dtype()
    replaced(path, "image_id", shape=(HUGE,), dtype=text, chunks=chunks)
    refused(patches_h5.PatchReader, path, "'image_id' claims 10000000000000 values")


def test_a_data_set_that_points_to_other_files_is_refused(tmp_path):
    path, other = written_patches(tmp_path), tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["label"] = np.zeros((3, 6, 8), np.uint8)
    layout = h5py.VirtualLayout((3, 6, 8), np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "label", (3, 6, 8))
    for forge in (
        lambda file: file.create_virtual_dataset("label", layout),
        lambda file: file.create_dataset(
            "label", (3, 6, 8), np.uint8, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        ),
        lambda file: file.__setitem__("label", h5py.ExternalLink(str(other), "label")),
        lambda file: file.__setitem__("label", h5py.SoftLink("/predicted")),
        lambda file: file.create_group("label"),
    ):
        with h5py.File(path, "a") as file:
            del file["label"]
            forge(file)
        refused(patches_h5.PatchReader, path, "'label' is no data set of this file")


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "said"),
    [
        ("entropy", (3, 3, 5), np.float16, "'entropy' is 3 x 3 x 5, not 3 x 3 x 4"),
        ("predicted", (4, 3, 4), np.uint8, "'predicted' is 4 x 3 x 4, not 3 x 3 x 4"),
        ("image", (3, 3, 4), np.uint8, "'image' is 3 x 3 x 4, not 3 x h x w x 3"),
        ("label", (3, 6, 8), np.int64, "'label' holds int64, not uint8"),
        ("size", (), np.int32, "'size' is one value, not 3 x 2"),
        ("image_id", (3,), np.int32, "'image_id' holds int32"),
    ],
)
def test_data_sets_that_do_not_fit_each_other_are_refused(tmp_path, name, shape, dtype, said):
    path = written_patches(tmp_path)
    replaced(path, name, data=np.zeros(shape, dtype))
    refused(patches_h5.PatchReader, path, said)


def test_patches_of_absurd_size_are_refused_though_they_pack_well(tmp_path):
    side = 1 << 14
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.attrs["format"] = patches_h5.FORMAT
        file["image_id"] = np.array(["a"], h5py.string_dtype())
        for name, values in (("position", 2), ("size", 2), ("place", 4)):
            file[name] = np.zeros((1, values), np.int32)
        for name, kind in (("image", np.uint8), ("predicted", np.uint8), ("entropy", np.float16)):
            file.create_dataset(name, (1, 0, 0, 3)[: 4 if name == "image" else 3], kind)
        label = file.create_dataset(
            "label", (1, side, side), np.uint8, chunks=(1, 1024, side), compression="gzip"
        )
        for first in range(0, side, 1024):
            label[0, first : first + 1024] = 0
    refused(patches_h5.PatchReader, tmp_path / "p.h5", "patches of 16384 x 16384 pixels")


def test_a_crop_that_is_larger_than_the_file_says_is_refused_on_reading(tmp_path):
    path = written_patches(tmp_path)
    replaced(path, "size", data=np.array([[3, 4], [4, 4], [1, 1]], np.int32))
    refused(patches_h5.PatchReader, path, "a patch is larger than the crops")


def test_a_claim_that_is_declared_and_not_stored_is_refused(tmp_path):
    path = written_patches(tmp_path)
    assert patches_h5.PatchReader(path).claim()["pixels"].tolist() == [0] * 5
    replaced(path, "claim/pixels", shape=(HUGE,), dtype=np.float64)
    refused(lambda p: patches_h5.PatchReader(p).claim(), path, "'pixels' claims")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_file_of_patches_or_pictures_that_is_cut_short_is_refused_with_the_remedy(
    tmp_path, share
):
    path = written_patches(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(patches_h5.PatchReader, path)
    refused(pictures_h5.read, path)


def test_pictures_that_are_declared_and_not_stored_or_do_not_fit_are_refused(tmp_path):
    path, label = tmp_path / "p.h5", np.zeros((2, 4, 5), np.uint8)
    image, entropy = np.zeros((2, 4, 5, 3), np.uint8), np.zeros((2, 4, 5), np.float16)
    pictures_h5.write(path, pictures_h5.Pictures(["a", "b"], image, label, label, entropy))
    replaced(path, "prediction", shape=(2, 10**6, 10**6), dtype=np.uint8)
    refused(pictures_h5.read, path, "'prediction' claims 2 x 1000000 x 1000000 values")
    replaced(path, "prediction", data=np.zeros((2, 5, 4), np.uint8))
    refused(pictures_h5.read, path, "'prediction' is 2 x 5 x 4, not 2 x 4 x 5")
    replaced(path, "prediction", data=label)
    assert pictures_h5.read(path).ids == ["a", "b"]


def test_no_more_pictures_are_written_than_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures_h5, "MAX_PIXELS", 39)
    label, image = np.zeros((2, 4, 5), np.uint8), np.zeros((2, 4, 5, 3), np.uint8)
    pictures = pictures_h5.Pictures(["a", "b"], image, label, label, label.astype(np.float16))
    with pytest.raises(UserError, match="evaluation.pictures: 2 pictures have 40 pixels"):
        pictures_h5.write(tmp_path / "p.h5", pictures)
    monkeypatch.setattr(pictures_h5, "MAX_PIXELS", 40)
    pictures_h5.write(tmp_path / "p.h5", pictures)
    monkeypatch.setattr(pictures_h5, "MAX_PIXELS", 39)
    refused(pictures_h5.read, tmp_path / "p.h5", "pictures of more than 39 pixels")


@pytest.mark.parametrize("count", [0, 2])
def test_pictures_read_back(tmp_path, count):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 19, (count, 4, 5), dtype=np.uint8)
    image = rng.integers(0, 255, (count, 4, 5, 3), dtype=np.uint8)
    entropy = rng.random((count, 4, 5)).astype(np.float16)
    ids = [f"ö/{k}" for k in range(count)]
    written = pictures_h5.Pictures(ids, image, label, label + 1, entropy)
    pictures_h5.write(tmp_path / "p.h5", written)
    read = pictures_h5.read(tmp_path / "p.h5")
    assert read.ids == written.ids
    for name in ("image", "label", "prediction", "entropy"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype


# --- the report's stable place --------------------------------------------------------------------


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A function that makes the files of a report, in a folder of their own."""
    monkeypatch.chdir(tmp_path)

    def make(key, *names):
        folder = Path("stage", key)
        for name in names:
            write_text(folder / name, f"{name} of {key}")
        return [folder / name for name in names]

    return make


def test_a_published_report_replaces_the_one_before_it(report):
    publishing.publish(report("k1", "index.html", "old.csv"), "mine", "k1")
    assert publishing.published_key("mine") == "k1"
    place = publishing.publish(report("k2", "index.html", "new.csv"), "mine", "k2")
    assert publishing.published_key("mine") == "k2"
    assert sorted(p.name for p in place.iterdir()) == ["index.html", "new.csv", "report.json"]
    assert (place / "index.html").read_text() == "index.html of k2"


def test_a_report_that_was_published_by_half_is_the_report_of_no_key(report):
    publishing.publish(report("k1", "index.html", "summary.csv"), "mine", "k1")
    broken = [*report("k2", "index.html"), Path("stage/k2/gone.csv")]
    with pytest.raises(FileNotFoundError):
        publishing.publish(broken, "mine", "k2")
    assert publishing.published_key("mine") is None


def test_a_place_without_a_report_has_no_key(report):
    assert publishing.published_key("mine") is None
    for text in ("", "[]", "{}", "3"):
        write_text(publishing.place("mine") / publishing.KEY_FILE, text)
        assert publishing.published_key("mine") is None
    write_text(publishing.place("mine") / publishing.KEY_FILE, json.dumps({"key": "k"}))
    assert publishing.published_key("mine") == "k"
