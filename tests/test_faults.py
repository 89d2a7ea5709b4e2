"""Faults of disk, memory and clock: one message each, and nothing that was finished is lost.

docs/faults.md has the table; each of its rows names the tests that prove it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import make_streets
from scalewise.artifacts import model_file, patches_h5, pictures_h5, table
from scalewise.artifacts.atomic import write_text
from scalewise.artifacts.integrity import describe, require_whole
from scalewise.code_digest import CodeBase
from scalewise.errors import UserError, of_the_system
from scalewise.job import Job
from scalewise.resuming import items
from scalewise.stage_state import StageState
from workflow_runs import ROOT, TINY, command, edited, program, snakemake

SCRIPTS = ROOT / "workflow_scripts"
BIG = np.random.default_rng(0).integers(0, 256, 400_000, np.uint8)  # does not compress


@contextmanager
def small_disk(place: Path, options: str = "size=200k"):
    """A file system of its own at `place`; skips where this user may not mount one."""
    place.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount on this machine")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def write_patches(path):
    size = (100, 100)
    with patches_h5.writing(path, None, size, size) as writer:
        for _ in range(13):
            maps = np.random.default_rng(1).integers(0, 255, (1, *size), np.uint8)
            image = np.random.default_rng(2).integers(0, 255, (1, *size, 3), np.uint8)
            writer.append(
                patches_h5.Patches(["a"], np.zeros((1, 2)), image, maps, maps / 255, maps)
            )


WRITERS = {
    "model.safetensors": lambda path: model_file.write(
        path, model_file.ModelFile({"x": torch.from_numpy(BIG)}, {})
    ),
    "patches.h5": write_patches,
    "pictures.h5": lambda path: pictures_h5.write(
        path,
        pictures_h5.Pictures(
            ["a"],
            *(BIG[:n].reshape(1, 100, 1000, -1) for n in (300_000, 100_000, 100_000, 100_000)),
        ),
    ),
    "scores.csv": lambda path: table.write(path, ["a"], ([int(k)] for k in BIG)),
    "index.html": lambda path: write_text(path, "x" * 400_000),
    "state.safetensors": lambda path: StageState(path.parent, "key").save(3, {"x": BIG}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_one(tmp_path, name):
    with small_disk(tmp_path / "disk") as disk:
        path = disk / name
        path.write_text("old")
        with pytest.raises(OSError) as met:
            WRITERS[name](path)
        told = str(of_the_system(met.value))
        assert told.startswith(f"{path}: could not be written (No space left on device): make room")
        assert [p.name for p in disk.iterdir()] == [name]
        assert path.read_text() == "old"


def test_what_libraries_say_of_the_system_is_understood():
    for error in (
        OSError(28, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("Unable to write: errno = 28, error message = 'No space left on device'"),
    ):
        assert "make room" in str(of_the_system(error))
    assert "check how the disk is mounted" in str(of_the_system(OSError(30, "x", "f.csv")))
    assert of_the_system(ValueError("28 things")) is None


def street_job(folder: Path, images: int = 40, key: str = "a" * 16) -> Path:
    """The description of a job that draws streets in `folder`, below which it is to run."""
    content = {
        "stage": "make_streets",
        "key": key,
        "title": "drawing",
        "folder": f"results/make_streets/{key}",
        "settings": {"images": images, "seed": 0, "split": "train", "size": [48, 96], "style": {}},
        "contents": {}, "locations": {}, "inputs": {}, "identity": "i", "code_files": {},
        "config": {},
        "code": _code("make_streets"),
    }  # fmt: skip
    path = folder / "stage.json"
    path.write_text(json.dumps(content))
    return path


def _code(stage: str) -> str:
    return CodeBase(SCRIPTS).digest(stage)


def start(folder: Path, *options: str, **how) -> subprocess.Popen:
    words = [sys.executable, str(SCRIPTS / "make_streets.py"), "stage.json", *options]
    return subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def test_a_job_on_a_full_disk_ends_with_one_message(tmp_path):
    street_job(tmp_path)
    with small_disk(tmp_path / "results"):
        job = start(tmp_path)
        _, said = job.communicate()
        assert job.returncode == 1
        assert "make room and start again" in said and "Traceback" not in said
        assert re.search(r"street_\d+_000000_\w+\.png: could not be written", said)


def test_a_results_folder_that_cannot_be_written_is_one_message(tmp_path):
    with small_disk(tmp_path / "results", "ro"):
        status, printed = snakemake(tmp_path)
        assert status != 0
        assert "Read-only file system: check how the disk is mounted" in printed
        assert "Traceback" not in printed


def test_a_worker_that_the_system_kills_is_told_and_its_job_goes_on_after_it(tmp_path):
    street_job(tmp_path, images=400)
    job = start(tmp_path, "--threads", "1", "--save-steps", "10")
    state = tmp_path / "results/state" / f"make_streets-{'a' * 16}" / "state.safetensors"
    while not state.exists():
        assert job.poll() is None
        time.sleep(0.01)
    (worker,) = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(job.pid)], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(worker), signal.SIGKILL)
    _, said = job.communicate()
    assert job.returncode == 1
    assert "a process that drew streets was killed" in said and "Traceback" not in said
    shutil.copytree(tmp_path, tmp_path / "fresh", ignore=shutil.ignore_patterns("results"))
    jobs = [start(folder, "--threads", "1") for folder in (tmp_path, tmp_path / "fresh")]
    told = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    assert "going on from image" in told[0] and "going on" not in told[1]
    listed = f"results/make_streets/{'a' * 16}/files.csv"
    assert (tmp_path / listed).read_bytes() == (tmp_path / "fresh" / listed).read_bytes()


def test_streets_that_are_told_to_stop_together_with_their_workers_are_kept(tmp_path):
    """As when a machine is shut down: every process of the job gets the signal."""
    street_job(tmp_path, images=400)
    job = start(tmp_path, "--threads", "1", process_group=0)
    folder = tmp_path / f"results/make_streets/{'a' * 16}"
    while len(list(folder.rglob("*.png"))) < 20:
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGTERM)
    _, said = job.communicate()
    assert job.returncode == 130, said
    saved = StageState(tmp_path / "results/state" / f"make_streets-{'a' * 16}", "a" * 16).load()
    assert 0 < saved.step < 400


def test_an_item_that_cannot_be_read_keeps_those_before_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job(json.loads(street_job(tmp_path, images=6).read_text()), 1, 1)
    found = []
    with (
        pytest.raises(UserError, match="cannot be read"),
        items(job, 6, "image", lambda: {"found": np.array(found)}, found.extend) as work,
    ):
        for number in range(work.first, 6):
            if number == 4:
                raise UserError("x.png: cannot be read: restore it")
            found.append(number)
            work.advance(1)
    assert job.state.load().step == 4
    assert job.state.load().arrays["found"].tolist() == [0, 1, 2, 3]


def test_warnings_of_a_job_are_still_known_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    description = json.loads(street_job(tmp_path).read_text())
    job = Job(description, 1, 1)
    job.device = "cuda:0 (one)"
    with job.state:
        job.save(2, {})
    for _ in range(2):  # stopped again, and again on the CPU
        job = Job(description, 1, 1)
        job.device = "cpu (CPU)"
        with job.state:
            job.warn_of_another_maker()
            job.save(3, {})
    (warning,) = job.notes["warnings"]
    assert warning.startswith("begun on cuda:0 (one) and goes on on cpu (CPU)")


def test_a_results_folder_that_cannot_be_written_is_no_traceback_for_who_only_looks(tmp_path):
    data = {"format": "folder", "images": "*.png", "root": str(tmp_path / "images")}
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((8, 8, 3), np.uint8))
    config = edited(tmp_path, {"data": {"target": data}})
    with small_disk(tmp_path / "results", "ro"):
        done = program("explain", tmp_path, "--configfile", config)
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stderr and "Traceback" not in done.stderr


def test_streets_that_were_damaged_meanwhile_are_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    description = json.loads(street_job(tmp_path, images=6).read_text())
    job = Job(description, 1, 1)
    job.save_steps = 2
    real = Job.save

    def save_and_stop(self, step, arrays, **facts):
        real(self, step, arrays, **facts)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), job.state:
        patch.setattr(Job, "save", save_and_stop)
        make_streets.make_streets(job)
    drawn = sorted(job.folder.rglob("*.png"))
    before = {path: path.read_bytes() for path in drawn}
    drawn[0].write_bytes(b"damaged")
    drawn[1].unlink()
    again = Job(description, 1, 1)
    with again.state:
        make_streets.make_streets(again)
    assert {path: path.read_bytes() for path in drawn} == before
    assert len(list(job.folder.rglob("*.png"))) == 12


class TestDamage:
    @pytest.fixture
    def stage(self, tmp_path):
        folder = tmp_path / "results" / "train_source" / ("b" * 16)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(BIG.tobytes())
        (folder / "training.csv").write_text("step\n")
        (folder / "settings.json").write_text(json.dumps({"files": describe(folder)}))
        return folder

    def test_files_as_they_were_written_are_whole(self, stage):
        require_whole([stage / "model.safetensors", stage / "training.csv"])

    @pytest.mark.parametrize("how", ["cut short", "flipped", "gone"])
    def test_a_damaged_file_is_named_with_what_to_do(self, stage, how):
        path = stage / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[1234] ^= 1
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(content[:-5] if how == "cut short" else content)
        with pytest.raises(UserError) as told:
            require_whole([stage / "training.csv", path])
        said = {"gone": "cannot be read (No such", "flipped": "its bytes are not those written",
                "cut short": "it has 399995 bytes and was written with 400000"}  # fmt: skip
        assert str(told.value).startswith(f"{path}: ") and said[how] in str(told.value)
        assert f"Remove the folder {stage} and start again" in str(told.value)

    def test_results_that_say_nothing_of_their_files_are_used(self, stage):
        (stage / "settings.json").write_text("{}")
        (stage / "training.csv").write_text("another")
        require_whole([stage / "training.csv"])


LONG = {"steps": 100_000}


@pytest.mark.slow
def test_a_job_that_the_system_kills_is_told_with_what_to_do(tmp_path):
    words = [*command(), "--directory", str(tmp_path), "--configfile", str(TINY)]
    run = subprocess.Popen(
        [*words, "--config", f"source_training={LONG}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    pid = None
    while not pid:
        assert run.poll() is None
        time.sleep(0.05)
        for path in (tmp_path / "results/progress").glob("train_source-*.json"):
            content = json.loads(path.read_text())
            pid = content["steps"] and content["pid"]
    os.kill(pid, signal.SIGKILL)
    printed, _ = run.communicate()
    assert run.returncode != 0
    message = f"training on the source, 100000 steps: process {pid} was killed, perhaps for want of"
    assert message in printed.replace("\n", " ")
    assert "Traceback" not in printed


@pytest.mark.slow
def test_damaged_results_and_a_clock_that_jumps_stop_or_disturb_no_run(tmp_path):
    """One run for three faults: results dated years ahead, a cut HDF5 file, a flipped weight."""
    status, printed = snakemake(tmp_path)
    assert status == 0, printed
    ahead = time.time() + 5 * 365 * 86400
    for path in (tmp_path / "results").rglob("*"):
        if not path.is_symlink():
            os.utime(path, (ahead, ahead))
    assert "Nothing to be done" in snakemake(tmp_path, "-n")[1]
    # what is made now is years older than what it is made from
    status, printed = snakemake(tmp_path, "--config", "retraining={epochs: 2}")
    assert status == 0, printed
    assert "Nothing to be done" in snakemake(tmp_path, "-n")[1]
    before = {p: p.read_bytes() for p in (tmp_path / "results").glob("*/*/*.csv")}

    first = tmp_path.resolve() / "results/experiments/tiny/lse/seed0/round1"
    patches = (first / "infer_patches/patches.h5").resolve()
    whole = patches.read_bytes()
    patches.write_bytes(whole[: len(whole) // 2])
    other = "retraining={epochs: 3, source_batch: 3}"
    status, printed = snakemake(tmp_path, "--keep-going", "--config", other)
    assert status != 0 and "Traceback" not in printed
    relative = patches.relative_to(tmp_path.resolve())
    assert f"{relative}: damaged: it has {len(whole) // 2} bytes" in printed
    patches.write_bytes(whole)

    (model,) = (tmp_path / "results").glob("train_source/*/model.safetensors")
    weights = bytearray(model.read_bytes())
    weights[-100] ^= 4
    model.write_bytes(weights)
    status, printed = snakemake(tmp_path, "--config", "evaluation={pictures: 3}")
    assert status != 0 and "Traceback" not in printed
    assert f"{model.relative_to(tmp_path)}: damaged: its bytes are not those written" in printed
    # nothing that was finished is lost, and after the remedy all is well
    assert {path: path.read_bytes() for path in before} == before
    shutil.rmtree(model.parent)
    status, printed = snakemake(tmp_path, "--config", "evaluation={pictures: 3}")
    assert status == 0, printed
