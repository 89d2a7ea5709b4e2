"""The plan: what is shared, what a key depends on, what is written."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from scalewise import config
from scalewise.plan import NETWORK_STAGES, OUTPUTS, DataFiles, Plan, digest, finished_results
from scalewise.workflow import DEFAULT_CONFIG

TINY = Path(__file__).parent / "configs" / "tiny.yaml"


def make_plan(tmp_path, changes=None, code="c0", contents="d0", finished=lambda s, i: None):
    """A plan of the default with `changes`, with made-up code and data digests."""
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump(changes or {}))
    project = config.load([DEFAULT_CONFIG, path])
    codes = code if callable(code) else lambda stage: code
    files = DataFiles(contents, contents, "i", "l")
    return Plan(project, codes, lambda layout, labels: files, lambda path: "w0", finished)


def keys(plan, stage):
    return {key for name, key in plan.stages if name == stage}


def all_keys(plan):
    return set(plan.stages)


def count(plan):
    found = {}
    for name, _ in plan.stages:
        found[name] = found.get(name, 0) + 1
    return found


def test_equal_stages_of_two_experiments_are_one_stage(tmp_path):
    plan = make_plan(tmp_path)
    assert count(plan) == {
        "make_streets": 3,
        "scan_images": 3,
        "scan_labels": 2,
        "check_data": 1,
        "train_source": 1,
        "evaluate": 1 + 3 + 3 + 3 + 1,  # source-only; three rounds of three; batch-norm
        "score_target": 1 + 2 * 3,  # round 1 is shared
        "select_images": 1 + 2 * 3,
        "infer_patches": 2 * 3,  # source_zoom reads no patch
        "compute_thresholds": 2 * 3,
        "retrain": 3 * 3,
        "reestimate_batchnorm": 1,
        "report": 1,
    }


def test_the_target_training_labels_have_no_stage(tmp_path):
    plan = make_plan(tmp_path)
    targets = [s for s in plan.stages.values() if "target" in s.what and s.name == "scan_labels"]
    assert targets == []
    validation = plan.rounds[0].stages["evaluate"].inputs["validation_labels"].stage
    readers = {s.name for s in plan.stages.values() if validation in [x.stage for x in s.sources]}
    assert readers == {"evaluate", "check_data"}


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"source_training": {"steps": 7}}, "train_source"),
        ({"rounds": {"portions": [0.2, 0.4, 0.5]}}, "select_images"),
        ({"selection": {"min_pixels": 3}}, "select_images"),
        ({"threshold": {"estimator": "pooled"}}, "compute_thresholds"),
        ({"patches": {"claim_images": 3}}, "infer_patches"),
        ({"retraining": {"focal": {"beta": 0.2}}}, "retrain"),
        ({"evaluation": {"pictures": 3}}, "evaluate"),
        ({"report": {"gallery": 1}}, "report"),
    ],
)
def test_a_setting_changes_the_keys_of_its_stage_and_of_what_follows_alone(
    tmp_path, changes, changed
):
    before, after = make_plan(tmp_path), make_plan(tmp_path, changes)
    order = [
        "make_streets", "scan_images", "scan_labels", "train_source", "score_target",
        "select_images", "infer_patches", "compute_thresholds", "retrain", "evaluate", "report",
    ]  # fmt: skip
    first_round = {}
    for plan in (before, after):
        lse = next(r for r in plan.rounds if r.experiment == "lse" and r.number == 1)
        found = {name: stage.key for name, stage in lse.stages.items()}
        found["train_source"] = plan.rounds[0].stages["train_source"].key
        found["report"] = plan.report.key
        first_round[plan] = found
    for name in order:
        if name not in first_round[before]:
            assert keys(before, name) == keys(after, name)
            continue
        same = first_round[before][name] == first_round[after][name]
        follows = order.index(name) >= order.index(changed)
        if changed == "compute_thresholds" and name == "infer_patches":
            follows = False
        assert same != follows, name


@pytest.mark.parametrize(
    "changes",
    [
        {"resources": {"threads": 1, "gpus_per_job": 2, "save_minutes": 1}},
        {"data": {"root": "/elsewhere"}},
        {"data": {"source": {"root": "/elsewhere/x"}}},
    ],
)
def test_what_determines_no_result_is_in_no_key(tmp_path, changes):
    folder = {"format": "cityscapes", "root": "x", "split": "train"}
    base = {"data": {"root": "/here", "source": folder}}
    before, after = make_plan(tmp_path, base), make_plan(tmp_path, config.merge(base, changes))
    assert all_keys(before) - {("report", before.report.key)} <= all_keys(after)
    assert len(all_keys(before)) == len(all_keys(after))


def test_names_of_experiments_are_in_no_key_but_the_reports(tmp_path):
    content = yaml.safe_load(DEFAULT_CONFIG.read_text())
    renamed = copy.deepcopy(content["experiments"])
    renamed[0]["name"] = "another name"
    before, after = make_plan(tmp_path), make_plan(tmp_path, {"experiments": renamed})
    assert all_keys(before) ^ all_keys(after) == {
        ("report", before.report.key),
        ("report", after.report.key),
    }


def test_code_of_a_stage_changes_its_key_and_of_what_follows(tmp_path):
    before = make_plan(tmp_path)
    after = make_plan(tmp_path, code=lambda stage: "c1" if stage == "retrain" else "c0")
    same = ("train_source", "make_streets", "scan_images", "scan_labels")
    for name in same:
        assert keys(before, name) == keys(after, name)
    assert not keys(before, "retrain") & keys(after, "retrain")
    assert len(keys(before, "evaluate") & keys(after, "evaluate")) == 2  # round 0 and batch-norm


def test_pinned_code_keeps_a_finished_result_and_all_that_follows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = make_plan(tmp_path)
    trained = before.rounds[0].stages["train_source"]
    folder = tmp_path / trained.folder
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(
        json.dumps({"identity": trained.identity, "finished": "2026"})
    )

    def changed(stage):
        return "c1" if stage == "train_source" else "c0"

    unpinned = make_plan(tmp_path, code=changed, finished=finished_results)
    assert unpinned.rounds[0].stages["train_source"].key != trained.key
    pinned = make_plan(
        tmp_path, {"code": {"train_source": "pinned"}}, code=changed, finished=finished_results
    )
    assert pinned.rounds[0].stages["train_source"].key == trained.key
    assert keys(pinned, "retrain") == keys(before, "retrain")


def test_pinning_no_stage_is_an_error_that_names_the_stages(tmp_path):
    with pytest.raises(config.ConfigError, match=r"code\.training: no such stage; one of .*train"):
        make_plan(tmp_path, {"code": {"training": "pinned"}})


def test_another_content_of_the_data_changes_the_keys_of_what_reads_it(tmp_path):
    folder = {"format": "cityscapes", "root": "x", "split": "train"}
    changes = {"data": {"source": folder}}
    before = make_plan(tmp_path, changes, contents="d0")
    after = make_plan(tmp_path, changes, contents="d1")
    assert not keys(before, "train_source") & keys(after, "train_source")
    assert keys(before, "make_streets") == keys(after, "make_streets")


def test_a_further_seed_or_round_adds_stages_and_changes_none(tmp_path):
    before = all_keys(make_plan(tmp_path))
    for changes in ({"seeds": [0, 5]}, {"rounds": {"portions": [0.3, 0.4, 0.5, 0.6]}}):
        after = all_keys(make_plan(tmp_path, changes))
        assert before - after == {k for k in before if k[0] == "report"}
        assert len(after) > len(before)


def test_the_key_is_the_digest_of_sorted_plain_json():
    # by hand: printf '{"a":1,"b":[2.5,"x"]}' | sha256sum
    assert digest({"b": [2.5, "x"], "a": 1}) == digest({"a": 1, "b": [2.5, "x"]})
    assert digest({"a": 1, "b": [2.5, "x"]}) == "5f097a2417b218fb"
    assert digest({"a": 1}) != digest({"a": 1.0}) != digest({"a": "1"})


def test_record_writes_descriptions_plan_and_relative_links_and_removes_old_links(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(tmp_path)
    plan.record()
    lse = tmp_path / "results/experiments/streets/lse/seed0/round2"
    names = {p.name for p in lse.iterdir()}
    assert names == {
        "score_target", "select_images", "infer_patches", "compute_thresholds", "retrain",
        "evaluate",
    }  # fmt: skip
    link = (lse / "retrain").readlink()
    assert not link.is_absolute()
    stage = next(r for r in plan.rounds if r.experiment == "lse" and r.number == 2)
    (tmp_path / stage.stages["retrain"].folder).mkdir(parents=True)
    assert (lse / "retrain").resolve() == (tmp_path / stage.stages["retrain"].folder).resolve()
    described = json.loads((tmp_path / stage.stages["retrain"].description_path).read_text())
    assert described["settings"]["round"] == 2
    assert described["inputs"]["model"]["path"].endswith("model.safetensors")

    fewer = make_plan(tmp_path, {"rounds": {"portions": [0.3]}})
    fewer.record()
    assert not lse.exists()
    assert (tmp_path / "results/experiments/streets/lse/seed0/round1/retrain").is_symlink()
    assert len(list((tmp_path / "results/plans").glob("streets-*.json"))) == 2


def test_record_writes_nothing_a_second_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_plan(tmp_path).record()
    results = tmp_path / "results"
    before = {p: p.lstat().st_mtime_ns for p in results.rglob("*")}
    make_plan(tmp_path).record()
    assert len(before) > 100
    assert before == {p: p.lstat().st_mtime_ns for p in results.rglob("*")}


def test_every_stage_that_runs_the_network_waits_for_the_check_of_the_data(tmp_path):
    plan = make_plan(tmp_path)
    for stage in plan.stages.values():
        assert (plan.check in stage.after) == (stage.name in NETWORK_STAGES)


def test_the_title_says_experiment_seed_round_and_step(tmp_path):
    plan = make_plan(tmp_path)
    r = next(r for r in plan.rounds if r.experiment == "self_training" and r.number == 2)
    assert r.stages["retrain"].title == "self_training, seed 0, round 2: retraining"
    assert plan.rounds[0].stages["train_source"].title.startswith("lse (+3), seed 0: training")


def test_every_stage_has_a_script_and_a_rule_of_its_name():
    root = DEFAULT_CONFIG.parent
    rules = "".join(path.read_text() for path in (root / "rules").glob("*.smk"))
    for name in OUTPUTS:
        assert (root / "workflow_scripts" / f"{name}.py").is_file()
        assert f"rule {name}:" in rules
