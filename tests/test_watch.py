"""watch: what it shows of a plan, on a terminal and elsewhere; it reads only."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import watch
from made_up_results import finish, finish_all, of
from scalewise import file_lock
from scalewise.plan import SETTINGS_FILE
from scalewise.workflow import RUN_LOCK, begin, load_plan
from test_plan import make_plan
from workflow_runs import ROOT, program

SMALL = {
    "experiments": [{"name": "lse", "role": "method"}, {"name": "zoom", "patches": {"scale": 1.5}}],
    "rounds": {"portions": [0.3, 0.4]},
    "data": {"target": {"audit": False}},
}
NOBODY = 2**22 + 1  # no process has this number: it is above the largest that Linux gives
NOW = 1_000_000.0


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    """Plans of a small project with changes, in a folder of their own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda changes=None: make_plan(tmp_path, {**SMALL, **(changes or {})})


def says(stage, state="running", pid=None, **said):
    """The progress file of a stage."""
    content = {
        "title": stage.title, "state": state, "detail": "", "pid": pid or os.getpid(), "run": 1,
        "host": socket.gethostname(), "unit": "step", "step": 0, "steps": 0, "rate": 0.0,
        "seconds_left": None, "said": {}, "time": NOW, **said,
    }  # fmt: skip
    path = Path("results/progress", f"{stage.name}-{stage.key}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def evaluated(stage, *percents):
    """Finish an evaluation with these IoUs."""
    rows = "".join(f"class{k},{p},1,2,3\n" for k, p in enumerate(percents))
    Path(finish(stage, seconds=60), "iou.csv").write_text(
        f"class,iou,intersection,union,pixels\n{rows}"
    )


def shown(plan, width=200, height=100):
    return watch.lines(watch.of_plan(plan).look(NOW), width, height)


def begun(plan):
    """Finish all of `lse` but its second round, and what both experiments need before."""
    for stage in plan.stages.values():
        users = {(name, number) for name, _, number in stage.users}
        if (not users or users & {("lse", n) for n in (None, 0, 1)}) and stage.name != "report":
            finish(stage, seconds=60)
    evaluated(of(plan, "evaluate", number=0), 30, 40, "")
    evaluated(of(plan, "evaluate", number=1), 41, 42.5)


def test_in_an_empty_folder_all_waits_and_the_time_is_unknown(plan_of):
    plan = plan_of()
    count = len(plan.stages)
    assert shown(plan) == [
        f"streets: 0 of {count} stages done, 0 running, {count} waiting",
        "the time left is unknown: no earlier result tells",
        "no run is at work",
        "",
        "experiment  seed  round 0  1  2  mIoU",
        "-------------------------------------",
        "lse         0     -        -  -",
        "zoom        0     -        -  -",
        "mIoU in percent over 19 classes, after the number of its round",
    ]


def test_it_shows_rounds_jobs_what_failed_and_the_newest_miou(plan_of):
    plan = plan_of()
    begun(plan)
    finish(of(plan, "infer_patches", "zoom"))
    says(
        of(plan, "retrain", "zoom"), step=34, steps=60, rate=3.25, seconds_left=8.0,
        said={"loss": 0.87321, "source": 0.5}, time=NOW - 3,
    )  # fmt: skip
    says(of(plan, "score_target", number=2), "failed", detail="the disk\nis full")
    lines = shown(plan)
    done = sum(map(watch.is_finished, plan.stages.values()))
    left = len(plan.stages) - done
    of_all = f"streets: {done} of {len(plan.stages)} stages done"
    assert lines[0] == f"{of_all}, 1 running, {left - 2} waiting, 1 failed"
    assert lines[4:] == [
        "experiment  seed  round 0  1            2           mIoU",
        "-----------------------------------------------------------",
        "lse         0     done     done         0/9 failed  1: 41.8",
        "zoom        0     done     3/7 retrain  -           0: 35.0",
        "mIoU in percent over 19 classes, after the number of its round",
        "",
        "zoom, seed 0, round 1: retraining",
        f"    step 34 of 60, 3.25/s, 0:00:08 left, loss 0.8732, process {os.getpid()}: 3 s ago",
        "failed: lse, seed 0, round 2: scoring the target images: the disk is full",
    ]


def test_a_job_that_says_nothing_is_called_silent_and_one_without_a_process_killed(plan_of):
    plan = plan_of()
    begun(plan)
    stage = of(plan, "retrain", "zoom")
    says(stage, time=NOW - 600)
    assert shown(plan)[-1] == f"    SILENT for 0:10:00, process {os.getpid()}"
    # one whose steps take minutes has not been silent for long
    says(stage, time=NOW - 600, step=3, steps=9, rate=0.01)
    assert shown(plan)[-1].endswith(": 600 s ago")
    says(stage, pid=NOBODY)
    lines = shown(plan)
    assert lines[0].endswith(", 0 running, 23 waiting, 1 killed")
    assert lines[-1].startswith(f"killed: zoom, seed 0, round 1: retraining: process {NOBODY} was")


def test_the_time_is_that_of_explain_and_of_what_the_running_jobs_say(plan_of):
    plan = plan_of()
    begun(plan)
    view = watch.of_plan(plan).look(NOW)
    left = [s for s in plan.stages.values() if not watch.is_finished(s)]
    assert view.unknown == 1  # the report
    assert view.seconds == 60 * (len(left) - 1)
    assert (
        f"about 0:{len(left) - 1:02d}:00 left, one after the other, and 1 job of unknown"
        in (watch.head(view)[1])
    )
    says(of(plan, "retrain", "zoom"), steps=9, seconds_left=7.0)
    says(of(plan, "score_target", number=2), steps=9, seconds_left=9.0)
    view = watch.of_plan(plan).look(NOW)
    assert (view.slots, view.seconds) == (2, (60 * (len(left) - 3) + 16) / 2)
    assert ", 2 at once, and" in watch.head(view)[1]


def test_the_mean_is_over_the_classes_of_the_headline(plan_of):
    plan = plan_of({"report": {"classes": "13 classes"}})
    subset = plan.report.settings["subsets"]["13 classes"]
    stage = of(plan, "evaluate", number=0)
    text = f"class,iou\n{subset[0]},20.0\nnone of them,90.0\n{subset[1]},\n"
    Path(finish(stage), "iou.csv").write_text(text)
    lines = shown(plan)
    assert lines[6].endswith("0: 20.0")
    assert lines[8] == "mIoU in percent over 13 classes, after the number of its round"


def test_what_an_earlier_run_left_undone_waits_once_a_run_is_at_work(plan_of):
    plan = plan_of()
    begun(plan)
    says(of(plan, "score_target", number=2), "failed", run=77)
    RUN_LOCK.parent.mkdir(exist_ok=True)
    with open(RUN_LOCK, "a+") as lock:
        assert file_lock.take(lock)
        for run, told in (("78", ", 0 running, 24 waiting"), ("77", "23 waiting, 1 failed")):
            lock.truncate(0)
            lock.write(f"process {run} on here")
            lock.flush()
            lines = shown(plan)
            assert lines[0].endswith(told)
            assert lines[2] == f"a run is at work (process {run} on here)"


def test_the_record_of_the_last_run_shows_what_its_settings_do(plan_of):
    plan, other = plan_of(), plan_of({"seeds": [3, 4]})
    begun(plan)
    says(of(plan, "retrain", "zoom"), step=1, steps=2, rate=1.0, seconds_left=1.0)
    for one in (other, plan):
        one.record()
        os.utime(one.record_path)
        time.sleep(0.01)
    last = watch.LastRun(lambda: pytest.fail("there is a record"))
    view = last.look(NOW)
    assert view == watch.of_plan(plan).look(NOW)
    # when another run begins, it is the one that is shown
    other.record()
    os.utime(other.record_path)
    assert list(last.look(NOW).cells) == [("lse", 3), ("lse", 4), ("zoom", 3), ("zoom", 4)]


def test_a_run_touches_the_record_of_its_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = load_plan()
    begin(plan)
    os.utime(plan.record_path, (1, 1))
    begin(plan, only_look=True)
    assert watch.last_run() == (plan.record_path, 10**9)
    begin(plan)
    assert watch.last_run()[1] > 10**9


def test_once_read_only_what_is_left_is_looked_at(plan_of, monkeypatch):
    plan = plan_of()
    begun(plan)
    watched = watch.of_plan(plan)
    looked = []
    monkeypatch.setattr(watch, "is_finished", lambda s: bool(looked.append(s.name)))
    monkeypatch.setattr(watch, "to_run", None)
    monkeypatch.setattr(watch, "records_of", None)
    before = watched.look(NOW)
    assert len(looked) == before.left < len(plan.stages)
    monkeypatch.undo()


def test_many_experiments_share_rows_by_seed_and_those_at_work_come_first(plan_of):
    rows = [{"name": f"row{k:02d}", "retraining": {"focal": {"beta": k + 1}}} for k in range(30)]
    plan = plan_of({"experiments": rows, "seeds": [0, 1, 2]})
    for seed, percent in ((0, 10), (1, 20)):
        evaluated(of(plan, "evaluate", "row00", 0, seed), percent)
    says(of(plan, "retrain", "row29", 2, 1))
    lines = shown(plan, 80, 24)
    assert len(lines) == 24
    assert max(map(len, lines)) <= 80
    assert lines[4].split() == ["experiment", "seeds", "round", "0", "1", "2", "mIoU"]
    assert lines[6].split() == ["row00", "3", "2/6", "-", "-", "0:", "15.0", "(2", "of", "3)"]
    (busy,) = [line for line in lines if line.startswith("row29 ")]
    assert "0/27 retrain" in busy
    (more,) = [line for line in lines if line.startswith("and ")]
    assert re.fullmatch(r"and \d+ more: \d+ waiting", more)
    # where nobody says how much fits, 40 lines of the table
    plain = watch.lines(watch.of_plan(plan).look(NOW))
    assert len([line for line in plain if re.match(r"row\d\d  ", line)]) == 30


@pytest.mark.parametrize("width, height", [(80, 24), (20, 8), (7, 3), (140, 50)])
def test_it_fits_every_terminal(plan_of, width, height):
    plan = plan_of({"seeds": [0, 1, 2, 3], "rounds": {"portions": [0.1 * k for k in range(1, 8)]}})
    for number in range(1, 6):
        says(of(plan, "retrain", number=number), step=3, steps=9, rate=1.0, seconds_left=6.0)
    lines = shown(plan, width, height)
    assert 0 < len(lines) <= height
    assert all(watch.columns_of(line) <= width for line in lines)


def test_a_table_that_is_too_wide_says_less(plan_of):
    plan = plan_of()
    begun(plan)
    says(of(plan, "retrain", "zoom"))
    says(of(plan, "score_target", number=2), "failed")
    view = watch.of_plan(plan).look(NOW)
    assert [line.split() for line in watch.table_lines(view, 42)[2:4]] == [
        ["lse", "0", "ok", "ok", "0/9!", "1:", "41.8"],
        ["zoom", "0", "ok", "2/7*", "-", "0:", "35.0"],
    ]
    assert watch.table_lines(view, 39)[0].split() == ["experiment", "seed", "stages", "mIoU"]


def test_lines_hold_nothing_that_steers_a_terminal_and_wide_letters_count_twice():
    assert watch.fitted("a\x1b[2Jb\n") == "a?[2Jb?"
    assert watch.fitted("图像图像图像", 12) == "图像图像图像"
    assert watch.fitted("图像图像图像", 11) == "图像图像..."
    assert watch.fitted("abcdef", 5) == "ab..."
    assert watch.fitted("abcdef", 2) == ".."


def test_changes_are_told_a_line_each(plan_of):
    plan = plan_of()
    begun(plan)
    says(of(plan, "retrain", "zoom"))
    watched = watch.of_plan(plan)
    first = watched.look(NOW)
    assert watch.changes(None, first) == [
        "no run is at work",
        "running: zoom, seed 0, round 1: retraining",
        f"{watch.head(first)[0]}; {watch.head(first)[1]}",
    ]
    assert watch.changes(first, replace(first, time=NOW + 2)) == []
    says(of(plan, "retrain", "zoom"), "failed", detail="the loss is not finite")
    evaluated(of(plan, "evaluate", "zoom"), 50.0)
    second = watched.look(NOW + 2)
    assert watch.changes(first, second) == [
        "failed: zoom, seed 0, round 1: retraining: the loss is not finite",
        "zoom, seed 0, round 1: mIoU 50.0",
        f"{watch.head(second)[0]}; {watch.head(second)[1]}",
    ]


def test_the_command_prints_once_where_there_is_no_terminal_and_writes_nothing(tmp_path):
    empty = program("watch", tmp_path)
    assert empty.returncode == 0, empty.stderr
    assert empty.stdout.startswith("streets: 0 of ")
    assert not list(tmp_path.iterdir())
    wrong = program("watch", tmp_path, "--config", "retraining={epoch: 3}")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "did you mean 'epochs'" in wrong.stderr and "Traceback" not in wrong.stderr
    plans = tmp_path / "results" / "plans"
    plans.mkdir(parents=True)
    (plans / "tiny-0.json").write_text("{")
    wrong = program("watch", tmp_path)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("\nresults/plans/tiny-0.json: not a readable record of a plan")


def test_it_follows_until_nothing_is_left_to_do(plan_of, tmp_path):
    plan = plan_of()
    finish_all(plan)
    report = Path(plan.report.folder)
    plan.record()
    settings = (report / SETTINGS_FILE).read_text()
    (report / SETTINGS_FILE).unlink()
    writer = threading.Timer(4, lambda: (report / SETTINGS_FILE).write_text(settings))
    writer.start()
    done = program("watch", ".", "--follow")
    writer.join()
    assert done.returncode == 0, done.stderr
    told = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()]
    count = len(plan.stages)
    assert told == [
        "no run is at work",
        f"streets: {count - 1} of {count} stages done, 0 running, 1 waiting; "
        "the time left is unknown: no earlier result tells",
        f"streets: {count} of {count} stages done, 0 running, 0 waiting; nothing is left to do",
    ]


def on_terminal(ends, columns=80, rows=24):
    """Run the command on a terminal of that size until `ends`, given its process id and what it
    wrote, has ended it; return its status and what it wrote."""
    words = [sys.executable, str(ROOT / "workflow_scripts" / "watch.py")]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as it:
        os.close(theirs)
        wrote = b""
        while True:
            try:
                new = os.read(ours, 65536)
            except OSError:  # how Linux says that nobody writes any more
                break
            if not new:
                break
            wrote += new
            ends(it, wrote)
    os.close(ours)
    return it.returncode, wrote.decode()


def test_on_a_terminal_it_draws_in_place_and_ctrl_c_gives_the_cursor_back(plan_of):
    plan = plan_of()
    begun(plan)
    plan.record()

    sent = []

    def ends(process, wrote):
        if wrote.count(b"\x1b[H") == 2 and not sent:
            sent.append(process.send_signal(signal.SIGINT))

    status, wrote = on_terminal(ends)
    assert status == 0, wrote
    drawn, back, after = wrote.partition("\x1b[?25h\x1b[?1049l")
    assert drawn.startswith("\x1b[?1049h\x1b[?25l\x1b[H") and back
    pictures = [re.sub(r"\x1b\[[KJ]", "", p).split("\r\n") for p in drawn.split("\x1b[H")[1:]]
    assert pictures[0] == pictures[1]
    assert after.split("\r\n")[:-1] == pictures[0]
    assert pictures[0][0].startswith("streets: ") and len(pictures[0]) <= 24


def test_on_a_terminal_it_ends_by_itself_when_all_is_done(plan_of):
    plan = plan_of()
    finish_all(plan)
    plan.record()
    status, wrote = on_terminal(lambda process, wrote: None)
    assert status == 0
    assert "\x1b" not in wrote
    assert "nothing is left to do" in wrote
