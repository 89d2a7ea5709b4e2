"""export_model: an ONNX file that says what the network says, and a page about it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import export_model
from scalewise.artifacts import table
from scalewise.artifacts.hashing import content_hash
from scalewise.errors import UserError
from scalewise.exporting import Difference, check_inputs, compare, export
from scalewise.model_card import card, origin_of
from scalewise.models import store
from scalewise.models.network import Network, normalise, upsample
from scalewise.models.store import LoadedModel
from workflow_runs import ROOT

PREPROCESSING = {"order": "bgr", "mean": [104.0, 117.0, 123.0], "scale": [50.0, 60.0, 70.0]}
OPTIONS = {
    "compact": {"width": 4},
    "fcn8s_vgg16": {"width": 2, "hidden": 4},
    "deeplabv2_resnet101": {"width": 2},
}
CLASSES = ["road", "a|b *c* <d>", "sky"]


def model_of(name, size=(40, 56)):
    """A network with random weights everywhere."""
    torch.manual_seed(0)
    settings = {"name": name, **OPTIONS[name], "preprocessing": PREPROCESSING}
    network = store.build(settings, len(CLASSES)).eval()
    with torch.no_grad():
        for parameter in network.classifier_parameters():
            torch.nn.init.normal_(parameter)
    return LoadedModel(network, settings, CLASSES, size)


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def images_of(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "preprocessing"),
    [
        ("compact", False),
        ("fcn8s_vgg16", True),
        pytest.param("deeplabv2_resnet101", False, marks=pytest.mark.slow),
    ],
)
def test_every_network_says_the_same_as_onnx_at_any_batch_and_size(tmp_path, name, preprocessing):
    model, path = model_of(name), tmp_path / "model.onnx"
    export(model, path, preprocessing=preprocessing, opset=18)
    session = session_of(path)
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    if preprocessing:
        assert (given.shape, given.type) == (["batch", "height", "width", 3], "tensor(uint8)")
    else:
        assert (given.shape, given.type) == (["batch", 3, "height", "width"], "tensor(float)")
    assert output.shape == ["batch", 3, "height", "width"]
    for shape in ((1, 40, 56), (3, 33, 47), (2, 9, 8), (1, 130, 64)):
        images = torch.from_numpy(images_of(*shape))
        normalised = normalise(images, PREPROCESSING).contiguous()
        with torch.no_grad():
            own = model.network(normalised)
            expected = upsample(own, shape[1:], align_corners=model.network.align_corners).numpy()
        (found,) = session.run(None, {"images": (images if preprocessing else normalised).numpy()})
        assert found.dtype == np.float32 and found.shape == (shape[0], 3, *shape[1:])
        assert np.abs(expected).max() > 0.01
        assert np.allclose(found, expected, atol=1e-5, rtol=1e-5)
    content = path.read_bytes()
    # nothing of this machine
    assert str(ROOT).encode() not in content and not re.search(rb"\.py\b", content)
    said = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    assert said == {"classes": CLASSES, "size": [40, 56], "network": model.settings}


class FixedSize(Network):
    """Takes images of one size alone."""

    def forward(self, images):
        if images.shape[2] != 64:
            raise ValueError("64 rows")
        return images


class ByValues(Network):
    """Does something that depends on the values."""

    def forward(self, images):
        return images if images.sum() > 0 else -images


class OneClass(Network):
    def forward(self, images):
        return images[:, :1]


def test_a_network_that_is_not_free_in_size_and_an_opset_that_cannot_be_are_told(tmp_path):
    path = tmp_path / "model.onnx"
    for network, told in ((FixedSize(), "width: it demands 64"), (ByValues(), r"width \(")):
        fixed = LoadedModel(network, {"preprocessing": PREPROCESSING}, CLASSES, (64, 96))
        match = f"cannot be written as ONNX for any batch, height and {told}"
        with pytest.raises(UserError, match=match):
            export(fixed, path, preprocessing=False, opset=18)
    free = LoadedModel(OneClass(), {"preprocessing": PREPROCESSING}, CLASSES, (64, 96))
    export(free, path, preprocessing=False, opset=20)
    assert onnx.load(path).opset_import[0].version == 20
    with pytest.raises(UserError, match="--opset 99: this network cannot be written so, but with"):
        export(free, path, preprocessing=False, opset=99)


def constant_file(path, value):
    """An ONNX file that gives its input, plus a value in the first row of class 0."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["batch", 3, "height", "width"]
    added = np.zeros((1, 3, 8, 9), np.float32)
    added[0, 0, 0] = value
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "added"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("logits", kind, shape)],
        [onnx.numpy_helper.from_array(added, "added")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)


class Itself(Network):
    def forward(self, images):
        return images


def test_the_difference_by_hand(tmp_path):
    plain = {"order": "rgb", "mean": [0.0] * 3, "scale": [1.0] * 3}
    model = LoadedModel(Itself(), {"preprocessing": plain}, CLASSES, (8, 9))
    images = np.zeros((2, 8, 9, 3), np.uint8)
    images[..., 1] = 7
    constant_file(tmp_path / "m.onnx", 6.5)
    found = compare(model, tmp_path / "m.onnx", [images], preprocessing=False)
    assert found == Difference(6.5, 7.0, 0, 144, [(2, 8, 9)])
    # beyond the 7 of class 1 in a row of 9 pixels of each image
    constant_file(tmp_path / "m.onnx", 8.0)
    found = compare(model, tmp_path / "m.onnx", [images, images], preprocessing=False)
    assert found == Difference(8.0, 7.0, 36, 288, [(2, 8, 9)] * 2)
    assert found.share == 36 / 288
    (tmp_path / "m.onnx").write_bytes(b"no onnx")
    with pytest.raises(UserError, match="onnxruntime cannot run it"):
        compare(model, tmp_path / "m.onnx", [images], preprocessing=False)


def test_what_is_within_the_tolerance():
    def is_within(largest, logits=0.5, other=0):
        return export_model.is_within(Difference(largest, logits, other, 10_000, []), 1e-3)

    assert is_within(0.001) and not is_within(0.0011)
    assert is_within(0.02, logits=20.0) and not is_within(0.021, logits=20.0)
    assert is_within(0.0, other=10) and not is_within(0.0, other=11)
    assert not is_within(float("nan"))


def test_the_file_is_checked_on_several_sizes_and_batches():
    inputs = list(check_inputs((40, 56)))
    assert [x.shape for x in inputs] == [
        (1, 40, 56, 3), (3, 40, 56, 3), (2, 21, 20, 3), (2, 37, 51, 3), (1, 51, 73, 3),
    ]  # fmt: skip
    assert all(x.dtype == np.uint8 and x.std() > 20 for x in inputs)


# --- the page -------------------------------------------------------------------------------------


def made_up_result(root, model):
    """Files of a retraining and its evaluation, with the settings that say so; the model's path."""
    folder = root / "results" / "retrain" / "aaaa"
    folder.mkdir(parents=True)
    path = folder / "model.safetensors"
    store.save(path, model.network, model.settings, model.classes, model.size)
    record = {
        "stage": "retrain", "key": "aaaa", "code": "c", "settings": {}, "inputs": {},
        "contents": {}, "title": "lse, seed 0, round 2", "device": "cpu", "finished": "today",
        "versions": {"torch": "2"}, "config": {"project": "a```b", "data": {"classes": "x"}},
        "files": {path.name: {"hash": content_hash(path)}},
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(record))
    for key, of, ious in (("other", "bbbb", [1.0, 1.0, 1.0]), ("own", "aaaa", [50.0, 25.55, None])):
        evaluation = root / "results" / "evaluate" / key
        evaluation.mkdir(parents=True)
        record = {**record, "stage": "evaluate", "key": key,
                  "inputs": {"model": {"stage": "retrain", "key": of}}}  # fmt: skip
        (evaluation / "settings.json").write_text(json.dumps(record))
        rows = zip(model.classes, ious, strict=True)
        table.write(evaluation / "iou.csv", ["class", "iou"], rows)
    return path


def page_of(model, path):
    return card(
        "m.onnx", model, "hash", origin_of(path, model.classes),
        Difference(1.5e-6, 12.0, 3, 6000, [(1, 40, 56), (2, 37, 51)]), {"torch": "2", "onnx": "1"},
        preprocessing=True, opset=18,
    )  # fmt: skip


def test_the_page_has_the_iou_and_the_settings_of_the_result_and_the_difference(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = model_of("compact")
    path = made_up_result(tmp_path, model)
    page = page_of(model, path)
    assert "| 0 | road | 50.0 |" in page
    # names are text, also in a table
    assert "| 1 | a\\|b \\*c\\* &lt;d&gt; | 25.6 |" in page or "| 25.5 |" in page
    assert "| 2 | sky |  |\n|  | mean of 2 | 37.8 |" in page
    assert "| result | retrain/aaaa |" in page and "lse, seed 0, round 2" in page
    assert "````yaml\nproject: a```b\n" in page
    assert "| input | images | uint8 | (N, H, W, 3) | RGB, 0 to 255 |" in page
    assert "Channels in the order BGR" in page and "The file does this itself." in page
    assert "6,000 pixels of images of 1x40x56, 2x37x51" in page
    assert "is 1.5e-06 (logits up to 12)" in page and "in 3 pixels (0.05 %)" in page
    assert "whoever uses or passes on this file must check those licences" in page
    # through the links for people
    links = tmp_path / "links"
    links.symlink_to(path.parent)
    assert page_of(model, links / path.name) == page


def test_a_record_of_other_weights_or_an_iou_of_other_classes_is_not_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = model_of("compact")
    path = made_up_result(tmp_path, model)
    other = LoadedModel(model.network, model.settings, ["x", "y", "z"], model.size)
    assert origin_of(path, other.classes).iou is None
    store.save(path, model.network, model.settings, model.classes, (48, 56))
    page = page_of(model, path)
    assert "No evaluation of it was found." in page and "| 0 | road |\n" in page
    assert "No settings.json of the result was found" in page and "aaaa" not in page
    # a copy with nothing but a table of IoU beside it
    table.write(path.parent / "iou.csv", ["class", "iou"], zip(CLASSES, [1.0] * 3, strict=True))
    assert "from the iou.csv beside the model file; no settings.json" in page_of(model, path)


# --- the command ----------------------------------------------------------------------------------


def call(*arguments):
    """The exit status of export_model."""
    before, sys.argv = sys.argv, ["export_model.py", *map(str, arguments)]
    try:
        export_model.main()
    except SystemExit as error:
        return error.code
    finally:
        sys.argv = before
    return 0


def test_odd_names_through_make(tmp_path):
    model = model_of("compact")
    odd = tmp_path / """it's a "$HOME" $(x) `y` ; # -n"""
    path = made_up_result(odd, model)
    out = odd / "-o $@ 'm'.onnx"
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/ready", f"BIN={Path(sys.executable).parent}", "export",
         f"MODEL={path}", f"OUT={out}", "ARGS=--preprocessing --opset 20"],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second, last = done.stdout.splitlines()
    assert first.startswith("largest difference ") and second == (
        "another class in 0 of 17297 pixels (0 %)"
    )
    assert last == f"{out}, and {out.with_suffix('.md').name} with the IoU of its evaluation"
    assert "| 0 | road | 50.0 |" in out.with_suffix(".md").read_text()
    images = images_of(2, 20, 30)
    (found,) = session_of(out).run(None, {"images": images})
    with torch.no_grad():
        own = model.network(normalise(torch.from_numpy(images), PREPROCESSING))
    assert np.allclose(found, upsample(own, (20, 30)).numpy(), atol=1e-5)


def test_where_it_differs_too_much_nothing_is_left(tmp_path, monkeypatch, capsys):
    path = made_up_result(tmp_path, model_of("compact"))
    out = tmp_path / "out" / "m.onnx"
    monkeypatch.setattr(export_model, "export", lambda model, file, **_: file.write_text("new"))
    differs = Difference(0.5, 3.0, 1234, 10_000, [(1, 2, 3)])
    monkeypatch.setattr(export_model, "compare", lambda *_, **__: differs)
    assert "differs too much" in call(path, "--out", out)
    assert capsys.readouterr().out == (
        "largest difference 0.5 (logits up to 3)\nanother class in 1234 of 10000 pixels (12 %)\n"
    )
    assert list(out.parent.iterdir()) == []
    out.write_text("old")
    assert "differs too much" in call(path, "--out", out)
    assert out.read_text() == "old" and list(out.parent.iterdir()) == [out]
    assert "differs too much" in call(path, "--out", out, "--tolerance", "1")  # of the classes
    monkeypatch.setattr(export_model, "compare", lambda *_, **__: differs._replace(other=0))
    assert call(path, "--out", out, "--tolerance", "0.2") == 0
    assert sorted(p.name for p in out.parent.iterdir()) == ["m.md", "m.onnx"]


def test_mistakes_are_one_message(tmp_path, capsys):
    path = made_up_result(tmp_path, model_of("compact"))
    assert "m.pt: the name is to end in .onnx" in call(path, "--out", tmp_path / "m.pt")
    assert "no such file: name the model.safetensors" in call(tmp_path / "gone", "--out", "m.onnx")
    path.write_bytes(b"x")
    assert "not a readable safetensors file" in call(path, "--out", tmp_path / "m.onnx")
    assert call(path, "--out", "m.onnx", "--opset", "17") == 2
    assert call(path, "--out", "m.onnx", "--tolerance", "nan") == 2
    assert "'nan': give a number" in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()
