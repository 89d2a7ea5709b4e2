"""predict: any image, any folder, the model of a result; resumed, and safe to stop."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import predict
from scalewise import class_colors, devices
from scalewise.artifacts import prediction_record, problems_csv, table
from scalewise.data.given_files import given_files
from scalewise.data.photographs import read_upright
from scalewise.data.reading import UnreadableImage
from scalewise.errors import UserError
from scalewise.inference import logits
from scalewise.models import store
from scalewise.models.network import Network, upsample
from scalewise.models.store import LoadedModel
from scalewise.prediction import How, Predictor, View, rows_of, starts, views
from scalewise.taxonomy import CAMVID, CITYSCAPES, CITYSCAPES_LABEL_IDS
from workflow_runs import ROOT

CPU = torch.device("cpu")
PLAIN = {"order": "rgb", "mean": [0.0, 0.0, 0.0], "scale": [1.0, 1.0, 1.0]}
SCRIPT = str(ROOT / "workflow_scripts" / "predict.py")


# --- views ----------------------------------------------------------------------------------------


def test_windows_by_hand():
    assert starts(4, 4) == [0]
    assert starts(3, 4) == [0]
    assert starts(5, 4) == [0, 1]
    # 6 pixels to go in steps of at most 2
    assert starts(10, 4) == [0, 2, 4, 6]
    assert starts(9, 4) == [0, 1, 3, 5]
    assert starts(3, 1) == [0, 1, 2]


@given(length=st.integers(1, 400), window=st.integers(1, 100))
def test_windows_cover_all_and_overlap_by_a_third(length, window):
    found = starts(length, window)
    assert found[0] == 0 and found[-1] == max(0, length - window)
    steps = np.diff(found)
    assert (steps > 0).all() and ((steps <= 2 * window / 3) | (steps == 1)).all()
    assert steps.size == 0 or steps.max() - steps.min() <= 1


def test_views_of_a_whole_image_and_of_windows_by_hand():
    whole = views((30, 50), (12, 20), How(scales=(0.5, 1.0), flip=True))
    assert [(v.size, v.mirrored) for v in whole] == [
        ((6, 10), False), ((6, 10), True), ((12, 20), False), ((12, 20), True),
    ]  # fmt: skip
    assert {v[:4] for v in whole} == {(0, 0, 30, 50)}
    # at scale 2 a window of 8 x 8 covers 4 x 4 pixels of the image
    assert views((4, 6), (12, 20), How(window=(8, 8), scales=(2.0,))) == [
        View(0, 0, 4, 4, (8, 8), False),
        View(0, 2, 4, 4, (8, 8), False),
    ]
    # an image that is smaller than the window is not enlarged
    assert views((5, 20), (12, 20), How(window=(8, 20))) == [View(0, 0, 5, 20, (5, 20), False)]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(1, 5), (7, 5), (8, 30), (23, 9)])
def test_a_band_of_rows_is_that_of_the_whole(size, align_corners):
    own = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(1))
    whole = upsample(own, size, align_corners=align_corners)
    for start in range(size[0]):
        for stop in range(start + 1, size[0] + 1):
            band = rows_of(own, size, start, stop, align_corners=align_corners)
            assert torch.allclose(band, whole[:, :, start:stop], atol=1e-5)


class ByColumn(Network):
    """Logits at the size of the input: log 3 for class 0 in the first column, else 0."""

    def forward(self, images):
        result = torch.zeros(len(images), 2, *images.shape[2:])
        result[:, 0, :, 0] = math.log(3)
        return result


class ByColour(Network):
    """Three classes: the channel that is brightest."""

    def forward(self, images):
        return images


def model_of(network, classes, size):
    names = [f"class {k}" for k in range(classes)]
    return LoadedModel(network, {"preprocessing": PLAIN}, names, size)


def predicted(model, image, how=How(), **band):  # noqa: B008
    (result,) = Predictor(model, CPU, how, **band)([image])
    return result


def test_windows_are_averaged_where_they_overlap():
    # windows of 4 columns from columns 0 and 1: class 0 has 3/4 in the first column of each
    result = predicted(model_of(ByColumn(), 2, (1, 4)), np.zeros((1, 5, 3), np.uint8),
                       How(window=(1, 4)))  # fmt: skip
    probability = np.array([[3 / 4, (1 / 2 + 3 / 4) / 2, 1 / 2, 1 / 2, 1 / 2]])
    assert (result.label == 0).all()  # the lowest of those equally probable
    assert result.confidence.tolist() == np.round(255 * probability).astype(int).tolist()
    # H(3/4) = 0.8113 bits, H(5/8) = 0.9544 bits, of 1
    assert result.entropy.tolist() == [[207, 243, 255, 255, 255]]


def test_a_mirrored_view_is_mirrored_back():
    image = np.zeros((1, 3, 3), np.uint8)
    plain = predicted(model_of(ByColumn(), 2, (1, 3)), image)
    both = predicted(model_of(ByColumn(), 2, (1, 3)), image, How(flip=True))
    assert plain.confidence.tolist() == [[191, 128, 128]]  # 3/4, 1/2, 1/2
    assert both.confidence.tolist() == [[159, 128, 159]]  # 5/8 at both ends


def test_the_result_has_the_images_own_size_and_its_own_place():
    image = np.zeros((6, 9, 3), np.uint8)
    image[:, :3, 0] = image[:2, 3:, 1] = image[2:, 3:, 2] = 200
    expected = np.where(np.arange(9) < 3, 0, np.where(np.arange(6)[:, None] < 2, 1, 2))
    for how in (
        How(),
        How(window=(3, 3)),
        How(window=(4, 5), flip=True),
        How(window=(3, 3), batch=1),
        How(flip=True, scales=(1.0, 2.0)),
    ):
        for band in (1, 60, 10_000):
            result = predicted(model_of(ByColour(), 3, (6, 9)), image, how, band=band)
            assert result.label.dtype == np.uint8
            assert (result.label == expected).all(), (how, band)


def compact(seed=0, classes=5, size=(24, 32), width=4):
    """A network whose classes all occur: its weights are random, and no class leads on average."""
    torch.manual_seed(seed)
    settings = {"name": "compact", "width": width, "preprocessing": {**PLAIN, "scale": [64.0] * 3}}
    network = store.build(settings, classes).eval()
    model = LoadedModel(network, settings, [f"c{k}" for k in range(classes)], size)
    with torch.no_grad():
        network.classifier.weight *= 100
        some = torch.from_numpy(np.stack([picture(k, *size) for k in range(8)]))
        network.classifier.bias -= logits(model, some, CPU).mean((0, 2, 3))
    return model


def picture(seed, height, width):
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def test_a_whole_image_is_predicted_as_the_evaluation_predicts_it():
    model = compact()
    image = picture(1, 50, 70)
    small = np.asarray(Image.fromarray(image).resize((32, 24), Image.Resampling.BICUBIC))
    own = logits(model, torch.from_numpy(small[None].copy()), CPU)
    expected = upsample(own, (50, 70))[0].argmax(0).numpy()
    assert len(np.unique(expected)) > 1
    assert (predicted(model, image).label == expected).all()


@pytest.mark.parametrize("how", [How(), How(window=(16, 20), scales=(0.5, 1.0), flip=True)])
def test_neither_batch_nor_band_nor_company_changes_a_prediction(how):
    model = compact()
    images = [picture(k, 40 + 3 * k, 50) for k in range(3)]
    whole = list(Predictor(model, CPU, how)(images))
    for batch, band in ((1, 1 << 24), (5, 1000), (2, 1)):
        parts = Predictor(model, CPU, how._replace(batch=batch), band)(images)
        for a, b in zip(whole, parts, strict=True):
            assert len(np.unique(a.label)) > 2
            assert (a.label != b.label).mean() < 0.002  # ties in the last bit
            assert np.abs(a.entropy.astype(int) - b.entropy).max() <= 1


def test_a_view_that_is_too_small_and_a_network_that_gives_nan_are_told():
    settings = {"name": "deeplabv2_resnet101", "width": 2, "preprocessing": PLAIN}
    model = LoadedModel(store.build(settings, 2), settings, ["a", "b"], (16, 16))
    with pytest.raises(UnreadableImage, match="at least 7 pixels"):
        predicted(model, np.zeros((5, 40, 3), np.uint8), How(window=(16, 16)))
    model = compact()
    model.network.classifier.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        predicted(model, np.zeros((8, 8, 3), np.uint8))


# --- photographs ----------------------------------------------------------------------------------


def test_orientation_is_honoured(tmp_path):
    # stored: red, green in one row; to be turned by 90 degrees clockwise: red above green
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))
    for name in ("a.png", "a.tif"):
        stored.save(tmp_path / name, exif=exif)
        assert read_upright(tmp_path / name).tolist() == [[[255, 0, 0]], [[0, 255, 0]]]


def test_kinds_of_pixels_become_8_bit_rgb(tmp_path):
    def read(image, name="x.png", **how):
        image.save(tmp_path / name, **how)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = read_upright(tmp_path / name)
        assert result.dtype == np.uint8 and result.shape == (*image.size[::-1], 3)
        return result

    grey = Image.fromarray(np.array([[0, 7, 255]], np.uint8))
    assert read(grey).tolist() == [[[0] * 3, [7] * 3, [255] * 3]]
    # what is transparent keeps its colour
    alpha = Image.fromarray(np.array([[[9, 8, 7, 0], [1, 2, 3, 255]]], np.uint8))
    assert read(alpha).tolist() == [[[9, 8, 7], [1, 2, 3]]]
    assert read(Image.merge("LA", (grey, grey))).tolist() == [[[0] * 3, [7] * 3, [255] * 3]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert read(palette).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert read(palette, transparency=b"\x00\x80").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert read(Image.fromarray(np.array([[True, False]]))).tolist() == [[[255] * 3, [0] * 3]]
    # the upper 8 of 16 bits
    for name in ("x.png", "x.tif", "x.pgm"):
        wide = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
        assert read(wide, name)[0, :, 0].tolist() == [0, 0, 1, 255]
    assert read(Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "x.tif").tolist() == [[[255] * 3]]


def test_colours_of_16_bits(tmp_path):
    blue_green_red = np.array([[[65535, 256, 255]]], np.uint16)
    assert cv2.imwrite(str(tmp_path / "x.png"), blue_green_red)
    assert read_upright(tmp_path / "x.png").tolist() == [[[0, 1, 255]]]


def test_what_cannot_be_used_is_told(tmp_path):
    def told(name, match):
        with pytest.raises(UnreadableImage, match=match):
            read_upright(tmp_path / name)

    told("gone.png", "the file is gone")
    (tmp_path / "x.png").write_text("x")
    told("x.png", "not an image")
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "f.tif")
    told("f.tif", "fractions")
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(tmp_path / "i.tif")
    told("i.tif", "more than 16 bits")
    os.mkfifo(tmp_path / "pipe.png")
    told("pipe.png", "no ordinary file")
    (tmp_path / "folder.png").mkdir()
    told("folder.png", "cannot be read")


# --- which files ----------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def names_of(words, out):
    files, others = given_files([str(w) for w in words], out)
    return {Path(f.path).relative_to(out.parent).as_posix(): f.name for f in files}, others


def test_a_folder_with_its_folders_without_hidden_files_results_and_other_kinds(tmp_path):
    touch(tmp_path / "in", "b.JPG", "a/c.v2.png", "a/notes.txt", ".hidden.png", "out/label/b.png")
    found = names_of([tmp_path / "in"], tmp_path / "out")
    assert found == ({"in/b.JPG": "b", "in/a/c.v2.png": "a/c.v2",
                      "in/out/label/b.png": "out/label/b"}, 1)  # fmt: skip
    files, _ = given_files([str(tmp_path / "in")], tmp_path / "in" / "out")
    assert [f.name for f in files] == ["a/c.v2", "b"]


def test_globs_start_where_their_wildcards_do_and_a_name_is_a_name(tmp_path):
    touch(tmp_path / "in", "a/x.png", "b/x.png", "b/y.jpg", "n[1]/z.png", "*.png", "raw")
    out = tmp_path / "out"
    assert names_of([tmp_path / "in" / "?" / "*.png"], out)[0] == {
        "in/a/x.png": "a/x", "in/b/x.png": "b/x",
    }  # fmt: skip
    assert set(names_of([tmp_path / "in" / "**" / "*.jpg"], out)[0].values()) == {"b/y"}
    assert names_of([tmp_path / "in" / "*.png"], out)[0] == {"in/*.png": "*"}
    assert names_of([tmp_path / "in" / "n[1]"], out)[0] == {"in/n[1]/z.png": "z"}
    assert names_of([tmp_path / "in" / "raw"], out)[0] == {"in/raw": "raw"}


def test_two_images_of_one_name_are_refused_and_one_image_twice_is_one(tmp_path):
    touch(tmp_path / "in", "a.png", "a.jpg")
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png: results of both would be a\.png"):
        given_files([str(tmp_path / "in")], out)
    one = str(tmp_path / "in" / "a.png")
    assert len(given_files([one, one, str(tmp_path / "in" / "*.png")], out)[0]) == 1


def test_words_that_name_nothing_are_refused(tmp_path):
    touch(tmp_path, "in/notes.txt", "out/label/a.png")
    for word, match in (
        ("in", "no images in this folder"),
        ("gone", "no such file or folder"),
        ("in/*.png", "no file matches"),
        ("out", "would share one folder"),
        ("out/label", "no images there but what lies in"),
    ):
        with pytest.raises(UserError, match=match):
            given_files([str(tmp_path / word)], tmp_path / "out")


# --- colours --------------------------------------------------------------------------------------


def test_colours_of_known_classes_of_own_ones_and_of_others(tmp_path):
    model = tmp_path / "model.safetensors"
    assert class_colors.colors_for(CAMVID.names, model).tolist() == [list(c) for c in CAMVID.colors]
    others = class_colors.colors_for([str(k) for k in range(40)], model)
    assert others.dtype == np.uint8 and len({tuple(c) for c in others.tolist()}) == 40
    record = dict.fromkeys(("stage", "key", "code", "settings", "inputs", "contents"), "")
    own = [{"name": "cat", "color": [1, 2, 3]}, {"name": "dog", "color": [4, 5, 6]}]
    record["config"] = {"data": {"classes": own}}
    (tmp_path / "settings.json").write_text(json.dumps(record))
    assert class_colors.colors_for(["cat", "dog"], model).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert class_colors.colors_for(["dog", "cat"], model).tolist() != [[4, 5, 6], [1, 2, 3]]


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    """A model of CamVid's classes, and a folder with three images of different sizes."""
    save_model(tmp_path / "model.safetensors", CAMVID.names)
    for k, name in enumerate(("a.png", "b.jpg", "deep/c.png")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(k, 30 + k, 44)).save(path)
    return tmp_path


def save_model(path, classes, seed=0):
    model = compact(seed, len(classes))
    store.save(path, model.network, model.settings, list(classes), model.size)


def call(place, *arguments, images="in", out="out"):
    """The exit status of predict."""
    words = [place / "model.safetensors", place / images, "--out", place / out]
    before, sys.argv = sys.argv, ["predict.py", *map(str, [*words, "--device", "cpu", *arguments])]
    try:
        predict.main()
    except SystemExit as error:
        return error.code
    finally:
        sys.argv = before


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def files_of(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def stamps(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")}


def test_what_is_written(place, capsys):
    assert call(place, "--color", "--overlay", "--confidence", "--entropy") == 0
    kinds = ("label", "color", "overlay", "confidence", "entropy")
    pngs = {f"{kind}/{name}.png" for kind in kinds for name in ("a", "b", "deep/c")}
    assert files_of(place / "out") == pngs | {"classes.csv", "predictions.jsonl"}
    out = place / "out"
    image, label = pixels(place / "in" / "a.png"), pixels(out / "label" / "a.png")
    assert label.shape == (30, 44) and label.max() < 11 and len(np.unique(label)) > 1
    colors = np.array(CAMVID.colors)[label]
    assert (pixels(out / "color" / "a.png") == colors).all()
    assert (pixels(out / "overlay" / "a.png") == (image.astype(int) + colors) // 2).all()
    expected = predicted(store.load(place / "model.safetensors"), image)
    assert (label == expected.label).all()
    for kind in ("confidence", "entropy"):
        assert np.abs(pixels(out / kind / "a.png").astype(int) - getattr(expected, kind)).max() <= 1
    rows = table.read(out / "classes.csv", {"class": str, "id": int, "red": int})
    assert rows["class"] == list(CAMVID.names) and rows["id"] == list(range(11))
    assert rows["red"] == [c[0] for c in CAMVID.colors]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "3 images, 11 classes, seen whole, at 24x32",
        f"predicted 3 images into {out}",
    ]
    assert said.err == ""


def test_ids_of_cityscapes_where_the_classes_are_its_own(place, capsys):
    assert "not those of Cityscapes" in call(place, "--ids", "cityscapes")
    save_model(place / "model.safetensors", CITYSCAPES.names)
    assert call(place) == 0
    assert call(place, "--ids", "cityscapes", out="ids") == 0
    train = pixels(place / "out" / "label" / "a.png")
    assert len(np.unique(train)) > 1
    expected = np.array(CITYSCAPES_LABEL_IDS)[train]
    assert (pixels(place / "ids" / "label" / "a.png") == expected).all()
    assert "holds predictions made with ids cityscapes, not train" in call(place, out="ids")


def test_it_goes_on_and_makes_only_what_is_missing_or_changed(place, capsys):
    assert call(place) == 0
    before = stamps(place / "out")
    capsys.readouterr()
    assert call(place) == 0
    assert stamps(place / "out") == before
    assert "predicted 0 images" in (said := capsys.readouterr().out) and "(3 more were" in said
    # an image that changed, a file that is gone, one more image
    Image.fromarray(picture(9, 30, 44)).save(place / "in" / "a.png")
    (place / "out" / "label" / "b.png").unlink()
    Image.fromarray(picture(8, 30, 44)).save(place / "in" / "d.png")
    assert call(place) == 0
    after = stamps(place / "out")
    same = [p.name for p in before if after[p] == before[p]]
    assert same == ["c.png"]
    fresh = predicted(store.load(place / "model.safetensors"), picture(9, 30, 44))
    assert (pixels(place / "out" / "label" / "a.png") == fresh.label).all()


def test_a_picture_of_an_older_image_never_stays(place):
    assert call(place, "--color") == 0
    assert call(place) == 0
    color = place / "out" / "color" / "a.png"
    assert color.exists()  # of the same image: it is right
    assert call(place, "--entropy") == 0
    before = stamps(place / "out")
    assert call(place, "--color", "--entropy") == 0  # both are there, from two runs
    assert stamps(place / "out") == before
    Image.fromarray(picture(9, 30, 44)).save(place / "in" / "a.png")
    assert call(place) == 0
    assert not color.exists() and (place / "out" / "color" / "b.png").exists()
    assert call(place, "--color") == 0
    label = pixels(place / "out" / "label" / "a.png")
    assert (pixels(color) == np.array(CAMVID.colors)[label]).all()


def test_another_model_or_option_is_refused_or_made_anew(place):
    assert call(place, "--scales", "1,0.5") == 0
    assert call(place, "--scales", "0.5,1") == 0
    before = stamps(place / "out")
    assert "scales [0.5, 1.0], not [1.0]: name another" in call(place)
    assert "made with window None, not [8, 8]" in call(place, "--window", "8x8", "--scales", ".5,1")
    save_model(place / "model.safetensors", CAMVID.names, seed=1)
    assert "holds predictions of another model" in call(place, "--scales", "0.5,1")
    assert stamps(place / "out") == before
    assert call(place, "--redo", "--window", "8x8") == 0
    after = stamps(place / "out")
    assert all(after[path] != before[path] for path in before)
    assert call(place, "--redo", "--window", "8x8") == 0
    assert stamps(place / "out") == after


def test_files_that_are_no_use_are_told_at_the_end_and_the_others_made(place, capsys):
    (place / "in" / "aa.png").write_text("no image")
    (place / "in" / "notes.txt").write_text("")
    (place / "in" / "link.png").symlink_to("nothing")
    assert call(place) == 1
    said = capsys.readouterr().out
    assert "1 other file left out" in said and "predicted 3 images" in said
    assert f"2 images could not be used:\n  {place}/in/aa.png: not an image, or cut short\n" in said
    assert [(Path(p.file).name, p.problem, p.verdict)
            for p in problems_csv.read(place / "out" / "problems.csv")] == [
        ("aa.png", "not an image, or cut short", "skip"), ("link.png", "the file is gone", "skip"),
    ]  # fmt: skip
    assert call(place) == 1  # looked at again each time
    for name in ("aa.png", "link.png"):
        (place / "in" / name).unlink()
    assert call(place) == 0
    assert not (place / "out" / "problems.csv").exists()


def test_images_that_are_too_small_for_a_window_of_the_network_are_told(place):
    settings = {"name": "deeplabv2_resnet101", "width": 2, "preprocessing": PLAIN}
    network = store.build(settings, 11)
    store.save(place / "model.safetensors", network, settings, CAMVID.names, (16, 16))
    Image.fromarray(picture(1, 5, 40)).save(place / "in" / "aa.png")
    assert call(place, "--window", "24x24") == 1
    (problem,) = problems_csv.read(place / "out" / "problems.csv")
    assert problem.file.endswith("aa.png") and "at least 7 pixels" in problem.problem
    assert len(stamps(place / "out")) == 3


@pytest.mark.skipif(os.pathconf("/", "PC_NAME_MAX") != 255, reason="names of another length")
def test_a_name_that_is_too_long_for_results_is_told(place):
    Image.fromarray(picture(1, 5, 40)).save(place / "in" / ("x" * 248 + ".png"))
    assert call(place) == 1
    (problem,) = problems_csv.read(place / "out" / "problems.csv")
    assert "name is too long" in problem.problem


def test_the_device_is_a_locked_one_the_cpu_or_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEWISE_LOCKS", str(tmp_path))
    monkeypatch.setenv("SCALEWISE_DEVICES", "cpu")
    monkeypatch.setattr(devices.hold.__wrapped__, "__defaults__", (0.0,))
    with predict.device_for(None) as device:
        assert device == CPU
        with pytest.raises(UserError, match="no free device"), predict.device_for(None):
            pass
        with predict.device_for("cpu") as device:  # the CPU by name needs no lock
            assert device == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda:2", "gpu", "cuda:", "cuda:1x"):
        with (
            pytest.raises(UserError, match=f"{name}: .* it has cpu, cuda:0, cuda:1$"),
            predict.device_for(name),
        ):
            pass
    held = []
    monkeypatch.setattr(devices, "_slot", lambda name, place: held.append(name) or "slot")
    for name in ("cuda:1", "cuda"):
        with predict.device_for(name) as device:
            assert device.type == "cuda"
    assert held == ["cuda:1", "cuda:0"]


def test_mistakes_are_one_line(place, capsys):
    model = place / "model.safetensors"
    assert "no such file or folder" in call(place, images="gone")
    assert "--device cuda:99: not a device of this machine; it has cpu" in call(
        place, "--device", "cuda:99"
    )
    touch(place, "taken/label/a.png")
    assert "is there already, and no predictions.jsonl" in call(place, out="taken")
    (place / "taken" / "predictions.jsonl").write_text('{"a": 1}\n')
    assert "not a record of predictions" in call(place, out="taken")
    broken = compact(0, 11)
    broken.network.classifier.weight.data.fill_(math.nan)
    store.save(model, broken.network, broken.settings, CAMVID.names, broken.size)
    assert f"{model}: the network's output holds NaN" in call(place, out="other")
    model.write_bytes(model.read_bytes()[:1000])
    assert f"{model}: not a readable safetensors file" in (told := call(place))
    assert len(told.strip().splitlines()) == 1
    model.unlink()
    assert f"{model}: no such file: name the model.safetensors" in call(place)
    for option, value in (
        ("--window", "0x4"), ("--window", "4"), ("--scales", "0"), ("--scales", "nan"),
        ("--scales", "1,1"), ("--batch", "0"), ("--threads", "-1"),
    ):  # fmt: skip
        assert call(place, f"{option}={value}") == 2
        assert f"'{value}': give" in capsys.readouterr().err


def test_a_line_that_a_crash_cut_short_is_dropped_and_its_image_made_again(place):
    assert call(place) == 0
    record = place / "out" / "predictions.jsonl"
    lines = record.read_bytes()
    record.write_bytes(lines[:-5])
    assert call(place) == 0
    assert record.read_bytes() == lines
    record.write_bytes(b"")
    assert call(place) == 0
    assert record.read_bytes() == lines


def test_two_at_once_in_one_folder_are_refused(place):
    made_by = {"model": "x"}
    with prediction_record.opened(place / "out", made_by, ["label"]):
        assert "another process is writing predictions there" in call(place)


def run(*arguments, **how):
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=300, cwd=ROOT, **how
    )  # fmt: skip


# what is freed goes back to the system at once, so that the most memory is what was in use
LEAVES_NOTHING = {
    "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384",
}  # fmt: skip
# starting takes more for a moment than working does: that peak is forgotten
MEASURED = """
import re, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
import predict
open("/proc/self/clear_refs", "w").write("5")
try:
    predict.main()
finally:
    print("peak", re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


def peak_memory(words):
    """The most memory, in bytes, that predict held at once while it worked."""
    done = run(
        sys.executable, "-c", MEASURED, *map(str, words), env={**os.environ, **LEAVES_NOTHING}
    )
    assert done.returncode == 0, done.stderr
    return 1024 * int(re.search(r"^peak (\d+)$", done.stdout, re.MULTILINE)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted and freed otherwise there")
def test_memory_does_not_grow_with_the_number_of_images(place):
    few, many, size = 40, 440, (120, 160)
    words = [SCRIPT, place / "model.safetensors", "--device", "cpu", "--threads", "1", "--batch",
             "4", "--overlay"]  # fmt: skip
    peaks = []
    for count in (few, many):
        folder = place / f"{count}"
        folder.mkdir()
        for k in range(count):
            Image.fromarray(picture(k, *size)).save(folder / f"{k:03}.png")
        peaks.append(peak_memory([*words, folder, "--out", place / f"out{count}"]))
        assert len(files_of(place / f"out{count}" / "overlay")) == count
    # an eighth of the smallest thing that could be kept of an image, one byte for each pixel
    assert peaks[1] - peaks[0] < (many - few) * math.prod(size) / 8


def test_odd_names_through_make(place):
    odd = place / """it's a "$HOME" $(x) `y` ${z} \\ ; # 100% é, -n"""
    (odd / "-in, $$").mkdir(parents=True)
    model = odd / "$model's.safetensors"
    (place / "model.safetensors").rename(model)
    name = "-a 'b' \"c\" $d $(e) `f`; g*?[h]"
    Image.fromarray(picture(1, 30, 44)).save(odd / "-in, $$" / f"{name}.png")
    make = ["make", "-s", "-o", ".venv/ready", f"BIN={Path(sys.executable).parent}", "predict"]
    done = run(*make, f"MODEL={model}", f"IMAGES={odd / '-in, $$'}", f"OUT={odd / 'out $@'}",
               "ARGS=--color --device cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files_of(odd / "out $@") == {
        f"label/{name}.png", f"color/{name}.png", "classes.csv", "predictions.jsonl",
    }  # fmt: skip
    done = run(*make, f"MODEL={model}", "IMAGES=")
    assert done.returncode != 0 and "name all three: make predict MODEL=" in done.stderr


def test_stopped_anywhere_it_leaves_whole_files_and_goes_on_to_the_same(place):
    for k in range(40):
        Image.fromarray(picture(k, 200, 300)).save(place / "in" / f"more{k:02}.png")
    assert call(place, "--color", out="whole") == 0
    words = [sys.executable, SCRIPT, str(place / "model.safetensors"), str(place / "in"),
             "--out", str(place / "out"), "--color", "--device", "cpu", "--batch", "2"]  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        there = len(stamps(place / "out"))
        end = time.monotonic() + 120
        while len(stamps(place / "out")) < there + 6 and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130
            assert said == "stopped: the same command goes on from here\n"
            assert not [f for f in files_of(place / "out") if f.endswith(".tmp")]
        for path in stamps(place / "out"):
            pixels(path)  # whole
    assert len(stamps(place / "out")) < 86
    assert call(place, "--color") == 0
    for path in stamps(place / "whole"):
        again = place / "out" / path.relative_to(place / "whole")
        assert (pixels(path) == pixels(again)).all()
