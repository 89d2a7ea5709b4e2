"""The plan: what is shared, what a key depends on, what is written."""

import copy
import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
import yaml

import report_finished
from scalewise import config
from scalewise.data.index import content_hash
from scalewise.plan import NETWORK_STAGES, OUTPUTS, DataFiles, Plan, digest, finished_results
from scalewise.workflow import DEFAULT_CONFIG, load_plan

TINY = Path(__file__).parent / "configs" / "tiny.yaml"


def make_plan(
    tmp_path, changes=None, code="c0", contents="d0", weights="w0", finished=lambda stage: {},
    code_files=lambda stage: {},
):  # fmt: skip
    """A plan of the default with `changes`, with made-up code and data digests."""
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump(changes or {}))
    project = config.load([DEFAULT_CONFIG, path])
    codes = code if callable(code) else lambda stage: code
    files = DataFiles(contents, contents, "i", "l")
    return Plan(
        project, codes, lambda layout, labels: files, lambda *of: weights, finished, code_files
    )


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
        "scan_labels": 3,
        "check_data": 1,
        "train_source": 1,
        "evaluate": 1 + 4 * 3 + 1,  # source-only; three rounds of four; batch-norm
        # round 1 is shared but for `recommended`; results that were taught by patches
        "score_target": 1 + 1 + 2 * 4 + 3,
        "select_images": 1 + 1 + 2 * 4,
        "infer_patches": 3 * 3,  # source_zoom reads no patch
        "compute_thresholds": 3 * 3,
        "check_round": 3 * (3 + 1),
        "audit_pseudo_labels": 3 * 3,
        "retrain": 4 * 3,
        "reestimate_batchnorm": 1 + 1,  # of all layers, and of those `recommended` begins with
        "report": 1,
    }


def test_labels_of_validation_are_read_by_evaluation_and_the_check_alone(tmp_path):
    plan = make_plan(tmp_path)
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
        ({"report": {"classes": "16 classes"}}, "report"),
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
    (folder / "training.csv").write_text("")

    def changed(stage):
        return "c1" if stage == "train_source" else "c0"

    unpinned = make_plan(tmp_path, code=changed, finished=finished_results)
    assert unpinned.rounds[0].stages["train_source"].key != trained.key
    pinned = partial(
        make_plan, tmp_path, {"code": {"train_source": "pinned"}}, code=changed,
        finished=finished_results,
    )  # fmt: skip
    # half a result is none: other code would fill it up under the key of the code before
    assert pinned().rounds[0].stages["train_source"].key != trained.key
    (folder / "model.safetensors").write_text("")
    pinned = pinned()
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
    plan = make_plan(tmp_path)
    before = all_keys(plan)
    for changes in ({"seeds": [0, 5]}, {"rounds": {"portions": [0.3, 0.4, 0.5, 0.6]}}):
        after = all_keys(make_plan(tmp_path, changes))
        gone = {k for k in before if k[0] == "report"}
        if "rounds" in changes:  # round 3 is no result any more: round 4 looks at what it made
            results = [r.checks["check_result"] for r in plan.rounds if "check_result" in r.checks]
            assert len(results) == 3
            gone |= {("check_round", stage.key) for stage in results}
        assert before - after == gone
        assert len(after) > len(before)


def test_no_portion_is_no_round_for_a_source_only_row_that_trains_longer(tmp_path):
    longer = {"source_training": {"steps": 77}, "rounds": {"portions": []}}
    rows = [{"name": "lse"}, {"name": "longer", "role": "control", **longer}]
    plan = make_plan(tmp_path, {"experiments": rows})
    (only,) = [r for r in plan.rounds if r.experiment == "longer"]
    assert set(only.stages) == {"train_source", "evaluate"}
    assert only.stages["train_source"].settings["steps"] == 77
    (told,) = [e for e in plan.report.settings["experiments"] if e["name"] == "longer"]
    assert told["rounds"] == 0 and not told["uses_target"]


def test_the_target_images_reach_a_training_that_takes_their_colours_and_no_other(tmp_path):
    rows = [
        {"name": "plain", "retraining": {"target_weight": 0}},
        {"name": "colors", "retraining": {"target_weight": 0, "target_colors": 0.5}},
    ]
    plan = make_plan(tmp_path, {"experiments": rows})
    plain, colors = (
        next(r for r in plan.rounds if (r.experiment, r.number) == (name, 1)).stages["retrain"]
        for name in ("plain", "colors")
    )
    assert "target_images" not in plain.inputs and "target" not in plain.locations
    assert colors.inputs["target_images"].file == "images.csv" and "target" in colors.locations
    told = {e["name"]: e["uses_target"] for e in plan.report.settings["experiments"]}
    assert told == {"plain": False, "colors": True}


def test_rounds_that_begin_with_target_statistics_label_and_train_from_them(tmp_path):
    rows = [{"name": "mixed", "rounds": {"target_statistics": 0.5}}, {"name": "lse"}]
    plan = make_plan(tmp_path, {"experiments": rows})
    begun, first, second, *_ = (r.stages for r in plan.rounds if r.experiment == "mixed")
    other = next(r for r in plan.rounds if (r.experiment, r.number) == ("lse", 1)).stages
    mixed = first["reestimate_batchnorm"]
    assert mixed.settings.items() >= {"share": 0.5, "layers": "all"}.items()
    assert mixed.inputs["model"].stage is begun["train_source"]
    for stage in ("score_target", "infer_patches", "retrain"):
        assert first[stage].inputs["model"].stage is mixed
        assert other[stage].inputs["model"].stage is begun["train_source"]
    # all of the target's is what the control does: one stage
    rows = [
        {"name": "control", "rounds": {"method": "batch_norm"}},
        {"name": "all", "rounds": {"target_statistics": 1.0}},
    ]
    alike = make_plan(tmp_path, {"experiments": rows})
    assert len([key for name, key in alike.stages if name == "reestimate_batchnorm"]) == 1
    # round 0 is the network as the source left it, and later rounds go on from the one before
    assert begun["evaluate"].inputs["model"].stage is begun["train_source"]
    assert "reestimate_batchnorm" not in second
    assert second["retrain"].inputs["model"].stage is first["retrain"]


def test_the_layers_whose_statistics_are_the_target_s_make_a_network_of_their_own(tmp_path):
    shares = {"target_statistics": 0.5}
    rows = [
        {"name": "all", "rounds": shares},
        {"name": "shallow", "rounds": {**shares, "statistics_layers": "shallow"}},
        {"name": "none", "rounds": {"statistics_layers": "shallow"}},
        {"name": "lse"},
    ]
    plan = make_plan(tmp_path, {"experiments": rows})
    every, shallow, none, lse = (r.stages for r in plan.rounds if r.number == 1)
    wanted = {"share": 0.5, "layers": "shallow"}
    assert shallow["reestimate_batchnorm"].settings.items() >= wanted.items()
    assert every["reestimate_batchnorm"] is not shallow["reestimate_batchnorm"]
    assert shallow["score_target"].inputs["model"].stage is shallow["reestimate_batchnorm"]
    # it has no say where there are no statistics of the target
    assert "reestimate_batchnorm" not in none and none["retrain"] is lse["retrain"]
    # nor in the control, which is all of the target's
    control = {"rounds": {"method": "batch_norm"}}
    other = config.merge(control, {"rounds": {**shares, "statistics_layers": "shallow"}})
    made = [make_plan(tmp_path, c).rounds[-1].stages for c in (control, other)]
    assert made[0]["reestimate_batchnorm"].key == made[1]["reestimate_batchnorm"].key
    wanted = {"share": 1.0, "layers": "all"}
    assert made[0]["reestimate_batchnorm"].settings.items() >= wanted.items()


CEILING = {"name": "ceiling", "role": "ceiling", "description": "as well as it gets"}


class TestCeiling:
    """Trained on the target set with its labels."""

    def test_it_is_trained_on_the_labels_of_the_target_and_evaluated_and_no_more(self, tmp_path):
        plan = make_plan(tmp_path, {"experiments": [{"name": "lse"}, CEILING]})
        lse = plan.rounds[0].stages["train_source"]
        (only,) = [r for r in plan.rounds if r.experiment == "ceiling"]
        assert only.number == 0 and set(only.stages) == {"train_source", "evaluate"}
        trained = only.stages["train_source"]
        assert only.stages["evaluate"].inputs["model"].stage is trained
        # as the source-only weights were: the same steps, the same seed
        assert trained.settings == lse.settings
        data = plan.project.settings.data
        images, labels = (trained.inputs[f"source_{k}"] for k in ("images", "labels"))
        audit = next(s for s in plan.stages.values() if s.name == "audit_pseudo_labels")
        assert images.stage is audit.inputs["target_images"].stage
        assert labels.stage is audit.inputs["target_labels"].stage
        drawn = images.stage.inputs["drawn"].stage
        for key in ("seed", "images"):
            assert drawn.settings[key] == getattr(data.target, key) != getattr(data.source, key)
        assert trained.locations["source"] == drawn.folder != lse.locations["source"]

    @pytest.mark.parametrize("audit", [True, False])
    def test_beside_it_all_other_rows_stay_as_they_are(self, tmp_path, audit):
        data = {"target": {"audit": audit}}
        rows = [{"name": "lse"}, {"name": "zoom", "patches": {"scale": 1}}]
        plain = make_plan(tmp_path, {"data": data, "experiments": rows})
        plan = make_plan(tmp_path, {"data": data, "experiments": [*rows, CEILING]})
        gone = {("check_data", plain.check.key), ("report", plain.report.key)}
        assert all_keys(plain) - all_keys(plan) == gone
        assert count(plan) == {
            **count(plain),
            "scan_labels": 2 + 1,  # those of the target
            "train_source": 1 + 1,
            "evaluate": 1 + 2 * 3 + 1,
        }
        of_target = [s for s in plan.stages.values() if s.name == "train_source"][-1]
        # they are trained on: the check of the data looks at them too
        scanned = {s.stage.key for s in plan.check.sources if s.stage.name == "scan_labels"}
        assert of_target.inputs["source_labels"].stage.key in scanned and len(scanned) == 3

    def test_labels_of_the_target_are_read_by_its_training_the_audit_and_the_check_alone(
        self, tmp_path
    ):
        plan = make_plan(tmp_path, {"experiments": [{"name": "lse"}, CEILING]})
        trained = plan.rounds[-1].stages["train_source"]
        labels = trained.inputs["source_labels"].stage
        readers = [s for s in plan.stages.values() if labels in [x.stage for x in s.sources]]
        assert {s.name for s in readers} == {"train_source", "audit_pseudo_labels", "check_data"}
        assert [s for s in readers if s.name == "train_source"] == [trained]

    def test_the_report_is_told_that_it_has_no_rounds_and_uses_the_target(self, tmp_path):
        plan = make_plan(tmp_path, {"experiments": [{"name": "lse"}, CEILING]})
        (told,) = [e for e in plan.report.settings["experiments"] if e["name"] == "ceiling"]
        assert told == {
            **CEILING,
            "differences": {"data.source": '"the target set, with its labels"'},
            "rounds": 0,
            "uses_target": True,
        }
        assert plan.report.settings["untaught"] == []
        assert ["ceiling", 0, 0] in [list(e) for e in plan.report.settings["evaluations"]]

    @pytest.mark.parametrize(
        "changes",
        [
            {"rounds": {"method": "batch_norm"}},
            {"rounds": {"target_statistics": 0.5, "on_collapse": "revert"}},
            {"data": {"source_size": [48, 96]}},
            {"source_training": {"weights": {"file": "w.pth"}}},
        ],
        ids=str,
    )
    def test_what_the_rounds_begin_with_and_are_is_nothing_to_it(self, tmp_path, changes):
        """Neither of the project nor of its own row."""
        plain = make_plan(tmp_path, {"experiments": [CEILING]})
        for rows in ({**changes, "experiments": [CEILING]}, {"experiments": [CEILING | changes]}):
            plan = make_plan(tmp_path, rows)
            assert [r.number for r in plan.rounds] == [0]
            assert plan.rounds[0].stages.keys() == {"train_source", "evaluate"}
            assert keys(plan, "train_source") == keys(plain, "train_source")

    def test_its_own_settings_of_training_and_its_own_target_hold(self, tmp_path):
        own = {
            **CEILING, "source_training": {"steps": 77},
            "data": {"target": {"images": 5, "style": {"fog": 0.3}}},
        }  # fmt: skip
        plan = make_plan(tmp_path, {"experiments": [{"name": "lse"}, own]})
        trained = plan.rounds[-1].stages["train_source"]
        drawn = trained.inputs["source_images"].stage.inputs["drawn"].stage
        assert trained.settings["steps"] == 77
        assert (drawn.settings["images"], drawn.settings["style"]) == (5, {"fog": 0.3})
        assert drawn.settings["split"] == "train"


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
        "score_target", "select_images", "infer_patches", "compute_thresholds", "check_round",
        "audit_pseudo_labels", "retrain", "evaluate",
    }  # fmt: skip
    last = {p.name for p in lse.with_name("round3").iterdir()}
    assert last == names | {"score_result", "check_result"}
    shown = (lse.with_name("round3") / "check_result").readlink().as_posix()
    assert shown.startswith("../../../../../check_round/")
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


def test_the_report_reads_what_the_check_of_the_data_says_when_there_is_one(tmp_path):
    plan = make_plan(tmp_path)
    assert plan.report.inputs["check"].path == f"{plan.check.folder}/verdict.txt"
    without = plan.add_report(plan.rounds, [], checked=False)
    assert "check" not in without.inputs and without.key != plan.report.key


def test_the_report_is_told_of_stages_that_it_does_not_wait_for(tmp_path):
    plan = make_plan(tmp_path)
    told = dict(
        zip(map(tuple, plan.report.settings["evaluations"]), plan.report.settings["stages"],
            strict=True)
    )  # fmt: skip
    for r in plan.rounds:
        folders = {name: stage.folder for name, stage in r.stages.items()}
        assert told[r.experiment, r.seed, r.number] == folders
    # weights and patches that were cleared away are not made again for a page
    read = {source.stage.name for source in plan.report.sources}
    assert read == {"check_data", "evaluate", "check_round", "audit_pseudo_labels"}
    assert plan.report.settings["formats"] == dict.fromkeys(
        ("source", "target", "validation"), "streets"
    )


def test_a_report_of_what_is_finished_reads_no_check_that_is_not(tmp_path, monkeypatch):
    plan = make_plan(tmp_path)
    for finished in ({"evaluate"}, {"evaluate", "check_data"}):
        monkeypatch.setattr(
            report_finished, "is_finished", lambda s, names=finished: s.name in names
        )
        stage, missing = report_finished.partial_report(plan)
        assert ("check" in stage.inputs) == ("check_data" in finished)
        assert missing == []
        # nor does it wait for the checks of rounds
        assert stage.inputs["health"] == [] and len(stage.settings["unchecked"]) == 3 * (3 + 1)


def test_classes_that_validation_labels_and_the_source_does_not_are_never_taught(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("scalewise.config.loading.check_classes", lambda data, where: None)
    ids = {0: "train", 1: "road", 2: "terrain", 255: "ignore"}
    some = {"format": "folder", "root": "x", "images": "*.png", "labels": "{id}.png"}
    plan = make_plan(
        tmp_path,
        {
            "data": {
                "source": {**some, "id_to_class": {0: "road", 1: "sky"}},
                "validation": {**some, "id_to_class": ids},
            }
        },
    )
    assert plan.report.settings["untaught"] == ["terrain", "train"]
    assert make_plan(tmp_path).report.settings["untaught"] == []


def test_the_title_says_experiment_seed_round_and_step(tmp_path):
    plan = make_plan(tmp_path)
    r = next(r for r in plan.rounds if r.experiment == "self_training" and r.number == 2)
    assert r.stages["retrain"].title == "self_training, seed 0, round 2: retraining"
    assert plan.rounds[0].stages["train_source"].title.startswith("lse (+4), seed 0: training")


def test_every_stage_has_a_script_and_a_rule_of_its_name():
    root = DEFAULT_CONFIG.parent
    rules = "".join(path.read_text() for path in (root / "rules").glob("*.smk"))
    for name in OUTPUTS:
        assert (root / "workflow_scripts" / f"{name}.py").is_file()
        assert f"rule {name}:" in rules


def test_given_source_weights_take_the_place_of_source_training(tmp_path):
    plain = make_plan(tmp_path)
    given = {"source_training": {"weights": {"file": "w.pth"}}}
    plan = make_plan(tmp_path, given)
    assert count(plan)["import_weights"] == 1 and "train_source" not in count(plan)
    (stage,) = [s for (name, _), s in plan.stages.items() if name == "import_weights"]
    # wrong weights are told before the data are looked at, and no device is held for it
    assert stage.sources == [] and stage.after == []
    assert plan.rounds[0].stages["import_weights"] is stage
    assert keys(plan, "evaluate").isdisjoint(keys(plain, "evaluate"))
    # what was set for a training that does not happen changes nothing
    other = make_plan(tmp_path, {"source_training": {**given["source_training"], "steps": 7}})
    assert all_keys(other) == all_keys(plan)


def test_weights_are_known_by_their_content_and_not_by_their_place(tmp_path):
    def plan(file, content, **rules):
        changes = {"network": {"weights": {"file": file, **rules}}}
        return make_plan(tmp_path, changes, weights=content)

    one = keys(plan("a.pth", "w0"), "train_source")
    assert keys(plan("elsewhere/b.pth", "w0"), "train_source") == one
    assert keys(plan("a.pth", "w1"), "train_source") != one
    assert keys(plan("a.pth", "w0", minimum_match=0.5), "train_source") != one
    assert keys(make_plan(tmp_path), "train_source") != one


def test_the_optimiser_goes_from_round_to_round_only_where_it_is_carried(tmp_path):
    plan = make_plan(tmp_path, {"retraining": {"carry_optimizer": True}})
    rounds = [r.stages["retrain"] for r in plan.rounds if r.experiment == "lse" and r.number]
    assert "optimizer" not in rounds[0].inputs
    assert rounds[1].inputs["optimizer"].stage is rounds[0]
    assert rounds[2].inputs["optimizer"].path == f"{rounds[1].folder}/optimizer.safetensors"
    plain = make_plan(tmp_path)
    assert not any("optimizer" in s.inputs for s in plain.stages.values())


def test_the_switches_reach_the_stages_that_they_change_and_no_other(tmp_path):
    def changed(number=1, **changes):
        """Stages of a round of lse whose own settings differ from the default's."""
        rows = [{"name": "lse", "role": "method"}]
        one, other = (make_plan(tmp_path, {**c, "experiments": rows}) for c in ({}, changes))
        (one,), (other,) = (
            [r.stages for r in p.rounds if r.number == number] for p in (one, other)
        )
        return {name for name in one if one[name].settings != other[name].settings}

    assert changed(selection={"resample": True}) == set()  # it begins in round 2
    assert changed(2, selection={"resample": True}) == {"infer_patches"}
    assert changed(selection={"extra_images": 1}) == {"infer_patches", "retrain"}
    assert changed(selection={"missing_classes": "trust"}) == {
        "select_images", "compute_thresholds",
    }  # fmt: skip
    assert changed(selection={"scope": "global"}) == {"select_images", "compute_thresholds"}
    assert changed(threshold={"constant_entropy": "nan"}) == {
        "score_target", "infer_patches", "compute_thresholds", "audit_pseudo_labels", "retrain",
    }  # fmt: skip
    assert changed(threshold={"estimator": "none"}) == {"compute_thresholds"}
    assert changed(patches={"reliability": "bilinear"}) == {"retrain"}
    assert changed(retraining={"focal": {"over": "mean"}}) == {"retrain"}
    assert changed(retraining={"empty_patch": "nan"}) == {"retrain"}
    assert changed(data={"source_size": [48, 96]}) == {"retrain"}  # and source training


def test_where_no_patch_is_read_what_is_said_of_patches_changes_nothing(tmp_path):
    row = {"name": "control", "retraining": {"target_weight": 0}}
    plain = make_plan(tmp_path, {"experiments": [row]})
    changes = {"patches": {"scale": 3, "reliability": "bilinear"}, "threshold": {"pool": 9},
               "retraining": {"focal": {"beta": 9}, "empty_patch": "nan"}}  # fmt: skip
    other = make_plan(tmp_path, {**changes, "experiments": [row]})
    assert keys(plain, "retrain") == keys(other, "retrain")


def test_the_ablations_share_all_that_they_have_in_common(tmp_path):
    changes = yaml.safe_load((DEFAULT_CONFIG.parent / "configs" / "ablations.yaml").read_text())
    plan = make_plan(tmp_path, {**changes, "seeds": [0]})
    found = count(plan)
    rows = [e.name for e in plan.project.experiments]
    assert len(rows) == len(set(rows)) > 15
    assert found["train_source"] == found["check_data"] == 1
    # round 1: one scoring for all but `as_released`, whose entropies differ
    first = [r for r in plan.rounds if r.number == 1 and "score_target" in r.stages]
    assert len({r.stages["score_target"].key for r in first}) == 2
    # one selection for all that select alike
    selections = {r.experiment: r.stages["select_images"].key for r in first}
    assert len({selections[n] for n in ("lse", "focal_off", "scale_3", "thresholds_off")}) == 1
    inferred = {r.experiment: r.stages["infer_patches"].key for r in first
                if "infer_patches" in r.stages}  # fmt: skip
    same = ("lse", "focal_off", "thresholds_off", "threshold_pooled")
    assert len({inferred[n] for n in same}) == 1


def test_settings_that_have_no_say_beside_the_others_change_no_key(tmp_path):
    rows = [{"name": "lse"}]
    plain = all_keys(make_plan(tmp_path, {"experiments": rows}))
    for changes in (
        {"threshold": {"pool": 9}},
        {"retraining": {"schedule": {"drop_every": 7, "drop_factor": 0.5}}},
        {"source_training": {"schedule": {"drop_every": 7}}},
        {"data": {"on_problem": "stop", "source_size": [96, 192]}},
        {"rounds": {"statistics_layers": "shallow"}},
    ):
        assert all_keys(make_plan(tmp_path, {**changes, "experiments": rows})) == plain, changes
    for section, beside, idle in (
        ("threshold", {"estimator": "pooled"}, None),
        ("retraining", {"schedule": {"name": "constant"}}, {"schedule": {"power": 2}}),
        ("retraining", {"optimizer": {"name": "sgd"}}, {"optimizer": {"beta2": 0.5}}),
        ("selection", {"scope": "global"}, {"minimum_per_class": 3}),
    ):
        one = {section: beside, "experiments": rows}
        other = config.merge(one, {section: idle or {"pool": 9}})
        same = all_keys(make_plan(tmp_path, one)) == all_keys(make_plan(tmp_path, other))
        # the selection also stands in what the check of the data is told; nothing else differs
        assert same == (idle is not None), (section, idle)


class TestWeightsFiles:
    """Files of weights as the workflow sees them."""

    def plan(self, tmp_path, monkeypatch, file, **rules):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "project.yaml"
        changes = {"data": {"root": str(tmp_path)}, "network": {"weights": {"file": file, **rules}}}
        path.write_text(yaml.safe_dump(changes))
        return load_plan([path])

    def test_only_the_content_counts(self, tmp_path, monkeypatch):
        (tmp_path / "a.pth").write_bytes(b"one")
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "b.pt").write_bytes(b"one")
        (tmp_path / "c.pth").write_bytes(b"two")
        one = all_keys(self.plan(tmp_path, monkeypatch, "a.pth"))
        assert all_keys(self.plan(tmp_path, monkeypatch, "there/b.pt")) == one
        assert all_keys(self.plan(tmp_path, monkeypatch, str(tmp_path / "a.pth"))) == one
        assert all_keys(self.plan(tmp_path, monkeypatch, "c.pth")) != one
        right = hashlib.sha256(b"one").hexdigest()
        for _ in range(2):  # computed, and remembered
            plan = self.plan(tmp_path, monkeypatch, "a.pth", sha256=right.upper())
            assert all_keys(plan) == one
        (stage,) = [s for (name, _), s in plan.stages.items() if name == "train_source"]
        assert stage.contents["weights"] == content_hash(tmp_path / "a.pth")

    def test_a_wrong_sum_is_told_before_anything_runs(self, tmp_path, monkeypatch):
        (tmp_path / "a.pth").write_bytes(b"one")
        right = hashlib.sha256(b"one").hexdigest()
        with pytest.raises(config.ConfigError) as told:
            self.plan(tmp_path, monkeypatch, "a.pth", sha256="0" * 64)
        assert str(told.value).startswith(f"network.weights.sha256: {tmp_path}/a.pth has {right}")
        self.plan(tmp_path, monkeypatch, "a.pth", sha256=right)
        (tmp_path / "a.pth").write_bytes(b"two")
        with pytest.raises(config.ConfigError, match="was expected"):
            self.plan(tmp_path, monkeypatch, "a.pth", sha256=right)

    def test_a_file_that_is_not_there_and_a_folder_are_named_with_their_key(
        self, tmp_path, monkeypatch
    ):
        with pytest.raises(config.ConfigError, match=r"network\.weights\.file: .*/x\.pth: no such"):
            self.plan(tmp_path, monkeypatch, "x.pth")
        (tmp_path / "folder").mkdir()
        with pytest.raises(config.ConfigError, match="folder: a folder; name the file"):
            self.plan(tmp_path, monkeypatch, "folder")
