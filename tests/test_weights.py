"""Weights files: what is read, renamed, fitted and refused."""

import logging
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scalewise.errors import UserError
from scalewise.models import store
from scalewise.models.deeplab import DeepLab
from scalewise.models.fcn8s import FCN8s
from scalewise.models.weights import WeightsFile, fit, load_file, load_into, read

PREPROCESSING = {"order": "bgr", "mean": [104.0, 116.7, 122.7], "scale": [1.0, 1.0, 1.0]}
TENSORS = {"conv1_1.weight": torch.ones(2, 3), "conv1_1.bias": torch.arange(2.0)}


@pytest.fixture(autouse=True)
def one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def fcn(classes: int = 3) -> FCN8s:
    return FCN8s(classes, width=2, hidden=4)


def deeplab(classes: int = 3, **options) -> DeepLab:
    return DeepLab(classes, width=2, **options)


def scrambled(network) -> dict:
    """Its tensors with other values."""
    return {k: torch.randn_like(v.float()).to(v.dtype) for k, v in network.state_dict().items()}


def given(tensors: dict, path="w.pth") -> WeightsFile:
    return WeightsFile(path, tensors, None)


def require_loaded(network, tensors: dict) -> None:
    state = network.state_dict()
    for name, value in tensors.items():
        assert torch.equal(state[name], value), name


def torchvision_vgg16() -> dict:
    """The layout of torchvision's vgg16().state_dict(), in the widths of `fcn()`."""
    channels, tensors = 3, {}
    outputs = [2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16]
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    for place, output in zip(places, outputs, strict=True):
        tensors[f"features.{place}.weight"] = torch.randn(output, channels, 3, 3)
        tensors[f"features.{place}.bias"] = torch.randn(output)
        channels = output
    for place, inputs, output in ((0, 16 * 49, 4), (3, 4, 4), (6, 4, 10)):
        tensors[f"classifier.{place}.weight"] = torch.randn(output, inputs)
        tensors[f"classifier.{place}.bias"] = torch.randn(output)
    return tensors


class Trap:
    """Leaves a file behind when an unsafe reader opens it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class TestReading:
    def require_same(self, found: dict, expected: dict = TENSORS) -> None:
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[k], v) for k, v in expected.items())

    def refused(self, path, *words: str) -> None:
        with pytest.raises(UserError) as error:
            read(path)
        message = str(error.value)
        assert message.startswith(str(path)) and "\n" not in message
        assert all(word in message for word in words), message

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
    @pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
    def test_what_torch_saved_is_read_whatever_it_is_called(self, tmp_path, name, zipped):
        torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=zipped)
        found = read(tmp_path / name)
        self.require_same(found.tensors)
        assert found.description is None and found.path == tmp_path / name

    def test_safetensors_of_anybody_are_read(self, tmp_path):
        save_file(TENSORS, tmp_path / "w.safetensors", {"format": "pt"})
        found = read(tmp_path / "w.safetensors")
        self.require_same(found.tensors)
        assert found.description is None

    def test_model_files_of_this_project_tell_network_and_classes(self, tmp_path):
        settings = {
            "name": "deeplabv2_resnet101", "width": 2, "classifier_branches": 2,
            "preprocessing": PREPROCESSING,
        }  # fmt: skip
        network = store.build(settings, 3)
        store.save(tmp_path / "m.safetensors", network, settings, ["a", "b", "c"], (32, 48))
        found = read(tmp_path / "m.safetensors")
        assert found.description == {
            "network": settings,
            "classes": ["a", "b", "c"],
            "size": [32, 48],
        }
        self.require_same(found.tensors, network.state_dict())

    @pytest.mark.parametrize(
        "content",
        [
            {"state_dict": TENSORS, "epoch": 3},
            {"model": TENSORS, "optimizer": {"state": {0: torch.zeros(1)}}},
            {"model_state_dict": {"state_dict": TENSORS}},
            {**TENSORS, "step": 7, 0: torch.zeros(1)},
            {f"module.{k}": v for k, v in TENSORS.items()},
            {f"Scale.{k}": v for k, v in TENSORS.items()},
            {"state_dict": {f"module.Scale.{k}": v for k, v in TENSORS.items()}},
        ],
        ids=["state_dict", "model", "twice", "other values", "module", "Scale", "all"],
    )
    def test_nests_and_prefixes_are_taken_off(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pth")
        self.require_same(read(tmp_path / "w.pth").tensors)

    def test_two_tensors_of_one_name_are_refused(self, tmp_path):
        torch.save({"a": torch.zeros(1), "module.a": torch.ones(1)}, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "same name")

    def test_a_file_that_would_run_code_is_refused_and_runs_nothing(self, tmp_path):
        trap = tmp_path / "sprung"
        for path in (tmp_path / "new.pth", tmp_path / "old.pth"):
            content = {**TENSORS, "args": Trap(trap)}
            torch.save(content, path, _use_new_zipfile_serialization=path.name == "new.pth")
            self.refused(path, "more than tensors", "mkdir", "torch.save(")
        (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap(trap), protocol=2))
        self.refused(tmp_path / "bare.pth")
        assert not trap.exists()
        torch.load(tmp_path / "new.pth", weights_only=False)
        assert trap.exists()  # the trap is one

    @pytest.mark.parametrize("zipped", [True, False])
    def test_tensors_that_claim_more_values_than_are_stored_are_refused(self, tmp_path, zipped):
        content = {**TENSORS, "many": torch.zeros(1).expand(10**7, 10**6)}
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        assert (tmp_path / "w.pth").stat().st_size < 10_000
        self.refused(tmp_path / "w.pth", "many claims more values than are stored")

    def test_a_packed_file_is_refused_before_it_is_unpacked(self, tmp_path, monkeypatch):
        torch.save({"zeros": torch.zeros(10**6)}, tmp_path / "w.pth")
        with (
            zipfile.ZipFile(tmp_path / "w.pth") as file,
            zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
        ):
            for name in file.namelist():
                packed.writestr(name, file.read(name))
        assert (tmp_path / "packed.pth").stat().st_size < 100_000
        read(tmp_path / "w.pth")
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpacked"))
        self.refused(tmp_path / "packed.pth", "packed tensors")

    def test_numbers_and_whole_networks_that_are_no_tensors_are_told_with_the_remedy(
        self, tmp_path
    ):
        torch.save({**TENSORS, "best": np.float64(3)}, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "more than tensors (numpy", "weights_only=False")
        torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "more than tensors (torch.nn", ".state_dict()")

    def test_a_file_with_noise_in_it_is_refused_without_unsafe_advice(self, tmp_path):
        torch.save(TENSORS, tmp_path / "w.pth")
        content = bytearray((tmp_path / "w.pth").read_bytes())
        start = content.index(b"conv1_1") - 20
        content[start : start + 30] = b"\xff" * 30
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(UserError, match="w.pth: damaged or cut short: fetch it again$"):
            read(tmp_path / "w.pth")

    @pytest.mark.parametrize("content", [[], {}, {"epoch": 3}, torch.zeros(3), [torch.zeros(3)]])
    def test_a_file_without_named_tensors_is_refused(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pth")
        self.refused(tmp_path / "w.pth", "no tensors by name", "state_dict()")

    @pytest.mark.parametrize("kind", ["zip", "old", "safetensors", "ours"])
    @pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
    def test_a_file_cut_short_is_refused(self, tmp_path, kind, share):
        path = tmp_path / "w.pth"
        tensors = {f"t{i}": torch.randn(40, 50) for i in range(5)}
        if kind in ("zip", "old"):
            torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
        else:
            save_file(tensors, path, {"scalewise": "{}"} if kind == "ours" else None)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        self.refused(path, "cut short", "fetch it again")

    @pytest.mark.parametrize(
        "content, words",
        [
            (b"", "an empty file"),
            (b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "neither"),
            (bytes(1000), "neither"),
        ],
    )
    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    def test_a_file_of_something_else_is_refused(self, tmp_path, name, content, words):
        (tmp_path / name).write_bytes(content)
        self.refused(tmp_path / name, words)

    def test_a_missing_file_and_a_folder_are_refused(self, tmp_path):
        self.refused(tmp_path / "none.pth", "no such weights file")
        self.refused(tmp_path, "a folder")


class TestTorchvision:
    def test_vgg16_becomes_fcn8s_and_its_linear_layers_convolutions(self, tmp_path):
        layout = torchvision_vgg16()
        torch.save(layout, tmp_path / "vgg16.pth")
        found = read(tmp_path / "vgg16.pth")
        network = fcn()
        result = load_into(network, found, 1.0, needs_classifier=False)
        assert len(result.matched) == 30
        assert not result.unexpected and not result.misshapen
        state = network.state_dict()
        for name, place in (
            ("conv1_1", 0), ("conv2_1", 5), ("conv3_3", 14), ("conv4_1", 17), ("conv5_3", 28),
        ):  # fmt: skip
            assert torch.equal(state[f"{name}.weight"], layout[f"features.{place}.weight"])
            assert torch.equal(state[f"{name}.bias"], layout[f"features.{place}.bias"])
        cells = torch.randn(1, 16, 7, 7)
        linear = torch.nn.functional.linear(
            cells.flatten(1), layout["classifier.0.weight"], layout["classifier.0.bias"]
        )
        assert torch.allclose(network.fc6(cells).flatten(1), linear, atol=1e-5)
        assert torch.equal(state["fc7.weight"][:, :, 0, 0], layout["classifier.3.weight"])
        assert set(result.missing) == {
            "score_fr.weight", "score_fr.bias", "score_pool3.weight", "score_pool3.bias",
            "score_pool4.weight", "score_pool4.bias",
            "upscore2.weight", "upscore_pool4.weight", "upscore8.weight",
        }  # fmt: skip

    def test_resnet_101_has_the_names_already_and_loses_its_classifier(self, tmp_path):
        network, source = deeplab(), scrambled(deeplab())
        body = {k: v for k, v in source.items() if not k.startswith("layer5")}
        layout = {**body, "fc.weight": torch.randn(10, 64), "fc.bias": torch.randn(10)}
        torch.save(layout, tmp_path / "resnet101.pth")
        before = network.layer5.conv2d_list[0].weight.clone()
        result = load_into(network, read(tmp_path / "resnet101.pth"), 1.0, needs_classifier=False)
        assert not result.unexpected
        assert len(result.missing) == 8 and all(n.startswith("layer5") for n in result.missing)
        require_loaded(network, body)
        assert torch.equal(network.layer5.conv2d_list[0].weight, before)

    def test_other_vggs_are_not_taken_for_vgg16(self, tmp_path):
        layout = torchvision_vgg16()
        del layout["features.28.weight"]
        torch.save(layout, tmp_path / "w.pth")
        assert read(tmp_path / "w.pth").tensors.keys() == layout.keys()


class TestFitting:
    def test_the_four_kinds_are_told_apart(self):
        network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm2d(3))
        found = fit(
            network,
            {
                "0.weight": torch.zeros(3, 2),
                "0.bias": torch.zeros(4),
                "1.running_mean": torch.zeros(3),
                "other": torch.zeros(1),
                "other.num_batches_tracked": torch.tensor(0),
            },
        )
        assert found.matched == ("0.weight", "1.running_mean")
        assert found.missing == ("1.weight", "1.bias", "1.running_var")
        assert found.unexpected == ("other",)
        assert found.misshapen == (("0.bias", (4,), (3,)),)

    @pytest.mark.parametrize("build", [fcn, deeplab], ids=["fcn8s", "deeplab"])
    def test_weights_in_the_released_layout_load_whole(self, build):
        network, tensors = build(), scrambled(build())
        found = load_into(network, given(tensors), 1.0, needs_classifier=True)
        assert not (found.missing or found.unexpected or found.misshapen)
        require_loaded(network, tensors)

    def test_weights_saved_before_batch_norms_counted_load_whole(self):
        network, tensors = deeplab(), scrambled(deeplab())
        tensors = {k: v for k, v in tensors.items() if not k.endswith("tracked")}
        assert not load_into(network, given(tensors), 1.0, needs_classifier=True).missing
        require_loaded(network, tensors)

    def test_deconvolutions_and_unused_branches_may_be_missing(self):
        for network, lacking in (
            (fcn(), ("upscore",)),
            (deeplab(classifier_branches=2), ("layer5.conv2d_list.2", "layer5.conv2d_list.3")),
        ):
            tensors = {k: v for k, v in scrambled(network).items() if not k.startswith(lacking)}
            load_into(network, given(tensors), 1.0, needs_classifier=True)
            require_loaded(network, tensors)

    def test_half_precision_is_taken_over_into_the_network_s_own(self):
        network = fcn()
        tensors = {k: v.half() for k, v in scrambled(network).items()}
        load_into(network, given(tensors), 1.0, needs_classifier=True)
        assert network.conv1_1.weight.dtype == torch.float32
        assert torch.equal(network.conv1_1.weight, tensors["conv1_1.weight"].float())

    def refused(self, network, tensors: dict, *words: str, share=0.9, needs_classifier=True):
        before = {k: v.clone() for k, v in network.state_dict().items()}
        with pytest.raises(UserError) as error:
            load_into(network, given(tensors), share, needs_classifier=needs_classifier)
        message = str(error.value)
        assert message.startswith("w.pth: ") and "\n" not in message and len(message) < 1200
        assert all(word in message for word in words), message
        require_loaded(network, before)

    def test_the_share_counts_tensors_and_is_met_exactly(self):
        tensors = scrambled(fcn())
        del tensors["fc6.weight"], tensors["fc7.bias"], tensors["conv3_2.bias"]
        load_into(fcn(), given(tensors), 33 / 36, needs_classifier=True)
        self.refused(
            fcn(), tensors, "33 of 36", "(91.7%, at least 95.0% must)",
            "3 missing (conv3_2.bias, fc6.weight, fc7.bias)", "a part of the weights",
            share=0.95,
        )  # fmt: skip

    def test_a_long_list_of_names_is_cut(self):
        tensors = scrambled(fcn())
        for i in range(9):
            tensors[f"extra{i}"] = torch.zeros(1)
        del tensors["conv1_1.weight"]
        self.refused(
            fcn(), tensors, "9 unexpected (extra0, extra1, extra2, extra3, ...)", share=1.0
        )

    @pytest.mark.parametrize("build", [fcn, deeplab], ids=["fcn8s", "deeplab"])
    def test_a_classifier_of_other_classes_is_named_as_such(self, build):
        self.refused(
            build(19), scrambled(build(16)), "a classifier of 16 classes where this project has 19",
            " 16x", " for 19x",
        )  # fmt: skip

    @pytest.mark.parametrize("build", [fcn, deeplab], ids=["fcn8s", "deeplab"])
    def test_a_classifier_of_other_classes_may_begin_anew(self, build, caplog):
        network, tensors = build(19), scrambled(build(21))
        found = load_into(network, given(tensors), 1.0, needs_classifier=False)
        shapes = {name for name, *_ in found.misshapen}
        assert {k for k, v in tensors.items() if 21 in v.shape} == shapes
        require_loaded(network, {k: v for k, v in tensors.items() if k not in shapes})
        assert "the classifier begins anew" in caplog.text

    def test_weights_without_the_classifier_are_not_enough_where_it_is_needed(self):
        tensors = {k: v for k, v in scrambled(deeplab()).items() if not k.startswith("layer5")}
        self.refused(deeplab(), tensors, "without their whole classifier", "8 missing")

    def test_weights_of_the_other_network_are_named(self):
        self.refused(
            fcn(), scrambled(deeplab()), "another network ('deeplabv2_resnet101')", "0 of 36"
        )
        self.refused(
            deeplab(), scrambled(fcn()), "another network ('fcn8s_vgg16')", needs_classifier=False
        )

    def test_weights_of_no_network_here_are_named_so(self):
        self.refused(fcn(), {"encoder.weight": torch.zeros(1)}, "none of this project's")

    def test_weights_of_another_width_are_refused_even_as_pre_trained_ones(self):
        wide = scrambled(FCN8s(3, width=3, hidden=4))
        for needs_classifier in (True, False):
            self.refused(
                fcn(), wide, "other options (width)", "conv1_1.weight 3x3x3x3 for 2x3x3x3",
                share=0.0, needs_classifier=needs_classifier,
            )  # fmt: skip

    def test_the_log_names_all_tensors_and_their_counts(self, caplog):
        tensors = scrambled(fcn())
        tensors["extra"] = tensors.pop("fc7.bias")
        with caplog.at_level(logging.INFO):
            load_into(fcn(), given(tensors), 0.9, needs_classifier=True)
        assert "w.pth: 38 matched (conv1_1.weight, conv1_1.bias, " in caplog.text
        assert (
            "upscore8.weight); 1 missing (fc7.bias); 1 unexpected (extra); 0 of another shape"
            in (caplog.text)
        )


class TestFiles:
    """What a stage does with a file: `load_file`."""

    SETTINGS = {
        "name": "deeplabv2_resnet101", "width": 2, "classifier_branches": 4,
        "freeze_batchnorm_affine": True,
        "preprocessing": {"order": "bgr", "mean": [104.0, 116.7, 122.7], "scale": [1.0, 1.0, 1.0]},
    }  # fmt: skip
    CLASSES = ["a", "b", "c"]

    def load(self, path, network=None, pretrained=False, minimum=None, **changes):
        told = []
        load_file(
            network or deeplab(), {**self.SETTINGS, **changes}, self.CLASSES, path,
            {"minimum_match": minimum}, pretrained=pretrained, warn=told.append,
        )  # fmt: skip
        return told

    def test_source_trained_weights_must_be_whole_unless_less_is_allowed(self, tmp_path):
        tensors = scrambled(deeplab())
        del tensors["layer4.0.conv1.weight"]
        torch.save(tensors, tmp_path / "w.pth")
        with pytest.raises(UserError, match="layer4.0.conv1.weight"):
            self.load(tmp_path / "w.pth")
        assert self.load(tmp_path / "w.pth", pretrained=True) == []
        (told,) = self.load(tmp_path / "w.pth", minimum=0.9)
        assert "lacks 1 tensors" in told and "layer4.0.conv1.weight" in told

    def test_values_that_no_training_ends_in_are_refused(self, tmp_path):
        for value in (torch.nan, torch.inf):
            tensors = scrambled(deeplab())
            tensors["layer1.0.bn1.bias"][1] = value
            torch.save(tensors, tmp_path / "w.pth")
            with pytest.raises(UserError, match=r"layer1\.0\.bn1\.bias holds values that are no"):
                self.load(tmp_path / "w.pth")
        tensors["layer1.0.bn1.bias"] = torch.zeros(2, dtype=torch.int64)
        torch.save(tensors, tmp_path / "w.pth")
        with pytest.raises(UserError, match="no trained weights"):
            self.load(tmp_path / "w.pth")

    def test_torchvisions_weights_ask_for_their_preprocessing(self, tmp_path):
        tensors = {k: v for k, v in scrambled(deeplab()).items() if not k.startswith("layer5")}
        torch.save(tensors, tmp_path / "caffe.pth")
        assert self.load(tmp_path / "caffe.pth", pretrained=True) == []
        torch.save({**tensors, "fc.weight": torch.ones(1000, 256)}, tmp_path / "torchvision.pth")
        (told,) = self.load(tmp_path / "torchvision.pth", pretrained=True)
        assert "trained on RGB" in told and "order: rgb" in told
        rgb = {"order": "rgb", "mean": [123.7, 116.3, 103.5], "scale": [58.4, 57.1, 57.4]}
        assert self.load(tmp_path / "torchvision.pth", pretrained=True, preprocessing=rgb) == []

    def test_our_own_files_must_be_of_this_network_and_these_classes(self, tmp_path):
        path = tmp_path / "model.safetensors"
        store.save(path, deeplab(), self.SETTINGS, self.CLASSES, (64, 64))
        assert self.load(path) == []
        # what changes no output may differ
        assert self.load(path, freeze_batchnorm_affine=False) == []
        with pytest.raises(
            UserError, match="network.classifier_branches 4, and the settings say 2"
        ):
            self.load(path, classifier_branches=2)
        store.save(path, deeplab(), self.SETTINGS, ["a", "b", "d"], (64, 64))
        with pytest.raises(UserError, match="knows the classes a, b, d"):
            self.load(path)
        assert self.load(path, pretrained=True) == []
