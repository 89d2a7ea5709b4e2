"""The two released networks: tensors and logits as their program has them, and their options."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scalewise.models import store
from scalewise.models.deeplab import DeepLab
from scalewise.models.fcn8s import FCN8s
from scalewise.models.network import upsample

DATA = Path(__file__).parent / "data"
TENSORS = json.loads((DATA / "official_tensors.json").read_text())
PREPROCESSING = {"order": "bgr", "mean": [104.0, 116.7, 122.7], "scale": [1.0, 1.0, 1.0]}
PART = 1 << 18  # elements: few enough for the cache of a core


@pytest.fixture(autouse=True)
def one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def on_paper(name: str, **options):
    """The network without memory for its weights."""
    with torch.device("meta"):
        return store.NETWORKS[name](19, **options)


def formula(name: str, shape: torch.Size) -> torch.Tensor:
    """The weights for which the released program's logits are known."""
    count = int(np.prod(shape))
    result = np.empty(count, np.float32)
    shift = zlib.crc32(name.encode()) % 1000
    for first in range(0, count, PART):
        i = np.arange(first, min(first + PART, count), dtype=np.float64)
        s = np.sin(0.7 * i + shift)
        if name.endswith("running_var"):
            s = 1 + 0.2 * np.abs(s)
        elif name.endswith("running_mean"):
            s = 0.1 * s
        elif len(shape) == 1:
            s = 0.1 * s + name.endswith("weight")
        else:
            s *= np.sqrt(2 / np.prod(shape[1:]))
        result[first : first + PART] = s
    return torch.from_numpy(result).view(shape)


@pytest.mark.parametrize("name", sorted(TENSORS))
def test_names_and_shapes_of_all_tensors_are_the_released_ones(name):
    own = {k: list(v.shape) for k, v in on_paper(name).state_dict().items()}
    assert own == TENSORS[name]


@pytest.mark.parametrize(
    "name, options, size",
    [
        ("fcn8s_vgg16", {}, (64, 96)),
        ("deeplabv2_resnet101", {"classifier_branches": 2}, (65, 97)),
    ],
)
def test_the_logits_are_those_of_the_released_program(name, options, size):
    """In float64, so that it does not hang on the kernels of a processor: in float32 the logits
    of 101 layers of such weights move by up to 1e-4 from one processor to another. What is left
    is the released program's own rounding (measured: 5e-5, and 1e-6 for FCN-8s)."""
    network = on_paper(name, **options).eval()
    state = {
        k: torch.tensor(0) if k.endswith("tracked") else formula(k, v.shape)
        for k, v in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    network.double()
    i = np.arange(3 * size[0] * size[1], dtype=np.float64)
    images = 60 * np.sin(0.013 * i * (1 + i % 7))
    with torch.no_grad():
        inputs = torch.from_numpy(images.astype(np.float32)).view(1, 3, *size)
        logits = network(inputs.double())
    scaled = upsample(logits, size, align_corners=network.align_corners)[0, :, ::5, ::5].numpy()
    with np.load(DATA / "official_logits.npz") as file:
        expected = file[name]
    assert np.abs(scaled - expected).max() / np.abs(expected).max() < 1e-4


class TestFCN8s:
    @pytest.mark.parametrize("size", [(1, 1), (33, 97), (64, 40)])
    def test_its_logits_have_the_size_of_the_images_however_small(self, size):
        network = FCN8s(3, width=2, hidden=4).eval()
        assert network(torch.zeros(1, 3, *size)).shape == (1, 3, *size)

    @pytest.mark.parametrize(
        "layer, stride", [("upscore2", 2), ("upscore_pool4", 2), ("upscore8", 8)]
    )
    def test_its_deconvolutions_interpolate_each_class_for_itself_and_stay(self, layer, stride):
        network = FCN8s(3, width=2, hidden=4)
        deconvolution = getattr(network, layer)
        assert not deconvolution.weight.requires_grad
        scores = torch.randn(1, 3, 5, 6)
        half = stride // 2
        result = deconvolution(scores)[:, :, half:-half, half:-half]
        expected = upsample(scores, (5 * stride, 6 * stride))
        # at the border the one repeats the last score, the other fades into nothing
        inside = (..., slice(half, -half), slice(half, -half))
        assert torch.allclose(result[inside], expected[inside], atol=1e-6)

    def test_the_kernel_of_stride_2_by_hand(self):
        ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
        kernel = FCN8s(2, width=2, hidden=4).upscore2.weight
        assert torch.equal(kernel[1, 1], ramp[:, None] * ramp)
        assert not kernel[0, 1].any()

    def test_without_trained_scores_all_classes_are_even(self):
        network = FCN8s(3, width=2, hidden=4).eval()
        assert not network(torch.randn(1, 3, 32, 32)).any()

    def test_dropout_acts_in_training_alone(self):
        network = FCN8s(3, width=2, hidden=64, dropout=0.5).train()
        torch.nn.init.normal_(network.score_fr.weight)
        images = torch.randn(1, 3, 32, 32)
        assert not torch.equal(network(images), network(images))
        network.eval()
        assert torch.equal(network(images), network(images))

    def test_its_classifier_is_its_three_scores(self):
        network = FCN8s(3, width=2, hidden=4)
        names = {id(p): n for n, p in network.named_parameters()}
        assert {names[id(p)] for p in network.classifier_parameters()} == {
            f"score_{layer}.{kind}"
            for layer in ("fr", "pool3", "pool4")
            for kind in ("weight", "bias")
        }


class TestDeepLab:
    @pytest.mark.parametrize(
        "size, expected",
        [((65, 97), (9, 13)), ((64, 96), (9, 13)), ((7, 9), (2, 2)), ((128, 256), (17, 33))],
    )
    def test_its_logits_have_an_eighth_of_the_size(self, size, expected):
        network = DeepLab(3, width=2).eval()
        assert network(torch.zeros(1, 3, *size)).shape == (1, 3, *expected)

    def test_an_image_that_is_too_small_is_told_the_size_it_needs(self):
        with pytest.raises(ValueError, match=r"6 x 40 is too small .* at least 7 pixels"):
            DeepLab(3, width=2)(torch.zeros(1, 3, 6, 40))

    def test_the_logits_are_the_sum_of_the_branches_asked_for(self):
        images, logits = torch.randn(1, 3, 33, 33), {}
        for branches in (1, 2, 3, 4):
            torch.manual_seed(1)
            network = DeepLab(3, width=2, classifier_branches=branches).eval()
            with torch.no_grad():
                logits[branches] = network(images)
                features = network.layer5.conv2d_list[branches - 1]
                network.layer5.branches = 0
                network.layer5.register_forward_pre_hook(
                    lambda _, inputs, layer=features: logits.update(last=layer(inputs[0]))
                )
                network(images)
            if branches > 1:
                added = logits[branches] - logits[branches - 1]
                assert torch.allclose(added, logits["last"], atol=1e-6)
                assert logits["last"].any()

    def test_branches_that_are_not_used_exist_and_are_not_trained(self):
        network = DeepLab(3, width=2, classifier_branches=2)
        trained = [c.weight.requires_grad for c in network.layer5.conv2d_list]
        assert trained == [True, True, False, False]
        assert len(network.fixed_parameters()) == 4

    @pytest.mark.parametrize("branches", [0, 5])
    def test_other_numbers_of_branches_are_refused(self, branches):
        with pytest.raises(ValueError, match="1 to 4"):
            DeepLab(3, width=2, classifier_branches=branches)

    @pytest.mark.parametrize("freeze", [True, False])
    def test_scale_and_shift_of_the_batch_norms_are_frozen_where_asked(self, freeze):
        network = DeepLab(3, width=2, freeze_batchnorm_affine=freeze)
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert len(norms) == 104
        assert all(p.requires_grad is not freeze for m in norms for p in m.parameters())
        assert network.conv1.weight.requires_grad

    def test_layers_3_and_4_are_dilated_and_the_stride_is_the_first_convolution_s(self):
        network = DeepLab(3, width=2)
        blocks = [network.layer2[0], network.layer3[0], network.layer4[0]]
        assert [b.conv1.stride[0] for b in blocks] == [2, 1, 1]
        assert [b.conv2.stride[0] for b in blocks] == [1, 1, 1]
        assert {b.conv2.dilation[0] for b in network.layer3} == {2}
        assert {b.conv2.dilation[0] for b in network.layer4} == {4}


@pytest.mark.parametrize(
    "name, options, attribute",
    [
        ("fcn8s_vgg16", {"width": 2, "hidden": 4, "dropout": 0.2}, "dropout.p"),
        ("deeplabv2_resnet101", {"width": 2, "classifier_branches": 2}, "layer5.branches"),
        (
            "deeplabv2_resnet101",
            {"width": 2, "freeze_batchnorm_affine": False},
            "bn1.weight.requires_grad",
        ),
    ],
)
def test_a_model_file_keeps_the_options_of_its_network(tmp_path, name, options, attribute):
    settings = {"name": name, **options, "preprocessing": PREPROCESSING}
    network = store.build(settings, 3).eval()
    store.save(tmp_path / "model.safetensors", network, settings, ["a", "b", "c"], (32, 32))
    loaded = store.load(tmp_path / "model.safetensors").network.eval()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded(images), network(images))

    def value(of):
        for part in attribute.split("."):
            of = getattr(of, part)
        return of

    assert value(loaded) == value(network) != value(store.NETWORKS[name](3, width=2))
