"""What a plan takes before it runs: by what finished, else computed."""

import csv
import json
import math
import re

import pytest
import torch

import explain
from made_up_results import finish, of
from scalewise import costs, inference
from scalewise.comparison import records_of
from scalewise.config.sections import ProjectSettings
from scalewise.costs import (
    Cost,
    Finished,
    Machine,
    cost_of,
    expected_units,
    longest_chain,
    network_costs,
)
from scalewise.models import store
from test_plan import make_plan

SMALL = {
    "data": {"size": [64, 128], "target": {"images": 50}, "validation": {"images": 7}},
    "experiments": [{"name": "lse", "role": "method"}],
    "rounds": {"portions": [0.25]},
    "source_training": {"steps": 30, "batch": 3},
}
PIXELS = 64 * 128
IMAGE = {"parameters": 1e6, "forward_flop": 1e9, "forward_seconds": 1.0, "step_seconds": 5.0,
         "forward_bytes": 1e9, "step_bytes": 3e9}  # fmt: skip


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda changes=None: make_plan(tmp_path, {**SMALL, **(changes or {})})


@pytest.fixture
def plain_network(monkeypatch):
    monkeypatch.setattr(costs, "_table", lambda: {"compact": IMAGE})


def stage_of(plan, name):
    (stage,) = [s for (n, _), s in plan.stages.items() if n == name]
    return stage


def computed(stage, machine):
    return cost_of(stage, Finished([]), machine)


def test_a_training_takes_its_steps_times_the_pixels_of_a_batch(plan_of, plain_network):
    stage = stage_of(plan_of(), "train_source")
    images = 30 * 3 * PIXELS / costs.MEASURED_PIXELS
    assert computed(stage, Machine(2)).seconds == pytest.approx(images * 5 / 2)
    assert computed(stage, Machine(2, 1e12)).seconds == pytest.approx(images * 3e9 / 1e12)


def test_a_training_holds_its_weights_three_times_and_the_rest_by_its_pixels(
    plan_of, plain_network
):
    fixed = 12e6 + costs.LEAST_MEMORY
    share = 3 * PIXELS / costs.MEASURED_PIXELS
    found = computed(stage_of(plan_of(), "train_source"), Machine(1))
    assert found.memory == pytest.approx(fixed + (3e9 - fixed) * share)
    assert found.disk == 4e6 and not found.measured


def test_every_view_of_an_image_is_a_pass_of_its_size(plan_of, plain_network):
    plan = plan_of({"prediction": {"scales": [1, 0.5], "flip": True}, "patches": {"per_image": 4}})
    image = PIXELS / costs.MEASURED_PIXELS
    # two sizes, each with its mirror image
    scored = computed(of(plan, "score_target"), Machine(1))
    assert scored.seconds == pytest.approx(50 * image * 2 * 1.25)
    # 13 selected images, and the claim on four crops of each
    cut = computed(of(plan, "infer_patches"), Machine(1))
    assert cut.seconds == pytest.approx(13 * 5 * image * 2 * 1.25)
    assert cut.disk == pytest.approx(13 * 4 * PIXELS / 4 * costs.PATCH_BYTES)
    evaluated = computed(plan.rounds[0].stages["evaluate"], Machine(1))
    assert evaluated.seconds == pytest.approx(7 * image)


def test_a_selection_that_is_still_to_be_made_is_at_most_its_portion_of_the_images(plan_of):
    plan = plan_of()
    assert expected_units(of(plan, "infer_patches")) == math.ceil(0.25 * 50)
    s = of(plan, "retrain").settings
    steps = math.ceil(13 * s["epochs"] * s["per_image"] / s["target_batch"])
    assert expected_units(of(plan, "retrain")) == steps
    least = plan_of({"selection": {"minimum_per_class": 2}})
    assert expected_units(of(least, "infer_patches")) == 38  # 2 of each of 19 classes


def test_whole_images_are_one_patch_and_smaller_scales_cover_all_of_an_image():
    assert costs._patches({"scale": 1, "per_image": 4}) == 1
    assert costs._patches({"scale": 2.0, "per_image": 4}) == 4
    assert costs._share(2) == 0.25 and costs._share(0.5) == 1
    assert costs._share([1, {"from": 1, "to": 2}]) == pytest.approx((1 + 0.625) / 2)


def test_what_finished_here_tells_better(plan_of, plain_network):
    stage = stage_of(plan_of(), "train_source")
    folder = finish(stage, seconds=60, units=30)
    path = folder / "settings.json"
    record = json.loads(path.read_text())
    record["files"] = {"model.safetensors": {"bytes": 700}, "training.csv": {"bytes": 77}}
    path.write_text(json.dumps(record))
    seen = folder.parents[1] / "benchmarks" / "train_source" / f"{folder.name}.tsv"
    seen.parent.mkdir(parents=True)
    seen.write_text("s\tmax_rss\n60\t123.5\n")
    longer = stage_of(plan_of({"source_training": {"steps": 90}}), "train_source")
    finished = Finished(records_of("train_source"))
    assert cost_of(longer, finished, Machine(1)) == Cost(180, 123.5e6, 777, measured=True)
    # but not of another network
    wide = stage_of(plan_of({"network": {"width": 8}}), "train_source")
    assert not cost_of(wide, finished, Machine(1)).measured


def test_another_width_counts_by_its_square_and_an_unknown_network_is_not_guessed(plain_network):
    assert network_costs({"name": "compact", "width": 16})["step_seconds"] == 1.25
    assert network_costs({"name": "segformer", "variant": "tiny"}) is None


def test_the_table_is_of_the_networks_as_they_are():
    """Parameters are counted anew; a network that is changed needs benchmarks/network_cost.py."""
    with open(costs.TABLE, newline="") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    settings = {
        "compact": {"name": "compact", "width": 32, "dropout": 0.1},
        "fcn8s_vgg16": {"name": "fcn8s_vgg16", "width": 64, "hidden": 4096, "dropout": 0.5},
        "deeplabv2_resnet101": {"name": "deeplabv2_resnet101", "width": 64},
    }
    assert {*settings, "segformer_b0", "segformer_b5"} <= rows.keys()
    for name, of_network in settings.items():
        with torch.device("meta"):
            network = store.build(of_network, 19)
        parameters = sum(p.numel() for p in network.parameters())
        assert int(rows[name]["parameters"]) == parameters
    assert ProjectSettings().network.name in rows
    assert costs.AT_ONCE == inference.BATCH


def test_no_number_of_devices_is_faster_than_the_longest_chain(plan_of):
    plan = plan_of({"seeds": [0, 1], "rounds": {"portions": [0.2, 0.3]}})
    stages = list(plan.stages.values())
    seconds = {(s.name, s.key): 1.0 for s in stages if s.name in ("train_source", "retrain")}
    # two seeds side by side: one training, then the rounds
    assert longest_chain(seconds, stages) == 3
    assert longest_chain(seconds, [s for s in stages if s.name != "train_source"]) == 2
    assert longest_chain(seconds, []) == 0


def test_explain_ends_with_what_each_kind_of_stage_takes(plan_of, plain_network):
    plan = plan_of()
    finish(stage_of(plan, "train_source"), seconds=3723, units=30)
    changed = plan_of({"source_training": {"steps": 60, "batch": 3}})
    text = "\n".join(explain.cost_lines(changed, Machine(2, 5e12)))
    assert "5 TFLOP/s" in text
    assert re.search(r"^train_source +1 +2:04:06 +- +\d+ MiB   measured$", text, re.M)
    assert re.search(r"^retrain +1 +0:00:01 +\d+ MiB +\d+ MiB   computed$", text, re.M)
    assert re.search(r"^report +1 +- +- +-$", text, re.M)
    assert re.search(r"^all of these +\d+ +2:04:", text, re.M)
    assert re.search(r"^with any number of device slots at least 2:04:", text, re.M)
