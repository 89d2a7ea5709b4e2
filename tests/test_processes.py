"""A job on several devices: a process for each, the same batches, and one result."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from scalewise.artifacts import images_csv
from warm_runs import SCRIPTS, Runners
from workflow_runs import edited, same_results, snakemake

# `all`: what a step can be made of. One image and one patch, of different sizes: each of two
# processes has one of them, and neither has the other.
CONFIG = {
    "project": "shared",
    "data": {
        "size": [48, 96],
        "source": {"images": 12, "seed": 100},
        "target": {"images": 26, "seed": 101},
        "validation": {"images": 18, "seed": 102},
    },
    "network": {"width": 8, "dropout": 0.5},
    "source_training": {
        "steps": 24,
        "batch": 5,
        "optimizer": {"name": "sgd", "learning_rate": 0.03},
    },
    "rounds": {"portions": [0.6]},
    "selection": {"minimum_per_class": 1},
    "patches": {"per_image": 2, "claim_images": 26},
    "retraining": {
        "epochs": 5,
        "source_batch": 3,
        "target_batch": 2,
        "optimizer": {"name": "sgd", "learning_rate": 0.003},
    },
    "evaluation": {"pictures": 18},
    "report": {"gallery": 0},
    "resources": {"threads": 1},
    "experiments": [
        {"name": "lse"},
        {
            "name": "all",
            "data": {"source_size": [56, 104]},
            "rounds": {"target_statistics": 0.5},
            "retraining": {
                "source_batch": 1,
                "target_batch": 1,
                "class_mix": 0.9,
                "consistency": 0.5,
                "teacher": {"momentum": 0.9},
            },
        },
        {"name": "live_statistics", "retraining": {"freeze_batchnorm": False}},
    ],
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the whole project, each job in one process of one thread."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    runners = Runners(1)
    try:
        runners.run(folder, [folder / "config.yaml"])
    finally:
        runners.close()
    return folder


@pytest.fixture
def begin(alone, tmp_path):
    """Starts a stage of the project in a copy of the folder that lacks its results."""
    folder = tmp_path / "shared"
    shutil.copytree(alone, folder, symlinks=True)

    def start(
        stage: str, key: str, processes: int = 2, *options: str, devices: int | None = None
    ) -> subprocess.Popen:
        shutil.rmtree(folder / "results" / stage / key, ignore_errors=True)
        environment = {
            "SCALEWISE_DEVICES": ",".join(["cpu"] * (devices or processes)),
            "SCALEWISE_LOCKS": str(tmp_path / "locks"),
        }
        return subprocess.Popen(
            [
                *(sys.executable, SCRIPTS / f"{stage}.py", description(stage, key)),
                *("--gpus", str(processes), "--threads", str(processes)),
                *("--log", "job.log", *options),
            ],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    start.folder = folder
    return start


def description(stage: str, key: str) -> str:
    return f"results/plans/stages/{stage}/{key}.json"


def ended(job: subprocess.Popen) -> tuple[int, str]:
    """Exit status and all that it printed."""
    try:
        printed, _ = job.communicate(timeout=240)
    finally:
        job.kill()
    return job.returncode, printed


def key_of(folder: Path, stage: str, user: str = "lse") -> str:
    """Key of the first stage of this name that an experiment has."""
    for path in sorted((folder / f"results/plans/stages/{stage}").iterdir()):
        description = json.loads(path.read_text())
        if any(name == user for name, _, _ in description["users"]):
            return description["key"]
    raise LookupError(f"{user} has no {stage}")


def training_of(folder: Path) -> dict[str, np.ndarray]:
    with open(folder / "training.csv", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def require_equal_trainings(one: Path, two: Path) -> None:
    """Losses of every step and all weights are the same but for the rounding of sums."""
    losses, others = training_of(one), training_of(two)
    assert list(losses) == list(others) and len(losses["loss"]) > 5
    for name in losses:
        np.testing.assert_allclose(others[name], losses[name], rtol=1e-4, err_msg=name)
    weights, theirs = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert weights.keys() == theirs.keys()
    for name in weights:
        np.testing.assert_allclose(theirs[name], weights[name], rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("stage", "user"),
    [
        ("train_source", "lse"),
        ("retrain", "lse"),
        ("retrain", "all"),
        ("retrain", "live_statistics"),
    ],
)
def test_a_training_shared_by_two_processes_is_that_of_one(alone, begin, stage, user):
    key = key_of(alone, stage, user)
    status, printed = ended(begin(stage, key))
    assert (status, printed) == (0, "")
    require_equal_trainings(*(f / "results" / stage / key for f in (alone, begin.folder)))
    record = json.loads((begin.folder / "results" / stage / key / "settings.json").read_text())
    assert record["processes"] == 2
    assert not list((begin.folder / "results/state").glob("*"))


@pytest.mark.parametrize("stage", ["score_target", "infer_patches", "evaluate"])
def test_results_are_the_same_bits_whatever_the_number_of_processes(alone, begin, stage):
    key = key_of(alone, stage)
    # the last turn of the batches does not reach for all of them
    assert ended(begin(stage, key, 3)) == (0, "")
    assert same_results(alone, begin.folder, [(stage, key)])
    record = json.loads((begin.folder / "results" / stage / key / "settings.json").read_text())
    assert record["processes"] == 3


def wait_for_state(job: subprocess.Popen, folder: Path) -> None:
    """Until the job has saved its state once."""
    end = time.monotonic() + 120
    while not list(folder.glob("results/state/*/state.safetensors")):
        assert job.poll() is None and time.monotonic() < end, "no state was saved"
        time.sleep(0.02)


def test_the_workflow_gives_each_job_a_process_for_every_device(tmp_path):
    config = edited(
        tmp_path,
        {
            "experiments": [{"name": "batch_norm", "rounds": {"method": "batch_norm"}}],
            "source_training": {"steps": 4},
            "resources": {"gpus_per_job": 2, "threads": 2},
        },
    )
    devices = {"SCALEWISE_DEVICES": "cpu,cpu", "SCALEWISE_LOCKS": str(tmp_path / "locks")}
    status, printed = snakemake(
        tmp_path, config=config, slots=("--resources", "gpu=2"), environment=devices
    )
    assert status == 0, printed
    records = [json.loads(p.read_text()) for p in tmp_path.glob("results/*/*/settings.json")]
    processes = {record["stage"]: record["processes"] for record in records}
    of_two = {stage for stage, number in processes.items() if number == 2}
    assert of_two == {"train_source", "evaluate"} and processes["reestimate_batchnorm"] == 1


class TestResuming:
    def test_a_training_goes_on_with_another_number_of_processes(self, alone, begin):
        key = key_of(alone, "train_source")
        job = begin("train_source", key, 2, "--save-steps", "2")
        wait_for_state(job, begin.folder)
        job.send_signal(signal.SIGTERM)
        assert ended(job)[0] in (130, 0)
        left = list(begin.folder.glob("results/state/*/state.safetensors"))
        status, printed = ended(begin("train_source", key, 1))
        assert (status, printed) == (0, "")
        result = begin.folder / "results/train_source" / key
        require_equal_trainings(alone / "results/train_source" / key, result)
        if left:  # it was not at its end already
            warnings = json.loads((result / "settings.json").read_text())["notes"]["warnings"]
            assert any("begun on 2 processes" in text for text in warnings)

    def test_a_job_whose_processes_are_all_killed_goes_on(self, alone, begin):
        key = key_of(alone, "retrain")
        job = begin("retrain", key, 2, "--save-steps", "1")
        wait_for_state(job, begin.folder)
        progress = next(begin.folder.glob("results/progress/retrain-*.json"))
        os.kill(json.loads(progress.read_text())["pid"], signal.SIGKILL)  # the leader
        assert ended(job)[0] != 0
        status, printed = ended(begin("retrain", key, 2))
        assert (status, printed) == (0, "")
        require_equal_trainings(*(f / "results/retrain" / key for f in (alone, begin.folder)))


class TestMistakes:
    @pytest.mark.parametrize("stage", ["score_target", "train_source"])
    def test_a_file_that_any_process_cannot_read_is_named_once(self, alone, begin, stage):
        key = key_of(alone, stage)
        described = json.loads((begin.folder / description(stage, key)).read_text())
        which = "target" if stage == "score_target" else "source"
        table = images_csv.read(begin.folder / described["inputs"][f"{which}_images"]["path"])
        # in the second batch of the scores, which is not the leader's
        broken = begin.folder / described["locations"][which] / table[9].path
        broken.write_bytes(b"no image")
        status, printed = ended(begin(stage, key))
        assert status == 1
        assert printed.count(broken.name) == 1 and "Traceback" not in printed
        shutil.copy(alone / broken.relative_to(begin.folder), broken)
        assert ended(begin(stage, key)) == (0, "")

    def test_a_batch_of_fewer_images_than_processes_is_refused(self, alone, begin):
        status, printed = ended(begin("retrain", key_of(alone, "retrain", "all"), 3))
        assert status == 1 and "Traceback" not in printed
        assert printed.count("cannot be shared by 3 processes: lower resources.gpus_per_job") == 1

    def test_fewer_devices_than_asked_for_are_named(self, alone, begin):
        job = begin("score_target", key_of(alone, "score_target"), 2, devices=1)
        status, printed = ended(job)
        assert status == 1 and "Traceback" not in printed
        assert printed.count("asks for 2 devices and this machine has 1") == 1
