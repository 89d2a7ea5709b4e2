"""The ready configurations, end to end on small made-up sets in the real layouts."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from scalewise.artifacts import optimizer_file, patches_h5, thresholds_csv
from scalewise.models import store
from street_sets import save, scene, write_cityscapes, write_gta5, write_synthia
from test_segformer import in_the_authors_layout, needs_transformers
from workflow_runs import ROOT, jobs, snakemake

REDUCED = ROOT / "tests" / "configs" / "reduced.yaml"
CONFIGS = ROOT / "configs"


def drawn(state: dict, skip: str) -> dict:
    """Weights of these names and shapes, without those that begin with `skip`."""
    draw = torch.Generator().manual_seed(1)
    return {
        name: value
        if name.endswith(("running_var", "num_batches_tracked"))
        else 0.1 * torch.randn(value.shape, generator=draw)
        for name, value in state.items()
        if not name.startswith(skip)
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """gta5/, synthia/, cityscapes/ and weights/ below one root."""
    root = tmp_path_factory.mktemp("data")
    write_gta5(root / "gta5", 5)
    write_synthia(root / "synthia", 5)
    write_cityscapes(root / "cityscapes", "train", 40, labels=False)
    write_cityscapes(root / "cityscapes", "val", 3, labels=True)
    # one pair of another size, as GTA5 has them
    write_gta5(root / "other", 1, size=(70, 120))
    (root / "other/labels/00001.png").rename(root / "gta5/labels/00005.png")
    (root / "weights").mkdir()
    torch.manual_seed(1)
    vgg = store.build({"name": "fcn8s_vgg16", "width": 8, "hidden": 16}, 19)
    # a classifier that tells a few classes apart, and is sure of none
    torch.nn.init.normal_(vgg.score_fr.weight, std=0.002)
    vgg.score_fr.bias.data[:3] = 0.2
    vgg = vgg.state_dict()
    # the released layout, as saved from several devices
    vgg = {f"module.{k}": v for k, v in vgg.items() if not k.startswith("upscore")}
    for source in ("gta5", "synthia"):
        torch.save({"state_dict": vgg}, root / "weights" / f"{source}_vgg16.pth")
    resnet = store.build({"name": "deeplabv2_resnet101", "width": 8}, 19).state_dict()
    # torchvision's names: no layer5, a classifier of ImageNet instead
    resnet = {**drawn(resnet, "layer5"), "fc.weight": torch.ones(1000, 256)}
    torch.save(resnet, root / "weights" / "resnet101_imagenet.pth")
    return root


def run(folder: Path, name: str, data: Path, **changes) -> tuple[dict, str]:
    """The configuration `name` in small; jobs by rule, and all that was printed."""
    config = {"data": {"root": str(data)}, **changes}
    path = folder / "here.yaml"
    path.write_text(yaml.safe_dump(config))
    reduced = yaml.safe_load(REDUCED.read_text())
    if "variant" in changes.get("network", {}):  # which has no width
        del reduced["network"]
    (folder / "reduced.yaml").write_text(yaml.safe_dump(reduced))
    files = [CONFIGS / f"{name}.yaml", folder / "reduced.yaml", path]
    status, printed = snakemake(folder, config=files)
    assert status == 0, printed
    return jobs(printed), printed


def per_class(folder: Path, project: str) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "report" / project / "per_class_iou.csv")


def link(folder: Path, project: str, experiment: str, number: int, stage: str) -> Path:
    path = folder / "results/experiments" / project / experiment / "seed0" / f"round{number}"
    return path / stage


@pytest.mark.slow
def test_gta5_to_cityscapes_vgg16(tmp_path, data):
    project = "gta5_to_cityscapes_vgg16"
    network = {"name": "fcn8s_vgg16", "width": 8, "hidden": 16}
    done, printed = run(tmp_path, project, data, network=network)
    # the weights are given: nothing is trained on the source
    assert "train_source" not in done and done["import_weights"] == 1
    assert set(per_class(tmp_path, project)["experiment"]) == {
        "lse", "as_released", "self_training", "source_zoom", "continued",
    }  # fmt: skip
    weights = link(tmp_path, project, "lse", 0, "import_weights")
    with open(weights / "weights.csv", newline="") as file:
        verdicts = {row["tensor"]: row["verdict"] for row in csv.DictReader(file)}
    assert verdicts["conv1_1.weight"] == "matched" and verdicts["upscore8.weight"] == "missing"
    # what was given went into the model unchanged; the deconvolutions stay bilinear
    given = torch.load(data / "weights/gta5_vgg16.pth", weights_only=True)["state_dict"]
    model = store.load(weights / "model.safetensors")
    state = model.network.state_dict()
    assert torch.equal(state["fc6.weight"], given["module.fc6.weight"])
    assert model.preprocessing["order"] == "bgr" and model.size == (64, 128)
    after = link(tmp_path, project, "lse", 1, "retrain") / "model.safetensors"
    trained = store.load(after).network.state_dict()
    assert torch.equal(trained["upscore8.weight"], state["upscore8.weight"])
    assert not torch.equal(trained["fc6.weight"], state["fc6.weight"])
    assert optimizer_file.read(after.parent / "optimizer.safetensors") == {}
    # only the released program carries its moments on
    rows = yaml.safe_load((CONFIGS / f"{project}.yaml").read_text())["experiments"]
    rows = [row for row in rows if row["name"] == "as_released"]
    rounds = {"portions": [0.6, 0.7]}
    done, _ = run(tmp_path, project, data, network=network, rounds=rounds, experiments=rows)
    assert done["retrain"] == 1  # the first round is there
    retrained = [link(tmp_path, project, "as_released", n, "retrain") for n in (1, 2)]
    steps = [json.loads((p / "settings.json").read_text())["notes"]["steps"] for p in retrained]
    moments = [optimizer_file.read(p / "optimizer.safetensors") for p in retrained]
    assert [m["fc7.bias/step"] for m in moments] == [steps[0], sum(steps)]
    # one image more than selected
    selected = pd.read_csv(link(tmp_path, project, "as_released", 1, "select_images")
                           / "selected.csv")  # fmt: skip
    assert steps[0] == len(selected) + 1
    # the pair of two sizes was left out, and it is said
    assert f"the source labels of {data / 'gta5'}: 1 of the files is left out" in printed


def test_gta5_to_cityscapes_resnet101(tmp_path, data):
    project = "gta5_to_cityscapes_resnet101"
    done, _ = run(tmp_path, project, data)
    # as released it has two branches, and so another source network
    assert done["train_source"] == 2 and done["reestimate_batchnorm"] == 1
    branches = {
        name: store.load(link(tmp_path, project, name, 0, "train_source") / "model.safetensors")
        for name in ("lse", "as_released")
    }
    assert branches["lse"].settings["classifier_branches"] == 4
    assert branches["as_released"].settings["classifier_branches"] == 2
    # batch-norm is as it was given: scale, offset and, frozen, statistics
    given = torch.load(data / "weights/resnet101_imagenet.pth", weights_only=True)
    state = branches["lse"].network.state_dict()
    for name in ("bn1.weight", "layer3.7.bn2.bias", "layer4.2.bn3.running_mean"):
        assert torch.equal(state[name], given[name]), name
    assert not torch.equal(state["layer4.2.conv3.weight"], given["layer4.2.conv3.weight"])


@pytest.mark.slow
@needs_transformers
def test_gta5_to_cityscapes_segformer(tmp_path, data):
    project = "gta5_to_cityscapes_segformer"
    network = {"name": "segformer", "variant": "tiny"}
    torch.manual_seed(1)
    given = store.build(network, 19).state_dict()
    layout = in_the_authors_layout(given, 19).items()
    body = {k.removeprefix("backbone."): v for k, v in layout if k.startswith("backbone.")}
    imagenet = {"head.weight": torch.ones(1000, 64), "head.bias": torch.ones(1000)}
    torch.save({**body, **imagenet}, data / "weights/mit_b5.pth")
    done, _ = run(tmp_path, project, data, network=network)
    assert done["train_source"] == 1 and done["reestimate_batchnorm"] == 1
    assert set(per_class(tmp_path, project)["experiment"]) == {
        "lse", "self_training", "source_zoom", "batch_norm",
    }  # fmt: skip
    models = {
        (name, number): store.load(link(tmp_path, project, name, number, stage)
                                   / "model.safetensors").network.state_dict()
        for name, number, stage in (
            ("lse", 0, "train_source"), ("lse", 1, "retrain"),
            ("batch_norm", 1, "reestimate_batchnorm"),
        )
    }  # fmt: skip
    source, adapted = models["lse", 0], models["lse", 1]
    # the encoder began as it was given; the source set the head's statistics, and no round did
    assert all(torch.allclose(source[k], v, atol=1e-3) for k, v in given.items()
               if k.startswith("segformer."))  # fmt: skip
    statistics = "decode_head.batch_norm.running_mean"
    assert not torch.equal(source[statistics], given[statistics])
    assert torch.equal(source[statistics], adapted[statistics])
    assert not torch.equal(source[statistics], models["batch_norm", 1][statistics])
    changed = [k for k in source if not torch.equal(source[k], adapted[k])]
    assert any(k.startswith("segformer.") for k in changed)
    assert any(k.startswith("decode_head.") for k in changed)


@pytest.mark.slow
@pytest.mark.parametrize("name, changes", [
    ("synthia_to_cityscapes_vgg16", {"network": {"name": "fcn8s_vgg16", "width": 8, "hidden": 16}}),
    ("synthia_to_cityscapes_resnet101", {}),
])  # fmt: skip
def test_synthia_to_cityscapes(tmp_path, data, name, changes):
    run(tmp_path, name, data, **changes)
    missing = {"terrain", "truck", "train"}
    rows = thresholds_csv.read(link(tmp_path, name, "lse", 1, "compute_thresholds")
                               / "thresholds.csv")  # fmt: skip
    assert {r.name: r.tau for r in rows if r.name in missing} == dict.fromkeys(missing, 0.0)
    rows = thresholds_csv.read(link(tmp_path, name, "as_released", 1, "compute_thresholds")
                               / "thresholds.csv")  # fmt: skip
    assert {r.name: r.tau for r in rows if r.name in missing} == dict.fromkeys(missing, 1.0)
    # the headline is the mean over 16 classes, never over 19
    table = per_class(tmp_path, name)
    last = table[(table["experiment"] == "lse") & (table["round"] == 1)]
    sixteen = last[~last["class"].isin(missing)]["iou"].mean()
    summary = pd.read_csv(tmp_path / "results" / "report" / name / "summary.csv")
    row = summary[(summary["experiment"] == "lse") & (summary["round"] == 1)]
    assert row.set_index("classes")["miou"]["16 classes"] == pytest.approx(sixteen, abs=1e-3)
    assert "16 classes" in (tmp_path / "results" / "report" / name / "summary.txt").read_text()


def test_own_folders(tmp_path):
    draw = np.random.default_rng(3)
    for folder, count, labelled in (("labelled", 4, True), ("unlabelled", 6, False),
                                    ("checked", 2, True)):  # fmt: skip
        for number in range(count):
            image, label = scene(draw, (70, 90), [0, 2, 8, 13, 10, 18])
            ids = np.zeros(256, np.uint8)  # any other class of the scene: 0, ignored
            ids[[0, 2, 8, 13]] = 1, 2, 3, 4
            path = tmp_path / folder / (f"images/{number}.png" if labelled else f"a/{number}.jpg")
            save(path, Image.fromarray(image))
            if labelled:
                save(tmp_path / folder / f"labels/{number}.png", Image.fromarray(ids[label]))
    run(tmp_path, "own_folders", tmp_path, selection={"minimum_per_class": 1})
    found = per_class(tmp_path, "own_folders")
    assert set(found["class"]) == {"road", "building", "vegetation", "car"}
    assert set(found["experiment"]) == {
        "lse", "recommended", "self_training", "source_zoom", "batch_norm",
    }  # fmt: skip
    # every label pixel of a declared class was counted, and no other
    one = found[(found["experiment"] == "lse") & (found["round"] == 0)]
    labels = [np.asarray(Image.open(p)) for p in (tmp_path / "checked/labels").iterdir()]
    assert list(one["pixels"]) == [sum((a == i).sum() for a in labels) for i in (1, 2, 3, 4)]


def test_rows_of_the_ablations(tmp_path):
    rows = yaml.safe_load((CONFIGS / "ablations.yaml").read_text())["experiments"]
    names = ["lse", "thresholds_off", "global_selection", "scales_in_turn", "scales_drawn"]
    rows = [row for row in rows if row["name"] in names]
    content = yaml.safe_load((ROOT / "tests" / "configs" / "tiny.yaml").read_text())
    path = tmp_path / "here.yaml"
    content.update(experiments=rows, rounds={"portions": [0.8]})
    path.write_text(yaml.safe_dump(content))
    status, printed = snakemake(tmp_path, config=path)
    assert status == 0, printed
    done = jobs(printed)
    assert done["retrain"] == len(names) and done["check_round"] == 2 * len(names)
    assert done["score_target"] == 1 + len(names)  # round 1 once for all; each one's result

    def stage(name, kind):
        return link(tmp_path, "tiny", name, 1, kind)

    off = thresholds_csv.read(stage("thresholds_off", "compute_thresholds") / "thresholds.csv")
    assert {r.tau for r in off} <= {0.0, np.inf} and np.inf in {r.tau for r in off}
    taken = pd.read_csv(stage("global_selection", "select_images") / "selected.csv")
    assert len(taken) == int(20 * 0.8) and taken["score"].is_monotonic_decreasing
    sizes = {}
    for name in ("lse", "scales_in_turn", "scales_drawn"):
        reader = patches_h5.PatchReader(stage(name, "infer_patches") / "patches.h5")
        heights = [len(reader.patch(k, ("predicted",))["predicted"]) for k in range(len(reader))]
        sizes[name] = set(heights)
    assert sizes["lse"] == {24} and sizes["scales_in_turn"] == {32, 24}
    assert len(sizes["scales_drawn"]) > 3 and max(sizes["scales_drawn"]) <= 48
    words = (tmp_path / "results/report/tiny/summary.txt").read_text()
    assert "thresholds_off" in words and "over lse" in " ".join(words.split())
