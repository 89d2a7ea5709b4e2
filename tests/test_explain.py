"""explain: what would run, why, and how long it takes."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

import explain
from made_up_results import finish, finish_all, finished_tiny, of
from scalewise.comparison import records_of
from scalewise.outlook import Durations, to_run, units_of
from scalewise.plan import finished_results
from scalewise.workflow import load_plan
from test_plan import make_plan
from workflow_runs import ROOT, TINY, edited, planned, program, snakemake

ROWS = [
    {"name": "lse", "role": "method"},
    {"name": "zoomed", "patches": {"scale": 1.5}},
]
SMALL = {"experiments": ROWS, "rounds": {"portions": [0.3, 0.4]}}


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    """Plans of a small project with changes, in a folder of their own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda changes=None, **how: make_plan(tmp_path, {**SMALL, **(changes or {})}, **how)


def told(plan):
    """(stage, how many jobs) -> the reasons given, one entry for each group of jobs."""
    found, group = {}, None
    for line in explain.lines(plan)[1:]:
        head = re.match(r"^(\w+) +x (\d+)", line)
        if head:
            group = (head[1], int(head[2]), len(found))
            found[group] = []
        elif line.startswith("    "):
            found[group].append(" ".join(line.split()))
    return [(name, count, reasons) for (name, count, _), reasons in found.items()]


def test_in_an_empty_folder_all_is_new_and_takes_an_unknown_time(plan_of):
    plan = plan_of()
    answer = "\n".join(explain.lines(plan))
    assert f"0 of {len(plan.stages)} stages are finished" in answer
    assert ("train_source", 1, ["new no finished result of train_source"]) in told(plan)
    assert f"{len(plan.stages)} jobs will run, of unknown time" in answer


def test_where_all_is_finished_nothing_will_run(plan_of):
    plan = plan_of()
    finish_all(plan)
    assert told(plan) == []
    assert explain.lines(plan)[-1] == "nothing will run"


def test_a_changed_setting_is_told_and_what_follows_from_it_is_made_anew(plan_of):
    finish_all(plan_of())
    changed = plan_of({"retraining": {"focal": {"beta": 0.5}}})
    found = told(changed)
    # one line for both experiments
    setting = "setting focal.beta: 0.1 -> 0.5"
    assert ("retrain", 2, [setting]) in found
    made = "model (retrain), selected (select_images), patches (infer_patches)"
    second = [setting, f"input made anew: {made}, thresholds (compute_thresholds)"]
    assert ("retrain", 2, second) in found
    reasons = {name: reasons for name, _, reasons in found}
    assert reasons["score_target"] == ["input made anew: model (retrain)"]
    assert ("evaluate", 4, ["input made anew: model (retrain)"]) in found
    assert {name for name, _, _ in found}.isdisjoint({"train_source", "scan_images", "check_data"})


def test_it_names_the_very_jobs_that_snakemake_would_start(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    plan = finished_tiny(folder, monkeypatch)
    # what nothing else needs any more may be missing: it is not made for its own sake
    Path(of(plan, "score_target").folder, "scores.csv").unlink()
    for changes in ({}, {"seeds": [0, 4], "threshold": {"estimator": "pooled"}}):
        config = edited(tmp_path, changes)
        status, printed = snakemake(folder, "-n", config=config)
        assert status == 0, printed
        if "Job stats:" in printed:
            wanted = planned(printed)
            wanted.pop("all")
        else:
            wanted = {}
        plan_now = load_plan([config])
        stages = to_run(plan_now.stages, plan_now.report)
        assert Counter(s.name for s in stages) == wanted, changes


def test_changed_code_is_told_with_its_files(plan_of):
    files = {"retrain.py": "a1", "scalewise/losses.py": "b1", "scalewise/gone.py": "c"}
    before = plan_of(code=lambda s: "c0", code_files=lambda s: files)
    finish_all(before)
    now = {"retrain.py": "a1", "scalewise/losses.py": "b2", "scalewise/new.py": "d"}
    after = plan_of(
        code=lambda s: "c1" if s == "retrain" else "c0",
        code_files=lambda s: now if s == "retrain" else files,
    )
    named = "code scalewise/losses.py, scalewise/new.py, scalewise/gone.py"
    assert ("retrain", 2, [named]) in told(after)
    # a result of a version that did not keep the files
    for path in Path("results/retrain").glob("*/settings.json"):
        record = json.loads(path.read_text())
        del record["code_files"]
        path.write_text(json.dumps(record))
    (reasons,) = [r for name, n, r in told(after) if name == "retrain" and len(r) == 1]
    assert reasons == ["code changed; the earlier result does not say which files"]


def test_a_new_seed_round_or_experiment_is_called_new_and_not_another_setting(plan_of):
    finish_all(plan_of())
    found = told(plan_of({"seeds": [0, 5]}))
    assert ("train_source", 1, ["new first result of seed 5"]) in found
    assert ("retrain", 4, ["new first result of seed 5"]) in found  # two rounds of two
    found = told(plan_of({"rounds": {"portions": [0.3, 0.4, 0.6]}}))
    portion = "setting portion: 0.4 -> 0.6"
    assert ("select_images", 2, ["new first result of round 3", portion]) in found
    assert ("score_target", 2, ["new first result of round 3"]) in found
    row = {"name": "more", "patches": {"scale": 2, "per_image": 3}}
    found = told(plan_of({"experiments": [*ROWS, row]}))
    wanted = ["new first result of experiment more", "setting per_image: 4 -> 3"]
    assert ("infer_patches", 2, wanted) in found


def test_changed_data_files_are_told(plan_of):
    folder = {"format": "cityscapes", "root": "x", "split": "train"}
    finish_all(plan_of({"data": {"source": folder}}, contents="d0"))
    found = told(plan_of({"data": {"source": folder}}, contents="d1"))
    assert ("scan_images", 1, ["data other files: images"]) in found
    labels = ["data other files: labels", "input made anew: images (scan_images)"]
    assert ("scan_labels", 1, labels) in found
    anew = "input made anew: source_images (scan_images), source_labels (scan_labels)"
    assert ("train_source", 1, [anew]) in found


def test_another_earlier_result_as_input_is_told_as_such(plan_of):
    plan = plan_of()
    finish_all(plan)
    other = plan_of({"source_training": {"steps": 7}})
    finish(other.rounds[0].stages["train_source"])
    found = told(other)
    assert "train_source" not in {name for name, _, _ in found}
    assert ("score_target", 1, ["input another result: model (train_source)"]) in found


def test_a_result_that_lacks_a_file_is_told_with_that_file(plan_of):
    plan = plan_of()
    finish_all(plan)
    Path(plan.report.folder, "summary.csv").unlink()
    assert told(plan) == [("report", 1, ["missing summary.csv"])]


def test_it_compares_with_the_earlier_result_that_differs_least(plan_of):
    finish_all(plan_of())
    finish_all(plan_of({"retraining": {"focal": {"beta": 0.5, "gamma": 1}}}))
    found = told(plan_of({"retraining": {"focal": {"beta": 0.5, "gamma": 2}}}))
    assert ("retrain", 2, ["setting focal.gamma: 1.0 -> 2.0"]) in found


def test_pinned_stages_that_would_run_otherwise_are_named_as_kept(plan_of):
    files = {"train_source.py": "a"}
    finish_all(plan_of(code=lambda s: "c0", code_files=lambda s: files))
    changed = {"code": lambda s: "c1" if s == "train_source" else "c0"}
    pinned = {"code": {"train_source": "pinned"}}
    after = plan_of(
        pinned, **changed, finished=finished_results, code_files=lambda s: {"train_source.py": "b"}
    )
    found = told(after)
    kept = "pinned its earlier result is used, by `code` in the settings"
    assert ("train_source", 1, [kept, "code train_source.py"]) in found
    assert "retrain" not in {name for name, _, _ in found}
    # the same pin over unchanged code keeps nothing back
    same = plan_of(pinned, code=lambda s: "c0", finished=finished_results)
    assert kept not in "\n".join(explain.lines(same))


def test_time_goes_by_the_unit_where_both_numbers_are_known_and_else_by_the_median(plan_of):
    plan = plan_of()
    steps = plan.rounds[0].stages["train_source"].settings["steps"]
    finish_all(plan, seconds=10, units=steps)
    twice = plan_of({"source_training": {"steps": 2 * steps}})
    stage = twice.rounds[0].stages["train_source"]
    records = records_of("train_source")
    assert Durations(records).seconds_for(stage) == 20
    # how many images will be selected is not known before
    retrain = of(twice, "retrain")
    for seconds, result in zip((1, 5, 60, 7), Path("results/retrain").iterdir(), strict=True):
        record = json.loads((result / "settings.json").read_text())
        (result / "settings.json").write_text(json.dumps({**record, "seconds": seconds}))
    assert Durations(records_of("retrain")).seconds_for(retrain) == 6
    assert Durations([]).seconds_for(retrain) is None


def test_a_training_on_a_known_selection_is_timed_by_its_steps(plan_of):
    plan = plan_of()
    finish_all(plan, seconds=30, units=10)
    more = plan_of({"retraining": {"epochs": 2}})
    stage = of(more, "retrain")
    rows = "".join(f"{i},image{i},road,0.5\n" for i in range(8))
    Path(stage.inputs["selected"].path).write_text(f"rank,image,classes,score\n{rows}")
    s = stage.settings
    steps = -(-8 * 2 * s["per_image"] // s["target_batch"])
    assert units_of(stage) == steps
    assert Durations(records_of("retrain")).seconds_for(stage) == 3 * steps


def test_results_of_another_network_or_size_do_not_tell_the_time_where_others_do(plan_of):
    stage = plan_of().rounds[0].stages["train_source"]
    wide = plan_of({"network": {"width": 64}}).rounds[0].stages["train_source"]
    steps = stage.settings["steps"]
    finish(stage, seconds=5, units=steps)
    finish(wide, seconds=500, units=steps)
    records = records_of("train_source")
    assert Durations(records).seconds_for(stage) == 5
    assert Durations(records).seconds_for(wide) == 500


def test_the_answer_ends_with_the_number_of_jobs_and_the_time_of_all(plan_of):
    finish_all(plan_of(), seconds=3600)
    changed = plan_of({"report": {"gallery": 1}})
    assert explain.lines(changed)[-1] == (
        "1 job will run, about 1:00:00 one after the other in one device slot"
    )


def test_the_command_takes_the_settings_as_snakemake_does_and_runs_nothing(tmp_path):
    options = ["--configfile", str(TINY), "--config", "seeds=[0, 1]"]
    done = program("explain", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^tiny: 0 of \d+ stages are finished", done.stdout)
    assert re.search(r"^retrain +x 8 +unknown   lse, source_zoom; seeds 0-1; .*", done.stdout, re.M)
    assert not (tmp_path / "results").exists()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({"retraining": {"epoch": 3}}))
    for given, said in (
        (["--configfile", str(wrong)], "did you mean 'epochs'"),
        (["--config", "seeds"], "expected key=value"),
    ):
        done = program("explain", tmp_path, *given)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_traceback(tmp_path):
    script = ROOT / "workflow_scripts" / "explain.py"
    command = [sys.executable, str(script), "--configfile", str(TINY)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1) as done:
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == -signal.SIGPIPE
