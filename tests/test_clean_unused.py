"""clean_unused: what nothing refers to can go, and nothing else ever does."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

import clean_unused
from made_up_results import finish, finish_all, of
from scalewise import file_lock
from scalewise.plan import OUTPUTS, finished_results, folder_of
from scalewise.stage_lock import StageLock, state_folder
from scalewise.workflow import RUN_LOCK, load_plan
from test_plan import make_plan
from workflow_runs import ROOT, TINY, program

SMALL = {"experiments": [{"name": "lse"}], "rounds": {"portions": [0.3]}}
STRANGE = "0123456789abcdef"


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    """Plans of small projects, in a folder of their own where no config counts."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(clean_unused, "configured", lambda root: ({}, {}))
    return lambda changes=None, **how: make_plan(tmp_path, {**SMALL, **(changes or {})}, **how)


@pytest.fixture
def clean(monkeypatch, capsys):
    """Run the command; what it printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["clean_unused.py", *arguments])
        capsys.readouterr()
        clean_unused.main()
        return capsys.readouterr().out

    return call


def everything():
    return {str(p) for p in Path("results").rglob("*") if p != RUN_LOCK}


def folders(plan):
    return {stage.folder for stage in plan.stages.values()}


def test_what_no_plan_refers_to_is_listed_with_size_and_words_and_stays_without_remove(
    plan_of, clean
):
    plan, other = plan_of(), plan_of({"retraining": {"focal": {"beta": 0.5}}})
    for one in (plan, other):
        finish_all(one)
    plan.record()
    stage = of(other, "retrain")
    Path(stage.folder, "model.safetensors").write_bytes(bytes(3 << 20))
    before = everything()
    printed = clean()
    assert everything() == before
    (line,) = [line for line in printed.splitlines() if stage.folder in line]
    assert line.split(maxsplit=3) == [
        "3.0", "MiB", stage.folder, "lse, seed 0, round 1: retraining",
    ]  # fmt: skip
    only = folders(other) - folders(plan)
    assert {word for word in printed.split() if word in folders(other)} == only
    assert f"in {len(only)} results that nothing refers to" in printed
    assert "add --remove" in printed
    (report,) = [line for line in printed.splitlines() if "reports/" in line]
    assert report.endswith("writing the report of streets")


def test_remove_takes_these_and_nothing_else(plan_of, clean):
    plan, other = plan_of(), plan_of({"retraining": {"focal": {"beta": 0.5}}})
    for one in (plan, other):
        finish_all(one)
    plan.record()
    for name in (
        "results/logs/retrain/0123456789abcdef.log",
        "results/benchmarks/retrain/0123456789abcdef.tsv",
        "results/index/0123456789abcdef/x.json",
        "results/retrain/mine/model.safetensors",
        "results/retrain/0123456789ABCDEF/model.safetensors",
        "results/retrain/0123456789abcdef0/model.safetensors",
        "results/own_stage/0123456789abcdef/settings.json",
        "results/report/streets/index.html",
        "results/report/0123456789abcdef/index.html",
        "results/state/mine/state.safetensors",
        "results/state/own_stage-0123456789abcdef/state.safetensors",
        "results/retrain/0123456789abcde1",  # a file of such a name is no result's folder
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")
    before = everything()
    printed = clean("--remove")
    gone = folders(other) - folders(plan)
    wanted = {p for p in before if not any(p == g or p.startswith(f"{g}/") for g in gone)}
    assert everything() == wanted
    assert f"removed {len(gone)} of {len(gone)}" in printed
    assert "in 0 results" in clean()


def test_a_folder_without_settings_and_a_saved_state_count_as_results(plan_of, clean):
    plan = plan_of()
    plan.record()
    finish_all(plan)
    other = of(plan_of({"retraining": {"epochs": 9}}), "retrain")
    unfinished = Path(other.folder, "training.csv")
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text("x")
    states = [Path(f"results/state/retrain-{key}/state") for key in (other.key, STRANGE)]
    mine = of(plan, "retrain")
    for path in (*states, Path(f"results/state/retrain-{mine.key}/state")):
        path.parent.mkdir(parents=True)
        path.write_text("12345")
    printed = clean()
    assert "in 2 results" in printed
    both = f"{other.folder}, results/state/retrain-{other.key}"
    assert f"       6 B   {both}   not known (not finished)" in printed
    clean("--remove")
    assert not unfinished.parent.exists() and not states[0].exists() and not states[1].exists()
    assert Path(f"results/state/retrain-{mine.key}/state").exists()


def test_it_never_follows_a_symbolic_link(plan_of, clean, tmp_path):
    plan_of().record()
    outside = tmp_path / "outside"
    (outside / STRANGE).mkdir(parents=True)
    (outside / STRANGE / "model.safetensors").write_text("precious")
    Path("results/retrain").mkdir(parents=True)
    Path("results/retrain", STRANGE).symlink_to(outside / STRANGE)
    Path("results/evaluate").symlink_to(outside)
    Path("results/state").symlink_to(outside)
    inside = Path("results/train_source", STRANGE)
    inside.mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    (inside / "file").symlink_to(outside / STRANGE / "model.safetensors")
    assert "in 1 result " in clean("--remove")
    assert not inside.exists()
    assert (outside / STRANGE / "model.safetensors").read_text() == "precious"
    assert Path("results/retrain", STRANGE).is_symlink()


@pytest.mark.parametrize(
    ("pid", "host", "stays"),
    [
        (os.getpid(), socket.gethostname(), True),
        (2**22 + 1, socket.gethostname(), False),  # no process has this id
        (1, "another-machine", True),
    ],
    ids=["this process", "no process", "another machine"],
)
def test_what_a_job_works_on_now_stays(plan_of, clean, pid, host, stays):
    plan_of().record()
    folder = Path("results/retrain", STRANGE)
    folder.mkdir(parents=True)
    progress = Path(f"results/progress/retrain-{STRANGE}.json")
    progress.parent.mkdir()
    content = {"state": "running", "title": "t", "pid": pid, "host": host, "detail": ""}
    progress.write_text(json.dumps(content))
    printed = clean("--remove")
    assert folder.exists() == stays
    assert ("RUNNING NOW" in printed) == stays
    assert f"removed {int(not stays)} of 1" in printed


def test_what_a_living_process_has_locked_stays_though_no_progress_tells(plan_of, clean):
    plan_of().record()
    with StageLock(state_folder("retrain", STRANGE)):
        printed = clean("--remove")
        assert "RUNNING NOW" in printed and "removed 0 of 1" in printed
        assert Path("results/state", f"retrain-{STRANGE}", "lock").exists()


def test_nothing_is_removed_while_a_run_is_at_work(plan_of, clean):
    """What its jobs are about to read is in nobody's hands yet."""
    folder = Path("results/retrain", STRANGE)
    folder.mkdir(parents=True)
    with open(RUN_LOCK, "a+") as run:
        assert file_lock.take(run)
        run.write("process 77 on here")
        run.flush()
        assert STRANGE in clean()
        with pytest.raises(SystemExit, match=r"another run \(process 77 on here\) works in this"):
            clean("--remove")
        assert folder.exists()
    clean("--remove")
    assert not folder.exists()


def test_a_plan_is_forgotten_by_the_name_of_its_project_or_of_its_file(plan_of, clean):
    kept = plan_of()
    first, second = (plan_of({"project": "old", "retraining": {"epochs": n}}) for n in (7, 9))
    for plan in (kept, first, second):
        finish_all(plan)
        plan.record()
    assert "in 0 results" in clean()
    (record, _) = sorted(Path("results/plans").glob("old-*.json"))
    for name in (record.name, record.stem, str(record)):
        # the other plan of the project has the rest
        is_first = f"report/{first.report.key}" in record.read_text()
        mine, other = (first, second) if is_first else (second, first)
        only = folders(mine) - folders(kept) - folders(other)
        assert 2 < len(only) < len(folders(mine))
        assert f"in {len(only)} results that nothing refers to" in clean("--plan", name)
    printed = clean("--plan", "old")
    only = (folders(first) | folders(second)) - folders(kept)
    assert f"in {len(only)} results" in printed
    assert len(list(Path("results/plans").glob("old-*.json"))) == 2
    shared = len(folders(kept) & (folders(first) | folders(second)))
    (streets,) = Path("results/plans").glob("streets-*.json")
    assert f"still in use by {streets.stem}: {shared} of {shared + len(only)} stages" in printed
    clean("--plan", "old", "--remove")
    assert list(Path("results/plans").glob("old-*.json")) == []
    assert not any(Path(folder).exists() for folder in only)
    assert all(Path(folder).exists() for folder in folders(kept))


def test_a_name_that_no_plan_has_and_a_record_that_cannot_be_read_end_it(plan_of, clean):
    plan_of().record()
    with pytest.raises(SystemExit, match=r"--plan other: no plan of that name .*streets"):
        clean("--plan", "other", "--remove")
    folder = Path("results/retrain", STRANGE)
    folder.mkdir(parents=True)
    Path("results/plans/broken-1.json").write_text('{"stages": [')
    with pytest.raises(SystemExit, match=r"broken-1\.json: not a readable record"):
        clean("--remove")
    assert folder.exists()


def test_a_result_kept_by_pinned_code_is_in_use(plan_of, clean):
    before = plan_of(code=lambda s: "c0")
    source = before.rounds[0].stages["train_source"]
    finish(source)
    pinned = {"code": {"train_source": "pinned"}}
    changed = {"code": lambda s: "c1" if s == "train_source" else "c0"}
    assert plan_of(**changed).rounds[0].stages["train_source"].key != source.key
    now = plan_of(pinned, **changed, finished=finished_results)
    assert now.rounds[0].stages["train_source"].key == source.key
    now.record()
    assert "in 0 results" in clean("--remove")
    assert Path(source.folder).exists()


def test_the_recorded_plans_are_listed(plan_of, clean):
    plan = plan_of()
    plan.record()
    finish(plan.rounds[0].stages["train_source"])
    printed = clean("--plans")
    assert "project streets, seeds 0\n" in printed
    assert f"1 of {len(plan.stages)} stages have files here" in printed
    assert "1 plan recorded" in printed


def test_every_kind_of_stage_is_looked_at(plan_of, clean):
    for stage in OUTPUTS:
        Path(folder_of(stage), STRANGE).mkdir(parents=True)
    assert f"removed {len(OUTPUTS)} of {len(OUTPUTS)}" in clean("--remove")


def test_the_configs_as_they_are_now_count_and_one_that_cannot_be_read_is_named(
    tmp_path, monkeypatch
):
    """The program itself, on this repository's own config.yaml and configs/."""
    monkeypatch.chdir(tmp_path)
    default, ablations = load_plan(), load_plan([ROOT / "configs" / "ablations.yaml"])
    tiny = load_plan([TINY])
    stages = [plan.rounds[0].stages["train_source"] for plan in (default, ablations, tiny)]
    for stage in stages:
        finish(stage)
    environment = {k: v for k, v in os.environ.items() if k != "SCALEWISE_DATA"}
    done = program("clean_unused", tmp_path, "--remove", env=environment)
    assert done.returncode == 0, done.stderr
    assert "configs/camvid_day_to_dusk.yaml cannot be read now" in done.stdout
    assert "no such folder)" in done.stdout
    assert [Path(stage.folder).exists() for stage in stages] == [True, True, False]
