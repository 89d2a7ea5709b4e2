"""Decoding of images and labels: small real files of each encoding, and files that are none."""

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scalewise.artifacts import images_csv, labels_csv
from scalewise.artifacts.hashing import content_hash
from scalewise.data import reading
from scalewise.data.cache import ArrayCache
from scalewise.data.dataset import DataSet
from scalewise.data.reading import (
    UNDECLARED,
    WIDE_COLOUR,
    UnreadableImage,
    decode_image,
    decode_label,
    read_image,
    read_label_ids,
)
from scalewise.errors import UserError
from scalewise.taxonomy import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_LABEL_IDS,
    CITYSCAPES_TRAIN_IDS,
    IGNORE,
    SYNTHIA,
)

IDS = np.array([[0, 7, 8], [11, 33, 34]], np.uint8)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 8, 7]]], np.uint8)


@pytest.fixture
def save(tmp_path):
    def save_it(pixels, name="x.png", mode=None, **options):
        path = tmp_path / name
        image = Image.fromarray(pixels)
        (image.convert(mode) if mode else image).save(path, **options)
        return path

    return save_it


def said(read, path):
    with pytest.raises(UnreadableImage) as failed:
        read(path)
    return str(failed.value)


def png(width, height, bits, kind, rows):
    """A PNG file written by hand: `rows` are its bytes of pixels."""

    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


def forged(path, width, height, bits=8, kind=2):
    """A small png file whose header promises width x height pixels."""
    path.write_bytes(png(width, height, bits, kind, [bytes(64)]))
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
# Pillow itself warns above its limit, and refuses above twice of it
@pytest.mark.parametrize("factor", [1.01, 1.9, 2.1, 1000])
@pytest.mark.parametrize("bits, kind", [(8, 2), (8, 0), (16, 0), (16, 2)])
@pytest.mark.parametrize(
    "read", [decode_image, decode_label, lambda p: read_label_ids(p, "RGB;16")]
)
def test_a_header_that_promises_too_many_pixels_is_refused_before_any_are_decoded(
    tmp_path, monkeypatch, factor, bits, kind, read
):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    width = int(reading.MAX_PIXELS * factor) // 10_000
    path = forged(tmp_path / "x.png", width, 10_000, bits, kind)
    message = said(read, path)
    assert message.endswith("pixels; at most 200,000,000 are read") and "\n" not in message
    assert (f"{width} x 10000" in message) if factor < 2 else (f"{width * 10_000}" in message)


def test_as_many_pixels_as_are_read_at_most_are_read(tmp_path, monkeypatch, save):
    monkeypatch.setattr(reading, "MAX_PIXELS", 6)
    assert decode_label(save(IDS))[0].size == 6
    monkeypatch.setattr(reading, "MAX_PIXELS", 5)
    assert "has 3 x 2 pixels" in said(decode_label, save(IDS))


def test_pillows_own_limit_is_ours():
    assert Image.MAX_IMAGE_PIXELS == reading.MAX_PIXELS


def test_a_file_for_which_pillow_would_start_another_program_is_no_image(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(COLOURS).save(path, format="EPS")
    assert Image.open(path).format == "EPS"
    assert said(decode_image, path) == "not an image, or cut short"


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.bmp", "x.ppm", "x.webp", "x.gif"])
def test_the_usual_kinds_of_image_are_read(save, name):
    assert decode_image(save(COLOURS, name))[0].shape == COLOURS.shape


# --- labels ---------------------------------------------------------------------------------------


def test_an_8_bit_label_holds_its_ids(save):
    assert Image.open(save(IDS)).mode == "L"
    np.testing.assert_array_equal(read_label_ids(save(IDS)), IDS)


def test_a_palette_label_holds_its_indices_and_not_its_colours(tmp_path):
    palette = Image.new("P", (3, 2))
    palette.putdata(IDS.ravel().tolist())
    palette.putpalette([(k * 37) % 256 for k in range(768)])
    palette.save(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").mode == "P"
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "p.png").convert("L")), IDS)
    np.testing.assert_array_equal(read_label_ids(tmp_path / "p.png"), IDS)


def test_a_palette_of_few_colours_holds_its_indices_too(tmp_path):
    palette = Image.new("P", (3, 1))
    palette.putdata([0, 2, 1])
    palette.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9])
    palette.save(tmp_path / "p.png", bits=2)
    np.testing.assert_array_equal(read_label_ids(tmp_path / "p.png"), [[0, 2, 1]])


def test_a_16_bit_label_holds_its_ids(save):
    path = save(IDS.astype(np.uint16))
    assert Image.open(path).mode == "I;16"
    ids = read_label_ids(path)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.uint8


def test_a_16_bit_label_of_a_tiff_file_in_either_byte_order_holds_its_ids(save):
    for order in (">u2", "<u2"):
        np.testing.assert_array_equal(read_label_ids(save(IDS.astype(order), "x.tif")), IDS)


def test_a_32_bit_label_holds_its_ids(save):
    np.testing.assert_array_equal(read_label_ids(save(IDS.astype(np.int32), "x.tif")), IDS)


def test_a_label_of_single_bits_holds_0_and_1(tmp_path):
    (tmp_path / "x.png").write_bytes(png(8, 1, 1, 0, [bytes([0b01000110])]))
    ids = read_label_ids(tmp_path / "x.png")
    np.testing.assert_array_equal(ids, [[0, 1, 0, 0, 0, 1, 1, 0]])
    assert ids.dtype == np.uint8


def test_a_palette_label_with_the_colours_of_cityscapes_holds_its_indices(tmp_path):
    """As GTA5's labels are: the index is the labelId, the palette its colour."""
    palette = Image.new("P", (3, 2))
    palette.putdata(IDS.ravel().tolist())
    colours = np.zeros((256, 3), np.uint8)
    for label_id, index in CITYSCAPES.label_ids.items():
        colours[label_id] = (0, 0, 0) if index == IGNORE else CITYSCAPES.colors[index]
    palette.putpalette(colours.ravel().tolist())
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png")[0, 1], [128, 64, 128])
    ids, mode = decode_label(tmp_path / "p.png")
    np.testing.assert_array_equal(ids, IDS)
    assert mode == "P"


# --- 16-bit colours -------------------------------------------------------------------------------


def save_wide(path, red, green=0, blue=0):
    channels = np.broadcast_arrays(blue, green, red)
    assert cv2.imwrite(str(path), np.dstack(channels).astype(np.uint16))
    return path


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_the_red_channel_of_16_bit_colours_is_read_exactly(tmp_path_factory, height, width, seed):
    rng = np.random.default_rng(seed)
    red = rng.integers(0, 256, (height, width))
    green, blue = rng.integers(0, 65536, (2, height, width))
    path = save_wide(tmp_path_factory.mktemp("wide") / "x.png", red, green, blue)
    for source in (path, path.read_bytes()):
        ids, mode = decode_label(source)
        np.testing.assert_array_equal(ids, red)
        assert ids.dtype == np.uint8 and mode == WIDE_COLOUR


def test_what_other_readers_make_of_16_bit_colours_are_zeros(tmp_path):
    path = save_wide(tmp_path / "x.png", np.full((4, 5), 22), 7)
    assert not np.asarray(Image.open(path)).any()
    assert (decode_label(path)[0] == 22).all()


def test_red_values_that_are_no_ids_are_refused(tmp_path):
    path = save_wide(tmp_path / "x.png", np.array([[3, 256]]))
    assert said(decode_label, path) == "holds label ids from 3 to 256; 0 to 255 are possible"


def test_16_bit_colours_are_no_ids_unless_the_scan_said_so(tmp_path):
    path = save_wide(tmp_path / "x.png", np.array([[3, 22]]))
    for mode in ("", "L", "RGB"):
        assert said(lambda p, m=mode: read_label_ids(p, m), path) == (
            "holds 16-bit colours (mode RGB;16), not class ids"
        )
    np.testing.assert_array_equal(read_label_ids(path, WIDE_COLOUR), [[3, 22]])
    np.testing.assert_array_equal(
        reading.read_label(path, reading.lookup_table(SYNTHIA.label_ids), WIDE_COLOUR), [[0, 255]]
    )


def test_16_bit_colours_that_are_cut_short_are_refused_wherever_they_are_cut(tmp_path, capfd):
    rng = np.random.default_rng(0)
    path = save_wide(tmp_path / "x.png", *rng.integers(0, 23, (3, 40, 40)))
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.98):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert said(decode_label, path).startswith(("not an image", "cannot be decoded"))
    assert capfd.readouterr().err == ""


def test_a_photograph_of_16_bit_colours_is_read_by_its_high_bytes(tmp_path):
    path = save_wide(tmp_path / "x.png", np.full((2, 3), 0x1234), 0x5678, 0x9ABC)
    image, mode = decode_image(path)
    assert mode == WIDE_COLOUR and (image == [0x12, 0x56, 0x9A]).all()


# --- other labels ---------------------------------------------------------------------------------


def test_instance_ids_are_refused_with_their_range(save):
    ids = np.array([[7, 26001]], np.uint16)
    assert said(read_label_ids, save(ids)) == (
        "holds label ids from 7 to 26001; 0 to 255 are possible"
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_a_label_of_colours_is_refused(save, mode):
    path = save(COLOURS, "x.tif" if mode == "CMYK" else "x.png", mode)
    assert said(read_label_ids, path) == (
        f"holds colours (mode {mode}), not class ids; convert it to one channel"
    )


def test_the_look_up_table_maps_ids_and_marks_all_others():
    table = reading.lookup_table({"7": 0, "255": 255, 0: 3})
    assert (table[7], table[255], table[0]) == (0, 255, 3)
    assert np.count_nonzero(table == UNDECLARED) == 253


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 253) | st.just(255)))
def test_a_label_is_mapped_pixel_by_pixel(label_ids):
    table = reading.lookup_table({str(k): v for k, v in label_ids.items()})
    assert [int(n) for n in table] == [label_ids.get(k, UNDECLARED) for k in range(256)]


def test_cityscapes_ids_become_train_ids(save):
    table = reading.lookup_table(CITYSCAPES.label_ids)
    np.testing.assert_array_equal(reading.read_label(save(IDS), table), [[255, 0, 1], [2, 18, 255]])


def test_label_ids_and_train_ids_of_one_scene_become_equal_class_maps(save):
    label_ids = np.arange(34, dtype=np.uint8).reshape(2, 17)
    train_ids = np.full_like(label_ids, 255)
    for train_id, label_id in enumerate(CITYSCAPES_LABEL_IDS):
        train_ids[label_ids == label_id] = train_id
    maps = [
        reading.read_label(save(ids), reading.lookup_table(taxonomy.label_ids))
        for ids, taxonomy in ((label_ids, CITYSCAPES), (train_ids, CITYSCAPES_TRAIN_IDS))
    ]
    np.testing.assert_array_equal(*maps)
    assert UNDECLARED not in maps[0]


def test_camvid_ids_stay_and_void_is_ignored(save):
    table = reading.lookup_table(CAMVID.label_ids)
    path = save(np.array([[0, 10, 11, 12]], np.uint8))
    np.testing.assert_array_equal(reading.read_label(path, table), [[0, 10, 255, UNDECLARED]])


# --- images ---------------------------------------------------------------------------------------


def test_an_image_is_red_green_and_blue_in_that_order(save):
    image = read_image(save(COLOURS))
    np.testing.assert_array_equal(image, COLOURS)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "1", "LA"])
def test_an_image_of_another_mode_is_converted(save, mode):
    image = read_image(save(COLOURS, mode=mode))
    assert image.shape == (2, 2, 3) and image.dtype == np.uint8
    if mode == "RGBA":
        np.testing.assert_array_equal(image, COLOURS)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_an_image_of_more_than_8_bits_is_refused_and_not_cut_off(save, kind):
    message = said(read_image, save(np.full((2, 3), 999, kind), "x.tif"))
    assert "more than 8 bits per channel" in message and "convert it" in message


# --- files that are no images ---------------------------------------------------------------------

BOTH = pytest.mark.parametrize("read", [read_image, read_label_ids])


@BOTH
def test_a_text_file_an_empty_file_and_a_folder_are_no_images(tmp_path, read):
    for content in (b"not an image\n", b""):
        (tmp_path / "x.png").write_bytes(content)
        assert said(read, tmp_path / "x.png") == "not an image, or cut short"
    assert said(read, tmp_path) == "cannot be read (Is a directory)"
    assert said(read, tmp_path / "gone.png") == "the file is gone"


@BOTH
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(save, read, name):
    path = save(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8), name)
    whole = path.read_bytes()
    read(path)
    for share in (0.01, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        message = said(read, path)
        assert message.startswith(("not an image, or cut short", "cannot be decoded"))
        assert "\n" not in message and str(path) not in message


@BOTH
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.webp"])
def test_a_damaged_file_is_read_or_refused_and_never_crashes(save, read, name):
    rng = np.random.default_rng(0)
    path = save(rng.integers(0, 255, (20, 20), dtype=np.uint8), name)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=3)] = rng.integers(256, size=3)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(UnreadableImage):
            assert read(path).dtype == np.uint8


# --- sizes ----------------------------------------------------------------------------------------


def test_a_label_is_resized_without_new_classes_and_an_image_with_its_mean():
    label = np.array([[0, 18], [255, 7]], np.uint8)
    large = reading.resize_label(label, (4, 6))
    np.testing.assert_array_equal(large, np.kron(label, np.ones((2, 3), np.uint8)))
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 4:] = 200
    small = reading.resize_image(image, (2, 4))
    assert small.shape == (2, 4, 3)
    assert (small[:, 0] < 5).all() and (abs(small[:, 3].astype(int) - 200) < 5).all()


def test_a_size_that_is_right_already_changes_nothing():
    label, image = IDS, np.zeros((2, 3, 3), np.uint8)
    assert reading.resize_label(label, (2, 3)) is label
    assert reading.resize_image(image, (2, 3)) is image


# --- data set and cache ---------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path, save):
    """Three images, labels of two of them."""
    rows, labels = [], []
    for k in range(3):
        save(np.full((4, 6, 3), 50 * k, np.uint8), f"i{k}.png")
        rows.append(
            images_csv.ImageRow(str(k), f"i{k}.png", 6, 4, content_hash(tmp_path / f"i{k}.png"))
        )
    for k in (0, 2):
        save(np.full((4, 6), 7 + k, np.uint8), f"l{k}.png")
        labels.append(
            labels_csv.LabelRow(
                str(k), f"l{k}.png", 6, 4, content_hash(tmp_path / f"l{k}.png"), 0, (1,)
            )
        )
    images_csv.write(tmp_path / "images.csv", rows)
    labels_csv.write(tmp_path / "labels.csv", labels, ["a"])

    def make(size, labelled=True):
        given = (tmp_path / "labels.csv", {"7": 0, "9": 1}) if labelled else ()
        return DataSet(tmp_path, tmp_path / "images.csv", size, *given)

    return make


def test_a_labelled_set_holds_the_images_that_have_a_label(dataset):
    labelled = dataset((2, 3))
    assert labelled.ids == ["0", "2"] and labelled.position == {"0": 0, "2": 1}
    image, label = labelled.pair(1)
    assert image.shape == (2, 3, 3) and (image == 100).all()
    assert label.shape == (2, 3) and (label == 1).all()
    assert labelled.own_label(0).shape == (4, 6)
    assert dataset((2, 3), labelled=False).ids == ["0", "1", "2"]


def test_without_a_size_images_keep_their_own(dataset):
    assert dataset(None).pair(0)[0].shape == (4, 6, 3)
    assert dataset(None).pair(0)[1].shape == (4, 6)


def test_a_file_that_is_not_what_the_scan_saw_is_named_and_not_used(dataset, tmp_path, save):
    """Its result is named by what the scan saw."""
    for damage in (
        lambda path: path.write_text("gone bad"),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: save(np.full((4, 6, 3), 99, np.uint8), path.name),  # a good image, another one
    ):
        damage(tmp_path / "i1.png")
        with pytest.raises(UserError, match=r"i1\.png: changed since it was scanned"):
            dataset((2, 3), labelled=False).image(1)
    (tmp_path / "l2.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"l2\.png: changed since it was scanned"):
        dataset((2, 3)).pair(1)
    (tmp_path / "i1.png").unlink()
    with pytest.raises(UserError, match=r"i1\.png: cannot be read \(No such file") as told:
        dataset((2, 3), labelled=False).image(1)
    assert "restore the file, then start again" in str(told.value)


def test_what_is_kept_is_not_decoded_again(dataset, tmp_path):
    labelled = dataset((2, 3))
    first = labelled.pair(0)
    (tmp_path / "i0.png").unlink()
    assert labelled.pair(0) is first


def test_the_table_of_labels_says_which_file_holds_ids_in_16_bit_colours(tmp_path, save):
    ids = np.array([[3, 1], [22, 0]], np.uint8)
    save_wide(tmp_path / "wide.png", ids, 300)
    save(ids, "copy.png")
    rows = [
        labels_csv.LabelRow(
            name, f"{name}.png", 2, 2, content_hash(tmp_path / f"{name}.png"), 0, (1,), mode
        )
        for name, mode in (("copy", "L"), ("wide", WIDE_COLOUR))
    ]
    labels_csv.write(tmp_path / "labels.csv", rows, ["a"])
    images = [images_csv.ImageRow(row.id, "x.png", 2, 2, "") for row in rows]
    images_csv.write(tmp_path / "images.csv", images)
    label_ids = {str(i): c for i, c in SYNTHIA.label_ids.items()}
    files = (tmp_path / "images.csv", None, tmp_path / "labels.csv")
    both = DataSet(tmp_path, *files, label_ids)
    for number in range(2):
        np.testing.assert_array_equal(both.own_label(number), [[0, 10], [255, 255]])


def test_a_set_of_many_sizes_gives_each_image_its_own_and_one_working_size(tmp_path, save):
    sizes = [(10, 20), (7, 31), (40, 8)]
    images, labels = [], []
    for k, (height, width) in enumerate(sizes):
        save(np.full((height, width, 3), k, np.uint8), f"i{k}.jpg")
        save(np.full((height, width), k, np.uint8), f"l{k}.png")
        images.append(
            images_csv.ImageRow(
                str(k), f"i{k}.jpg", width, height, content_hash(tmp_path / f"i{k}.jpg")
            )
        )
        labels.append(
            labels_csv.LabelRow(
                str(k), f"l{k}.png", width, height, content_hash(tmp_path / f"l{k}.png"), 0, (1,)
            )
        )
    images_csv.write(tmp_path / "images.csv", images)
    labels_csv.write(tmp_path / "labels.csv", labels, ["a"])
    label_ids = {"0": 0, "1": 1, "2": 2}
    files = (tmp_path / "images.csv", (12, 16), tmp_path / "labels.csv")
    found = DataSet(tmp_path, *files, label_ids)
    for k, size in enumerate(sizes):
        image, label = found.pair(k)
        assert image.shape == (12, 16, 3) and label.shape == (12, 16) and (label == k).all()
        assert found.own_label(k).shape == size


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60))
def test_the_cache_stays_below_its_limit_and_gives_what_was_asked_for(asked):
    cache, sizes = ArrayCache(100), {}
    for number, size in asked:
        size = sizes.setdefault(number, size * (1 + number % 3 * 2))  # some alone above the limit
        got = cache.get(number, lambda n, s=size: (np.full(s, n, np.uint8),))
        assert got[0].tolist() == [number] * size
        held = sum(a.nbytes for arrays in cache._kept.values() for a in arrays)
        assert held == cache._bytes <= 100


def test_the_longest_unused_goes_first():
    cache, made = ArrayCache(30), []

    def make(number):
        made.append(number)
        return (np.zeros(10, np.uint8),)

    for number in (1, 2, 3, 1, 4, 1, 3, 2):
        cache.get(number, make)
    assert made == [1, 2, 3, 4, 2]
