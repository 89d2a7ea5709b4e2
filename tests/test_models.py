"""What every network passes, and how weights are kept."""

import importlib.util
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from scalewise.models import store
from scalewise.models.network import Network, freeze_batchnorm, normalise, upsample
from scalewise.training.losses import cross_entropy

PREPROCESSING = {"order": "rgb", "mean": [120.0, 110.0, 100.0], "scale": [60.0, 50.0, 40.0]}
CLASSES = ["road", "sky", "car", "tree", "person"]
SMALL = {
    "compact": {"width": 16},
    "fcn8s_vgg16": {"width": 4, "hidden": 16},
    "deeplabv2_resnet101": {"width": 4, "freeze_batchnorm_affine": False},
    # of the few blocks and images here, a branch that is left out could be all
    "segformer": {"variant": "tiny", "drop_path": 0.0},
}
NEEDED = {"segformer": "transformers"}


def network(name: str):
    """A parameter that is skipped where the network's package is not installed."""
    lacking = name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None
    reason = f"{NEEDED.get(name)} is not installed: make segformer"
    return pytest.param(name, marks=pytest.mark.skipif(lacking, reason=reason))


@pytest.fixture(autouse=True)
def one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("name", [network(name) for name in sorted(store.NETWORKS)])
class TestEveryNetwork:
    def settings(self, name: str) -> dict:
        return {"name": name, **SMALL[name], "preprocessing": PREPROCESSING}

    def build(self, name: str) -> Network:
        return store.build(self.settings(name), len(CLASSES))

    @pytest.mark.parametrize("size", [(64, 96), (65, 97), (61, 99)], ids=str)
    def test_logits_have_the_classes_and_a_stride_of_at_most_eight(self, name, size):
        network = self.build(name).eval()
        with torch.no_grad():
            logits = network(torch.randn(2, 3, *size))
        assert logits.shape[:2] == (2, len(CLASSES))
        for side, full in zip(logits.shape[2:], size, strict=True):
            assert full / 8 <= side <= full
        assert torch.isfinite(logits).all()
        assert upsample(logits, size).shape == (2, len(CLASSES), *size)

    def test_a_batch_of_one_trains_and_every_trained_parameter_gets_a_gradient(self, name):
        network = self.build(name).train()
        trained = {k: p for k, p in network.named_parameters() if p.requires_grad}
        optimizer = torch.optim.SGD(trained.values(), 0.1)
        images = torch.randn(1, 3, 64, 96)
        labels = torch.randint(len(CLASSES), (1, 64, 96), dtype=torch.uint8)
        for _ in range(2):  # a classifier that begins at 0 hands a gradient on from the second step
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
        for key, parameter in trained.items():
            assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), key
        others = [p for k, p in network.named_parameters() if k not in trained]
        assert all(p.grad is None for p in others)

    def test_the_same_images_give_the_same_logits_in_evaluation(self, name):
        network = self.build(name).eval()
        images = torch.randn(1, 3, 33, 41)
        with torch.no_grad():
            assert torch.equal(network(images), network(images))

    def test_fixed_parameters_are_neither_trained_nor_the_classifier_s_alone(self, name):
        network = self.build(name)
        assert not any(p.requires_grad for p in network.fixed_parameters())
        fixed = {id(p) for p in network.fixed_parameters()}
        assert any(id(p) not in fixed for p in network.classifier_parameters())

    def test_an_image_s_logits_do_not_depend_on_its_neighbours(self, name):
        network = self.build(name).eval()
        images = torch.randn(3, 3, 64, 96)
        with torch.no_grad():
            together, alone = network(images), network(images[1:2])
        assert torch.allclose(together[1:2], alone, atol=1e-4)

    def test_what_was_saved_gives_the_same_logits(self, name, tmp_path):
        network = self.build(name).train()
        network(torch.randn(2, 3, 64, 96))  # moves the statistics
        path = tmp_path / "model.safetensors"
        store.save(path, network, self.settings(name), CLASSES, [64, 96])
        loaded = store.load(path)
        images = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            assert torch.equal(network.eval()(images), loaded.network.eval()(images))

    def test_a_file_tells_all_that_is_needed_to_predict(self, name, tmp_path):
        path = tmp_path / "model.safetensors"
        store.save(path, self.build(name), self.settings(name), CLASSES, [64, 96])
        loaded = store.load(path)
        assert loaded.classes == CLASSES
        assert loaded.size == (64, 96)
        assert loaded.preprocessing == PREPROCESSING
        with safe_open(path, framework="pt") as file:
            stored = json.loads(file.metadata()["scalewise"])
        assert stored["network"] == self.settings(name)

    def test_equal_weights_are_equal_bytes(self, name, tmp_path):
        network = self.build(name)
        for file in ("one", "two"):
            store.save(tmp_path / file, network, self.settings(name), CLASSES, (64, 96))
            network.to(memory_format=torch.channels_last)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]

    def test_frozen_statistics_stay_as_they_are_while_the_weights_train(self, name):
        network = self.build(name).train()
        freeze_batchnorm(network)
        before = {k: v.clone() for k, v in network.state_dict().items()}
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        network(torch.randn(2, 3, 64, 96) + 3).softmax(1)[:, 0].mean().backward()
        optimizer.step()
        after = network.state_dict()
        statistics = [k for k in before if "running_" in k or "num_batches" in k]
        assert all(torch.equal(before[k], after[k]) for k in statistics)
        assert any(not torch.equal(before[k], after[k]) for k in before)
        assert network.training

    def test_statistics_that_are_not_frozen_move(self, name):
        network = self.build(name).train()
        before = {k: v.clone() for k, v in network.state_dict().items() if "running_mean" in k}
        if not before:
            pytest.skip("no batch norm in it")
        network(torch.randn(2, 3, 64, 96) + 3)
        after = network.state_dict()
        assert all(not torch.equal(before[k], after[k]) for k in before)

    def test_the_classifier_s_parameters_are_the_network_s_own(self, name):
        network = self.build(name)
        own = {id(p) for p in network.parameters()}
        classifier = network.classifier_parameters()
        assert classifier and all(id(p) in own for p in classifier)
        assert any(p.shape[0] == len(CLASSES) for p in classifier)

    def test_the_shallow_modules_are_its_own_and_see_no_less_than_a_quarter_of_the_image(
        self, name
    ):
        network, heights = self.build(name).eval(), {}
        norms = {k: m for k, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
        for key, module in norms.items():
            module.register_forward_hook(
                lambda module, images, out, key=key: heights.update({key: out.shape[2]})
            )
        with torch.no_grad():
            network(torch.randn(1, 3, 64, 96))
        shallow = {id(m) for part in network.shallow() for m in part.modules()}
        assert shallow <= {id(m) for m in network.modules()}
        found = [key for key, module in norms.items() if id(module) in shallow]
        assert bool(found) == (name in ("compact", "deeplabv2_resnet101"))
        assert all(heights[key] >= 64 / 4 for key in found)

    def test_the_same_seed_builds_the_same_weights(self, name):
        torch.manual_seed(4)
        one = self.build(name).state_dict()
        torch.manual_seed(4)
        other = self.build(name).state_dict()
        assert all(torch.equal(one[k], other[k]) for k in one)


class TestUpsampling:
    LOGITS = torch.tensor([[[[0.0, 3.0]]]])

    def test_corners_are_aligned_only_where_asked(self):
        assert upsample(self.LOGITS, (1, 4)).flatten().tolist() == [0, 0.75, 2.25, 3]
        aligned = upsample(self.LOGITS, (1, 4), align_corners=True).flatten().tolist()
        assert aligned == pytest.approx([0, 1, 2, 3])

    @pytest.mark.parametrize("align_corners", [False, True])
    def test_logits_of_that_size_stay_as_they_are(self, align_corners):
        logits = torch.randn(2, 3, 5, 7)
        assert torch.equal(upsample(logits, (5, 7), align_corners=align_corners), logits)
        assert upsample(logits.bfloat16(), (5, 7)).dtype == torch.float32


class TestDeepLab:
    def test_its_shallow_batch_norm_is_all_of_it_up_to_a_quarter_of_the_size(self):
        settings = {"name": "deeplabv2_resnet101", "width": 4, "preprocessing": PREPROCESSING}
        network, heights = store.build(settings, 3).eval(), {}
        for key, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(
                    lambda module, images, out, key=key: heights.update({key: out.shape[2]})
                )
        with torch.no_grad():
            network(torch.randn(1, 3, 65, 65))
        # 65 pixels: 33, then 17 (a quarter), then 9
        assert set(heights.values()) == {33, 17, 9}
        shallow = {id(m) for part in network.shallow() for m in part.modules()}
        found = {k for k, m in network.named_modules() if id(m) in shallow and k in heights}
        assert found == {key for key, height in heights.items() if height >= 17}
        # bn1; three blocks of three, and the shortcut of the first
        assert len(found) == 1 + 3 * 3 + 1


class TestCompact:
    SETTINGS = {"name": "compact", "width": 32, "dropout": 0.1, "preprocessing": PREPROCESSING}

    def test_it_is_compact(self):
        network = store.build(self.SETTINGS, 19)
        count = sum(p.numel() for p in network.parameters())
        assert 300_000 <= count <= 800_000

    @pytest.mark.parametrize("size", [(96, 192), (97, 191), (33, 35)])
    def test_its_logits_have_a_quarter_of_the_size_rounded_up(self, size):
        network = store.build({**self.SETTINGS, "width": 8}, 3).eval()
        logits = network(torch.zeros(1, 3, *size))
        assert logits.shape == (1, 3, -(-size[0] // 4), -(-size[1] // 4))

    def test_its_options_are_those_of_the_settings(self):
        network = store.build({**self.SETTINGS, "width": 8, "dropout": 0.4}, 3)
        assert network.dropout.p == 0.4
        assert network.stem[0][0].out_channels == 8

    def test_its_stem_is_what_is_shallow(self):
        network = store.build({**self.SETTINGS, "width": 8}, 3).eval()
        assert network.shallow() == [network.stem]
        assert network.stem(torch.zeros(1, 3, 64, 96)).shape == (1, 8, 16, 24)

    def test_dropout_acts_in_training_alone(self):
        network = store.build({**self.SETTINGS, "width": 8, "dropout": 0.5}, 3).train()
        freeze_batchnorm(network)
        images = torch.randn(1, 3, 32, 32)
        with torch.no_grad():
            assert not torch.equal(network(images), network(images))
            network.eval()
            assert torch.equal(network(images), network(images))


class TestWrongFiles:
    SETTINGS = {"name": "compact", "width": 8, "preprocessing": PREPROCESSING}

    def refused(self, path, match: str) -> None:
        with pytest.raises(ValueError, match=match) as error:
            store.load(path)
        assert str(path) in str(error.value)

    def written(self, path, **changes):
        network = store.build(self.SETTINGS, 3)
        store.save(path, network, {**self.SETTINGS, **changes}, ["a", "b", "c"], (8, 8))
        return path

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        path = tmp_path / "m.safetensors"
        path.write_text("no weights")
        self.refused(path, "not a readable safetensors file")

    def test_a_file_cut_short_is_refused(self, tmp_path):
        path = self.written(tmp_path / "m.safetensors")
        path.write_bytes(path.read_bytes()[:-10])
        self.refused(path, "not a readable safetensors file")

    def test_weights_of_another_program_are_refused(self, tmp_path):
        path = tmp_path / "m.safetensors"
        save_file({"x": torch.zeros(1)}, path)
        self.refused(path, "not a model file of format")
        save_file({"x": torch.zeros(1)}, path, {"scalewise": "{"})
        self.refused(path, "not a readable safetensors file")
        save_file({"x": torch.zeros(1)}, path, {"scalewise": '{"format": "scalewise model 1"}'})
        self.refused(path, "network")

    def test_weights_that_do_not_fit_their_description_are_refused(self, tmp_path):
        self.refused(self.written(tmp_path / "a", width=16), "size mismatch")
        self.refused(self.written(tmp_path / "b", depth=3), "depth")
        self.refused(self.written(tmp_path / "c", name="enormous"), "enormous")

    def test_a_missing_file_is_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            store.load(tmp_path / "nothing")


class TestPreprocessing:
    IMAGE = torch.tensor([[[[180, 160, 20]]]], dtype=torch.uint8)

    def test_channels_are_centred_and_scaled_in_their_order(self):
        assert normalise(self.IMAGE, PREPROCESSING).flatten().tolist() == [1, 1, -2]

    def test_bgr_turns_the_channels_before_anything_else(self):
        result = normalise(self.IMAGE, {**PREPROCESSING, "order": "bgr"})
        assert result.flatten().tolist() == pytest.approx([-100 / 60, 1, 2])

    def test_the_result_is_float32_with_channels_first(self):
        result = normalise(torch.zeros(2, 4, 6, 3, dtype=torch.uint8), PREPROCESSING)
        assert result.shape == (2, 3, 4, 6) and result.dtype == torch.float32
