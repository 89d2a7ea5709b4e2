"""The workflow for real: Snakemake on a tiny configuration, in a folder of its own."""

import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scalewise import file_lock
from scalewise import workflow as planning
from scalewise.artifacts import accepted_csv
from scalewise.publishing import TABLES
from workflow_runs import ROOT, TINY, edited, finished, jobs, planned, program, snakemake


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One whole run of the tiny configuration: (folder, what it printed)."""
    folder = tmp_path_factory.mktemp("run")
    status, printed = snakemake(folder)
    assert status == 0, printed
    return folder, printed


def test_shared_stages_run_once_and_every_evaluation_is_there(run):
    _, printed = run
    assert jobs(printed) == {
        "make_streets": 3,
        "scan_images": 3,
        "scan_labels": 3,
        "check_data": 1,
        "train_source": 1,  # two experiments
        "evaluate": 1 + 2 + 2,
        "score_target": 1 + 1 + 1 + 1,  # round 1 is scored once for both; the result of lse
        "select_images": 1 + 1 + 1,
        "infer_patches": 2,
        "compute_thresholds": 2,
        "check_round": 2 + 1,  # each round of lse, and its result
        "audit_pseudo_labels": 2,
        "retrain": 4,
        "report": 1,
        "all": 1,
    }


def test_every_job_says_in_words_what_it_is(run):
    _, printed = run
    assert "lse (+1), seed 0: training on the source, 30 steps" in printed
    assert "lse, seed 0, round 2: cutting and labelling patches, scale 2" in printed
    assert "source_zoom, seed 0, round 1: training on, source only" in printed


def test_the_report_is_at_its_stable_place_with_its_tables(run):
    folder, printed = run
    place = folder / "results/report/tiny"
    page = (place / "index.html").read_text()
    assert "<html" in page and "source_zoom" in page
    iou = pd.read_csv(place / "per_class_iou.csv")
    assert list(iou.columns) == ["experiment", "seed", "round", "class", "iou", "pixels"]
    assert len(iou) == 2 * 3 * 19
    summary = pd.read_csv(place / "summary.csv")
    assert list(summary.columns) == ["experiment", "seed", "round", "classes", "miou", "gain"]
    for name in ("summary", "per_class_iou"):
        assert "source\\_zoom" in (place / f"{name}.tex").read_text(encoding="utf-8")
    for name in TABLES:  # in this project all have numbers
        assert len(pd.read_csv(place / f"{name}.csv")) > 0
        assert "\\begin{tabular}" in (place / f"{name}.tex").read_text(encoding="utf-8"), name
    kept = pd.read_csv(place / "thresholds.csv").merge(pd.read_csv(place / "selection.csv"))
    seen = kept[kept.seen > 0]  # both are of the same pixels
    assert len(seen) and (100 * seen.taught / seen.seen - seen.kept).abs().max() < 0.01
    assert pd.read_csv(place / "confusion.csv").pixels.sum() == iou.pixels.sum()
    # of the last round of lse, for both pictures; a control without a target has no thresholds
    assert len(re.findall(r'alt="[^"]*: would be kept to teach: ', page)) == 2
    # the audit of the default's drawn target
    assert page.count("kept pixels right, round by round") == 1
    # the tables agree with each other: the mean over the classes that occur
    for row in summary[summary.classes == "all"].itertuples():
        part = iou[
            (iou.experiment == row.experiment)
            & (iou.seed == row.seed)
            & (iou["round"] == row.round)
        ]
        assert part.iou.mean() == pytest.approx(row.miou, abs=1e-3)
    assert "results/report/tiny/index.html" in printed and "over best control" in printed


def test_every_result_has_its_settings_and_no_progress_or_state_is_left(run):
    folder, _ = run
    found = finished(folder)
    assert len(found) == 3 + 3 + 3 + 1 + 1 + 5 + 4 + 3 + 2 + 2 + 3 + 2 + 4 + 1
    assert list((folder / "results/progress").glob("*")) == []
    assert not (folder / "results/state").exists() or not any(
        (folder / "results/state").rglob("*.safetensors")
    )


def test_links_lead_from_experiment_seed_and_round_to_the_results(run):
    folder, _ = run
    model = folder / "results/experiments/tiny/lse/seed0/round2/retrain/model.safetensors"
    assert model.is_file()


def test_a_second_run_finds_nothing_to_do_and_shows_the_summary(run):
    folder, _ = run
    status, printed = snakemake(folder)
    assert status == 0
    assert "Nothing to be done" in printed
    assert jobs(printed) == {}
    assert "over best control" in printed


def test_a_retraining_setting_reruns_neither_source_training_nor_scores_of_round_1_and_its_undoing_runs_nothing(  # noqa: E501
    run, tmp_path
):
    folder, _ = run
    before = finished(folder)
    page = (folder / "results/report/tiny/index.html").read_bytes()
    changed = edited(
        tmp_path,
        {
            "retraining": {"epochs": 1, "focal": {"beta": 0.5}},
            "experiments": [{"name": "lse", "role": "method"}],
        },
    )
    status, printed = snakemake(folder, config=changed)
    assert status == 0, printed
    assert jobs(printed) == {
        "retrain": 2,
        "evaluate": 2,
        "score_target": 2,
        "select_images": 1,
        "infer_patches": 1,
        "compute_thresholds": 1,
        "check_round": 2,
        "audit_pseudo_labels": 1,
        "report": 1,
        "all": 1,
    }
    assert before < finished(folder)
    assert (folder / "results/report/tiny/index.html").read_bytes() != page
    status, printed = snakemake(folder)
    assert status == 0
    assert "Nothing to be done" in printed
    assert jobs(printed) == {}
    assert (folder / "results/report/tiny/index.html").read_bytes() == page


def test_another_data_set_retrains_nothing_that_does_not_read_it(run, tmp_path):
    """The check of all data gets another key; what waited for the old one is not run again."""
    folder, _ = run
    config = edited(tmp_path, {})
    content = yaml.safe_load(config.read_text())
    content["data"]["validation"]["seed"] = 103
    config.write_text(yaml.safe_dump(content))
    status, printed = snakemake(folder, "-n", config=config)
    assert status == 0, printed
    assert planned(printed) == {
        "make_streets": 1,
        "scan_images": 1,
        "scan_labels": 1,
        "check_data": 1,
        "evaluate": 5,
        "report": 1,
        "all": 1,
    }
    row = {"name": "other", "data": {"target": {"seed": 104}}}
    config = edited(
        tmp_path, {"experiments": [*yaml.safe_load(TINY.read_text())["experiments"], row]}
    )
    status, printed = snakemake(folder, "-n", config=config)
    assert status == 0, printed
    found = planned(printed)
    assert (found.get("train_source", 0), found["retrain"], found["score_target"]) == (0, 2, 3)
    assert found["check_round"] == 3


def test_limits_of_the_rounds_rerun_their_checks_and_the_report_alone(run, tmp_path):
    folder, _ = run
    page = folder / "results/report/tiny/index.html"

    def warnings() -> int:
        told = re.search(r"lse: (no|\d+) warnings?</summary>", page.read_text())[1]
        return 0 if told == "no" else int(told)

    before, warned = finished(folder), warnings()
    limits = edited(tmp_path, {"rounds": {"portions": [0.6, 0.8], "health": {"kept": 1.0}}})
    status, printed = snakemake(folder, config=limits)
    assert status == 0, printed
    assert jobs(printed) == {"check_round": 3, "report": 1, "all": 1}
    assert before < finished(folder)
    log = "".join(p.read_text() for p in (folder / "results/logs/check_round").glob("*.log"))
    assert "the lowest share is 100.0% (rounds.health.kept)" in log
    for number in (1, 2):
        told = rf"<li>lse, seed 0, round {number}: \d+\.\d% of the patches&#39; pixels are kept"
        assert re.search(told, page.read_text())
    assert "<dt>check_round warns</dt>" in page.read_text() and warnings() == warned + 2
    status, printed = snakemake(folder)
    assert status == 0 and jobs(printed) == {}


def test_stop_ends_the_run_before_the_round_is_trained_and_warn_goes_on(run, tmp_path):
    folder, _ = run
    before = finished(folder)
    changes = {
        "rounds": {"portions": [0.6], "on_collapse": "stop", "health": {"kept": 0.99}},
        "retraining": {"epochs": 1, "focal": {"beta": 0.7}},  # a round that is not trained yet
        "experiments": [{"name": "lse", "role": "method"}],
    }
    stop = edited(tmp_path, changes, "stop.yaml")
    status, printed = snakemake(folder, config=stop)
    assert status != 0
    assert "Traceback" not in printed
    assert "lse, seed 0, round 1: checking for collapse:\n" in printed
    assert "the lowest share is 99.0% (rounds.health.kept)\n" in printed
    assert "So this round is not trained (rounds.on_collapse: stop)" in printed
    assert jobs(printed) == {}
    assert finished(folder) == before  # nothing was lost, and nothing was trained
    done = program("report_finished", folder, "--configfile", stop)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 evaluations are finished" in done.stdout
    page = (folder / "results/report/tiny/index.html").read_text()
    assert "lse, seed 0, round 1: failed – lse, seed 0, round 1: checking for collapse: " in page
    changes["rounds"]["on_collapse"] = "warn"
    status, printed = snakemake(folder, config=edited(tmp_path, changes, "warn.yaml"))
    assert status == 0, printed
    assert jobs(printed) == {
        "check_round": 2, "retrain": 1, "evaluate": 1, "score_target": 1, "report": 1, "all": 1,
    }  # fmt: skip
    status, printed = snakemake(folder)
    assert status == 0 and jobs(printed) == {}


def test_revert_goes_on_with_the_weights_of_the_last_round_whose_checks_did_not_warn(run, tmp_path):
    folder, _ = run
    changes = {"rounds": {"on_collapse": "revert", "health": {"agreement": 1.0}},
               "experiments": [{"name": "lse", "role": "method"}]}  # fmt: skip
    status, printed = snakemake(folder, config=edited(tmp_path, changes))
    assert status == 0, printed
    assert jobs(printed)["accept_round"] == 2
    rounds = folder / "results/experiments/tiny/lse/seed0"
    accepted = accepted_csv.read(rounds / "round2/accept_round/accepted.csv")
    assert [(row.round, row.weights_of) for row in accepted] == [(1, 0), (2, 0)]
    begun = (rounds / "round0/train_source/model.safetensors").read_bytes()
    assert (rounds / "round2/accept_round/model.safetensors").read_bytes() == begun
    scores = [(rounds / f"round{k}/evaluate/iou.csv").read_bytes() for k in range(3)]
    assert scores[0] == scores[1] == scores[2]
    page = (folder / "results/report/tiny/index.html").read_text()
    assert "round 2 is not accepted, the source-only ones stay the weights" in page
    # without a limit that is passed the result is that of warn, to the bit
    changes["rounds"]["health"] = dict.fromkeys(
        ("kept", "source", "histogram", "agreement", "entropy", "classes")
    )
    status, printed = snakemake(folder, config=edited(tmp_path, changes))
    assert status == 0, printed
    one, two = (rounds / f"round2/{name}/model.safetensors" for name in ("accept_round", "retrain"))
    reverted = one.read_bytes()
    assert reverted == two.read_bytes() != begun
    changes["rounds"]["on_collapse"] = "warn"
    status, printed = snakemake(folder, config=edited(tmp_path, changes))
    assert status == 0, printed
    assert two.read_bytes() == reverted
    status, printed = snakemake(folder)
    assert status == 0


@pytest.mark.parametrize("metadata", [True, False], ids=["with .snakemake", "without"])
def test_results_copied_into_a_fresh_clone_are_as_good_with_the_engines_memory_and_without(
    run, tmp_path, metadata
):
    folder, _ = run
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("Snakefile", "config.yaml", "rules", "profiles", "workflow_scripts"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(clone)], check=True)
    subprocess.run(["cp", "-r", str(folder / "results"), str(clone)], check=True)
    if metadata:
        subprocess.run(["cp", "-r", str(folder / ".snakemake"), str(clone)], check=True)
    for path in clone.rglob("*"):
        if not path.is_symlink():
            os.utime(path)
    status, printed = snakemake(clone, "-n", repository=clone)
    assert status == 0
    assert "Nothing to be done" in printed


@pytest.mark.parametrize(
    ("arguments", "slots", "expected"),
    [
        ((), ("--resources", "gpu=0"), "asks for 1 device slots and the limit is 0"),
        (
            ("--config", "resources={gpus_per_job: 2}"),
            (),
            "asks for 2 device slots and the limit is 1",
        ),
        (
            ("--config", "resources={gpus_per_job: 2}"),
            ("--resources", "mem_mb=8000"),
            "asks for 2 device slots and the limit is 1",
        ),
    ],
)
def test_a_request_above_the_limit_of_device_slots_is_refused(run, arguments, slots, expected):
    folder, _ = run
    status, printed = snakemake(folder, "-n", *arguments, slots=slots)
    assert status != 0
    assert expected in printed
    assert "Traceback" not in printed


def test_a_limit_that_is_high_enough_is_accepted(run):
    folder, _ = run
    status, printed = snakemake(
        folder, "-n", "--config", "resources={gpus_per_job: 2}", slots=("--resources", "gpu=2")
    )
    assert status == 0, printed


def test_without_a_limit_of_slots_one_job_at_a_time_runs_the_network(tmp_path):
    """The default limit of the guard, as the engine itself sees it: jobs' times do not overlap."""
    config = edited(tmp_path, {"seeds": [0, 1], "source_training": {"steps": 4}})
    status, printed = snakemake(
        tmp_path, "--until", "train_source", config=config, slots=("--resources", "mem_mb=64000")
    )
    assert status == 0, printed
    logs = sorted((tmp_path / "results/logs/train_source").glob("*.log"))
    assert len(logs) == 2
    spans = []
    for log in logs:
        lines = [line[:23] for line in log.read_text().splitlines()]
        spans.append((lines[0], lines[-1]))
    (_, first_end), (second_start, _) = sorted(spans)
    assert first_end <= second_start


def test_a_mistake_in_the_settings_is_one_message_and_no_traceback(tmp_path):
    config = edited(tmp_path, {"retraining": {"epoch": 3}})
    status, printed = snakemake(tmp_path, config=config)
    assert status != 0
    assert "changed.yaml: retraining.epoch: unknown key; did you mean 'epochs'?" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "results").exists()


def test_a_missing_data_folder_is_named_with_where_it_was_looked_for(tmp_path):
    folder = {"format": "camvid", "root": "nowhere"}
    config = edited(tmp_path, {"data": {"root": str(tmp_path), "target": folder}})
    status, printed = snakemake(tmp_path, config=config)
    assert status != 0
    assert f"{tmp_path}/nowhere: no such folder" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("words", [("-n",), ("-nq",), ("--dry-run", "--quiet")])
def test_a_dry_run_writes_nothing(tmp_path, words):
    status, printed = snakemake(tmp_path, *words)
    assert status == 0, printed
    assert not (tmp_path / "results").exists()


def test_a_run_that_met_another_at_its_start_still_writes_its_plan_down(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = planning.load_plan([TINY])
    planning.RUN_LOCK.parent.mkdir()
    with open(planning.RUN_LOCK, "a+") as other:
        assert file_lock.take(other)
        planning.begin(plan)
        assert not plan.record_path.exists()
    planning.take_over(plan)  # the other run has ended meanwhile
    assert plan.record_path.exists()
    assert all(Path(stage.description_path).exists() for stage in plan.stages.values())


def test_a_report_of_what_is_finished_says_what_is_missing(run, tmp_path):
    folder, _ = run
    config = edited(tmp_path, {"seeds": [0, 7]})
    done = program("report_finished", folder, "--configfile", config)
    assert done.returncode == 0, done.stderr
    assert "6 of 12 evaluations are finished" in done.stdout
    page = (folder / "results/report/tiny/index.html").read_text()
    assert "still to run" in page
    # the whole report is back as soon as the workflow is called for what is there
    status, printed = snakemake(folder)
    assert status == 0 and "Nothing to be done" in printed
    assert "still to run" not in (folder / "results/report/tiny/index.html").read_text()
