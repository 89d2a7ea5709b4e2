"""SegFormer: sizes, logits, weights of three layouts, and what happens without `transformers`."""

import importlib.util
import re
import subprocess
import sys
import types

import pandas as pd
import pytest
import torch
import yaml

import evaluate
import scan_images
import scan_labels
import train_source
from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.models import segformer, store
from scalewise.models.deeplab import DeepLab
from scalewise.models.segformer import PACKAGE, Segformer
from scalewise.models.weights import load_file, load_into, read
from scalewise.training.optimization import make_optimizer
from scalewise.workflow import load_plan
from street_sets import write_cityscapes, write_gta5
from workflow_runs import ROOT

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason=f"transformers is not installed: pip install {PACKAGE}",
)
TINY = {"name": "segformer", "variant": "tiny"}
SETTINGS = {**TINY, "preprocessing": {"order": "rgb", "mean": [0.0] * 3, "scale": [1.0] * 3}}


@pytest.fixture(autouse=True)
def one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def tiny(classes: int = 5, **options) -> Segformer:
    return store.build({**TINY, **options}, classes)


def theirs(classes: int = 5, kind: str = "SegformerForSemanticSegmentation", **options):
    """A network of `transformers` itself, of the size of `tiny()`, with its own defaults."""
    import transformers

    size = {"depths": [1] * 4, "hidden_sizes": [8, 16, 40, 64], "decoder_hidden_size": 32}
    config = transformers.SegformerConfig(num_labels=classes, **{**size, **options})
    return getattr(transformers, kind)(config).eval()


def scrambled(network) -> dict:
    """Its tensors with other values."""
    return {
        k: v if k.endswith(("running_var", "tracked")) else 0.2 * torch.randn_like(v)
        for k, v in network.state_dict().items()
    }


def require_loaded(network, tensors: dict) -> None:
    state = network.state_dict()
    assert tensors
    for name, value in tensors.items():
        assert torch.equal(state[name], value), name


# --- without the package --------------------------------------------------------------------------


def test_without_transformers_one_line_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not there
    with pytest.raises(UserError) as error:
        tiny()
    assert str(error.value) == (
        f"network segformer needs the package transformers: pip install {PACKAGE}"
    )


def test_without_transformers_the_other_networks_still_say_what_a_file_is(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    torch.save({"patch_embed1.proj.weight": torch.ones(8, 3, 7, 7)}, tmp_path / "mit.pth")
    with pytest.raises(UserError, match="none of this project's"):
        load_into(DeepLab(3, width=2), read(tmp_path / "mit.pth"), 0.9, needs_classifier=False)


def test_no_other_network_loads_transformers():
    program = (
        "import sys; from scalewise.models import store, weights; "
        "[store.build({'name': n, 'width': 8}, 3) for n in store.NETWORKS if n != 'segformer']; "
        "sys.exit('transformers' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "workflow_scripts", check=True, timeout=120
    )


def test_a_transformers_with_other_names_is_told_which_one_to_install(monkeypatch):
    network = torch.nn.Module()
    network.segformer = torch.nn.Module()  # with `encoder` instead of `stages`, as it once was
    other = types.ModuleType("transformers")
    other.SegformerConfig, other.SegformerForSemanticSegmentation = dict, lambda config: network
    monkeypatch.setitem(sys.modules, "transformers", other)
    with pytest.raises(UserError, match=re.escape(f"other tensor names: pip install {PACKAGE}")):
        tiny()


@needs_transformers
def test_it_is_made_without_network_and_writes_no_file(tmp_path):
    program = """
import pathlib, socket, sys
def refuse(*arguments, **more):
    raise AssertionError("reached out")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import torch
from scalewise.models import store
store.build({"name": "segformer", "variant": "tiny"}, 3)(torch.zeros(1, 3, 64, 64))
print(sorted(pathlib.Path.home().rglob("*")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "workflow_scripts"),
             "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# --- the network ----------------------------------------------------------------------------------


@needs_transformers
class TestNetwork:
    @pytest.mark.parametrize(
        ("variant", "encoder", "head"),
        # the paper, table 1 (a), in millions, with the 150 classes of ADE20K
        [("b0", 3.4, 0.4), ("b1", 13.1, 0.6), ("b2", 24.2, 3.3), ("b5", 81.4, 3.3)],
    )
    def test_it_has_as_many_parameters_as_published(self, variant, encoder, head):
        with torch.device("meta"):
            network = store.build({"name": "segformer", "variant": variant}, 150)
        counts = [
            sum(p.numel() for p in part.parameters()) / 1e6
            for part in (network.segformer, network.decode_head)
        ]
        assert counts == pytest.approx([encoder, head], abs=0.09)

    def test_b0_has_3_7_million_with_19_classes(self):
        with torch.device("meta"):
            network = store.build({"name": "segformer"}, 19)
        assert sum(p.numel() for p in network.parameters()) == 3_719_027

    @pytest.mark.parametrize("size", [(64, 96), (97, 191), (29, 29), (33, 121)], ids=str)
    def test_its_logits_have_a_quarter_of_the_size_rounded_up(self, size):
        with torch.no_grad():
            logits = tiny(3).eval()(torch.zeros(1, 3, *size))
        assert logits.shape == (1, 3, -(-size[0] // 4), -(-size[1] // 4))

    @pytest.mark.parametrize("size", [(28, 64), (64, 28)], ids=str)
    def test_images_that_are_too_small_are_refused(self, size):
        with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} is too small for SegFormer"):
            tiny()(torch.zeros(1, 3, *size))

    def test_its_logits_are_those_of_transformers_own_network(self):
        reference, network = theirs(), tiny().eval()
        network.load_state_dict(reference.state_dict())
        network.to(memory_format=torch.channels_last)
        images = torch.randn(2, 3, 65, 97)
        with torch.no_grad():
            expected, found = reference(images).logits, network(images)
        assert expected.std() > 1e-3  # says something
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))

    def test_dropout_and_drop_path_follow_the_seed_and_act_in_training_alone(self):
        images = torch.randn(4, 3, 32, 32)
        for options in ({"dropout": 0.5, "drop_path": 0.0}, {"dropout": 0.0, "drop_path": 0.5}):
            network = tiny(**options).train()
            network.decode_head.batch_norm.eval()
            logits = []
            with torch.no_grad():
                for seed in (1, 1, 2):
                    torch.manual_seed(seed)
                    logits.append(network(images))
                assert torch.equal(logits[0], logits[1])
                assert not torch.equal(logits[0], logits[2])
                network.eval()
                assert torch.equal(network(images), network(images))

    def test_the_head_as_a_whole_trains_at_the_classifier_s_rate(self):
        network = tiny()
        settings = {
            "name": "adamw", "learning_rate": 6e-5, "weight_decay": 0.01, "momentum": 0.9,
            "beta2": 0.999, "bias_rate": 1.0, "classifier_rate": 10.0,
        }  # fmt: skip
        groups = make_optimizer(network, settings).param_groups
        by_factor = {g["factor"]: {id(p) for p in g["params"]} for g in groups}
        assert by_factor == {
            1.0: {id(p) for p in network.segformer.parameters()},
            10.0: {id(p) for p in network.decode_head.parameters()},
        }


# --- weights --------------------------------------------------------------------------------------


def in_the_authors_layout(state: dict, classes: int) -> dict:
    """The names and shapes of the authors' program, written out for `tiny()`."""
    tensors = {}
    for stage in range(4):
        ours, block = f"segformer.stages.{stage}", f"segformer.stages.{stage}.blocks.0"
        n = stage + 1
        names = {
            f"patch_embed{n}.proj": f"{ours}.patch_embeddings.proj",
            f"patch_embed{n}.norm": f"{ours}.patch_embeddings.layer_norm",
            f"norm{n}": f"{ours}.layer_norm",
            f"block{n}.0.norm1": f"{block}.layernorm_before",
            f"block{n}.0.norm2": f"{block}.layernorm_after",
            f"block{n}.0.attn.q": f"{block}.attention.q_proj",
            f"block{n}.0.attn.proj": f"{block}.attention.o_proj",
            f"block{n}.0.mlp.fc1": f"{block}.mlp.fc1",
            f"block{n}.0.mlp.dwconv.dwconv": f"{block}.mlp.dwconv.dwconv",
            f"block{n}.0.mlp.fc2": f"{block}.mlp.fc2",
        }
        if n < 4:
            reduction = f"{block}.attention.sequence_reduction"
            names[f"block{n}.0.attn.sr"] = f"{reduction}.sequence_reduction"
            names[f"block{n}.0.attn.norm"] = f"{reduction}.layer_norm"
        for kind in ("weight", "bias"):
            for name, our_name in names.items():
                tensors[f"backbone.{name}.{kind}"] = state[f"{our_name}.{kind}"]
            both = [state[f"{block}.attention.{k}_proj.{kind}"] for k in "kv"]
            tensors[f"backbone.block{n}.0.attn.kv.{kind}"] = torch.cat(both)
            tensors[f"decode_head.linear_c{n}.proj.{kind}"] = state[
                f"decode_head.linear_projections.{stage}.proj.{kind}"
            ]
    tensors["decode_head.linear_fuse.conv.weight"] = state["decode_head.linear_fuse.weight"]
    for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        tensors[f"decode_head.linear_fuse.bn.{kind}"] = state[f"decode_head.batch_norm.{kind}"]
    for kind in ("weight", "bias"):
        tensors[f"decode_head.linear_pred.{kind}"] = state[f"decode_head.classifier.{kind}"]
    # of every head of mmsegmentation; this one has another
    tensors["decode_head.conv_seg.weight"] = torch.randn(classes, 128, 1, 1)
    tensors["decode_head.conv_seg.bias"] = torch.randn(classes)
    return tensors


@needs_transformers
class TestWeights:
    @pytest.mark.parametrize("form", ["safetensors", "pth"])
    def test_a_folder_of_hugging_face_s_gives_the_same_logits(self, tmp_path, form):
        reference = theirs()
        reference.load_state_dict(scrambled(reference))
        reference.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        published = read(path)
        if form == "pth":
            from safetensors.torch import load_file as read_safetensors

            path = tmp_path / "pytorch_model.bin"
            torch.save(read_safetensors(tmp_path / "model.safetensors"), path)
            # the names that are published, whatever those in memory are
            assert "segformer.encoder.block.0.0.attention.self.sr.weight" in torch.load(
                path, weights_only=True
            )
        network = tiny().eval()
        found = load_file(
            network, SETTINGS, [], path, {"minimum_match": None}, pretrained=False
        )  # fmt: skip
        assert not (found.missing or found.unexpected or found.misshapen)
        assert published.tensors.keys() == network.state_dict().keys()
        images = torch.randn(1, 3, 65, 97)
        with torch.no_grad():
            expected, logits = reference(images).logits, network(images)
        assert torch.allclose(logits, expected, atol=1e-5 * float(expected.abs().max()))

    def test_a_classifier_of_imagenet_gives_its_encoder_and_the_head_begins_anew(
        self, tmp_path, caplog
    ):
        reference = theirs(1000, "SegformerForImageClassification")
        reference.load_state_dict(scrambled(reference))
        reference.save_pretrained(tmp_path)
        network = tiny()
        head = {k: v.clone() for k, v in network.state_dict().items() if "decode_head" in k}
        path = tmp_path / "model.safetensors"
        rules = {"minimum_match": None}
        found = load_file(network, SETTINGS, [], path, rules, pretrained=True)
        assert not (found.unexpected or found.misshapen)
        assert all(name.startswith("decode_head.") for name in found.missing)
        body = {k: v for k, v in reference.state_dict().items() if k.startswith("segformer.")}
        require_loaded(network, {**body, **head})
        assert "the classifier begins anew: decode_head.batch_norm" in caplog.text
        with pytest.raises(UserError, match="without their whole classifier"):
            load_file(network, SETTINGS, [], path, rules, pretrained=False)

    @pytest.mark.parametrize("nest", [True, False])
    def test_the_authors_files_load_whole(self, tmp_path, nest):
        state = scrambled(tiny())
        tensors = in_the_authors_layout(state, 5)
        content = {"meta": {"epoch": 1}, "state_dict": tensors} if nest else tensors
        torch.save(content, tmp_path / "segformer.tiny.pth")
        network = tiny()
        found = load_into(
            network, read(tmp_path / "segformer.tiny.pth"), 1.0, needs_classifier=True
        )
        assert not (found.missing or found.unexpected or found.misshapen)
        require_loaded(network, state)

    def test_the_authors_imagenet_weights_give_the_encoder(self, tmp_path):
        state = scrambled(tiny())
        body = {
            k.removeprefix("backbone."): v
            for k, v in in_the_authors_layout(state, 5).items()
            if k.startswith("backbone.")
        }
        imagenet = {"head.weight": torch.randn(1000, 64), "head.bias": torch.randn(1000)}
        torch.save({**body, **imagenet}, tmp_path / "mit_tiny.pth")
        network = tiny()
        found = load_into(network, read(tmp_path / "mit_tiny.pth"), 0.9, needs_classifier=False)
        assert not (found.unexpected or found.misshapen)
        require_loaded(network, {k: v for k, v in state.items() if k.startswith("segformer.")})

    def test_a_classifier_of_other_classes_is_named_and_may_begin_anew(self, tmp_path):
        state = scrambled(tiny(150))
        torch.save(state, tmp_path / "w.pth")
        network = tiny(19)
        with pytest.raises(UserError, match="a classifier of 150 classes where this project has"):
            load_into(network, read(tmp_path / "w.pth"), 1.0, needs_classifier=True)
        load_into(network, read(tmp_path / "w.pth"), 0.9, needs_classifier=False)
        require_loaded(network, {k: v for k, v in state.items() if "head.classifier" not in k})

    @pytest.mark.parametrize("needs_classifier", [True, False])
    @pytest.mark.parametrize(
        "other",
        [{"depths": [1, 1, 3, 1]}, {"decoder_hidden_size": 48, "depths": [1, 2, 1, 1]},
         {"hidden_sizes": [16, 32, 40, 64]}],
        ids=["more blocks", "more blocks and a wider head", "more channels"],
    )  # fmt: skip
    def test_weights_of_another_variant_are_refused(self, tmp_path, other, needs_classifier):
        torch.save(theirs(**other).state_dict(), tmp_path / "w.pth")
        network = tiny()
        before = {k: v.clone() for k, v in network.state_dict().items()}
        with pytest.raises(UserError, match=r"weights of 'segformer' with other options \(variant"):
            load_into(network, read(tmp_path / "w.pth"), 0.1, needs_classifier=needs_classifier)
        require_loaded(network, before)

    def test_weights_of_fewer_blocks_are_not_enough(self, tmp_path):
        torch.save(tiny().state_dict(), tmp_path / "w.pth")
        segformer_of_more = store.build({**TINY}, 5)
        stages = theirs(depths=[1, 1, 3, 1]).segformer.stages
        segformer_of_more.segformer.stages = stages
        with pytest.raises(UserError, match="a part of the weights of 'segformer'"):
            load_into(segformer_of_more, read(tmp_path / "w.pth"), 0.9, needs_classifier=False)

    def test_they_are_named_where_another_network_is_wanted_and_others_here(self, tmp_path):
        torch.save(in_the_authors_layout(tiny().state_dict(), 5), tmp_path / "s.pth")
        with pytest.raises(UserError, match=r"another network \('segformer'\)"):
            load_into(DeepLab(3, width=2), read(tmp_path / "s.pth"), 0.9, needs_classifier=False)
        torch.save(DeepLab(3, width=2).state_dict(), tmp_path / "d.pth")
        with pytest.raises(UserError, match=r"another network \('deeplabv2_resnet101'\)"):
            load_into(tiny(), read(tmp_path / "d.pth"), 0.9, needs_classifier=False)

    def test_our_own_files_must_be_of_this_variant_whatever_the_dropout(self, tmp_path):
        path = tmp_path / "model.safetensors"
        store.save(path, tiny(3), {**SETTINGS, "drop_path": 0.1}, ["a", "b", "c"], (64, 64))
        rules = {"minimum_match": None}

        def load(**changes):
            settings = {**SETTINGS, "drop_path": 0.1, **changes}
            load_file(tiny(3), settings, ["a", "b", "c"], path, rules, pretrained=False)

        load(drop_path=0.3)
        with pytest.raises(UserError, match="network.variant tiny, and the settings say b0"):
            load(variant="b0")


# --- through the stages ---------------------------------------------------------------------------


@needs_transformers
def test_source_training_and_evaluation_from_weights_of_hugging_face_s(tmp_path, monkeypatch):
    write_gta5(tmp_path / "gta5", 4)
    write_cityscapes(tmp_path / "cityscapes", "train", 2, labels=False)
    write_cityscapes(tmp_path / "cityscapes", "val", 2, labels=True)
    reference = theirs(1000, "SegformerForImageClassification")
    reference.save_pretrained(tmp_path / "mit")
    settings = yaml.safe_load((ROOT / "configs/gta5_to_cityscapes_segformer.yaml").read_text())
    settings["data"] |= {"root": str(tmp_path), "size": [64, 128], "source_size": [72, 120]}
    settings["network"] = {**TINY, "weights": {"file": "mit/model.safetensors"}}
    settings["source_training"] |= {"steps": 4, "batch": 1}
    settings["experiments"] = [{"name": "lse", "role": "method"}]
    settings["evaluation"] = {"pictures": 1}
    (tmp_path / "here.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    plan = load_plan([tmp_path / "here.yaml"])
    first = plan.rounds[0].stages
    scans = [s for s in plan.stages.values() if s.name in ("scan_images", "scan_labels")]
    scripts = {
        "scan_images": scan_images.scan, "scan_labels": scan_labels.scan,
        "train_source": train_source.train_source, "evaluate": evaluate.evaluate,
    }  # fmt: skip
    for stage in [*sorted(scans, key=lambda s: s.name), first["train_source"], first["evaluate"]]:
        job = Job(stage.description(), threads=1, gpus=1)
        job.folder.mkdir(parents=True, exist_ok=True)
        with job.state:
            scripts[stage.name](job)
        job.write_settings()
    training = pd.read_csv(f"{first['train_source'].folder}/training.csv")
    assert len(training) == 4 and training["loss"].between(0.5, 10).all()
    model = store.load(f"{first['train_source'].folder}/model.safetensors")
    assert model.settings["variant"] == "tiny" and model.preprocessing["order"] == "rgb"
    given = reference.state_dict()
    name = "segformer.stages.0.patch_embeddings.proj.weight"
    trained = model.network.state_dict()[name]
    assert not torch.equal(trained, given[name])
    assert torch.allclose(trained, given[name], atol=1e-3)  # 4 steps, still warming up
    iou = pd.read_csv(f"{first['evaluate'].folder}/iou.csv")
    assert len(iou) == 19 and iou["iou"].dropna().between(0, 100).all()


def test_the_settings_know_the_variants_of_the_network():
    from scalewise.config.sections import SegformerSettings

    annotation = SegformerSettings.model_fields["variant"].annotation
    assert annotation.__args__ == tuple(segformer.VARIANTS)
