"""Device slots in whole runs: several devices at once, a job killed, two people on one data set."""

import json
import os
import signal
import subprocess
import time

import pytest

from test_own_folders import configuration, save, write_set
from workflow_runs import COMMAND, edited, finished, snakemake

pytestmark = pytest.mark.slow


def settings_of(folder, stage):
    paths = sorted((folder / "results" / stage).glob("*/settings.json"))
    return [json.loads(path.read_text()) for path in paths]


def span(folder, stage, key):
    """When a job began and ended, as its log says."""
    lines = (folder / f"results/logs/{stage}/{key}.log").read_text().splitlines()
    return lines[0][:23], lines[-1][:23]


def test_jobs_at_once_use_all_devices_and_never_share_one(tmp_path):
    config = edited(tmp_path, {"seeds": [0, 1, 2], "source_training": {"steps": 20}})
    environment = {
        "SCALEWISE_DEVICES": "cpu:0,cpu:1",
        "SCALEWISE_LOCKS": str(tmp_path / "locks"),
        "CUDA_VISIBLE_DEVICES": "5,6",  # has no say in pretended devices
    }
    status, printed = snakemake(
        tmp_path, "--until", "train_source",
        config=config, slots=("--resources", "gpu=2"), environment=environment,
    )  # fmt: skip
    assert status == 0, printed
    done = settings_of(tmp_path, "train_source")
    assert len(done) == 3
    spans = {}
    for job in done:
        spans.setdefault(job["device"], []).append(span(tmp_path, "train_source", job["key"]))
    # the third could have taken either; one alone would serve all three one after the other
    assert set(spans) == {"cpu:0 (CPU)", "cpu:1 (CPU)"}
    for times in spans.values():
        times.sort()
        for (_, ended), (begun, _) in zip(times, times[1:], strict=False):
            assert ended <= begun


def test_without_any_word_of_resources_one_job_at_a_time_runs_the_network(tmp_path):
    """On two devices, so that it is the limit alone that keeps them apart."""
    config = edited(tmp_path, {"seeds": [0, 1], "source_training": {"steps": 4}})
    environment = {
        "SCALEWISE_DEVICES": "cpu:0,cpu:1",
        "SCALEWISE_LOCKS": str(tmp_path / "locks"),
    }
    status, printed = snakemake(
        tmp_path, "--until", "train_source", config=config, slots=(), environment=environment
    )
    assert status == 0, printed
    done = settings_of(tmp_path, "train_source")
    assert [job["device"] for job in done] == ["cpu:0 (CPU)"] * 2
    (_, ended), (begun, _) = sorted(span(tmp_path, "train_source", job["key"]) for job in done)
    assert ended <= begun


def test_the_device_of_a_killed_job_goes_to_the_next(tmp_path):
    config = edited(tmp_path, {"seeds": [0, 1], "source_training": {"steps": 300}})
    environment = {"SCALEWISE_DEVICES": "cpu:0", "SCALEWISE_LOCKS": str(tmp_path / "locks")}
    whole = {**os.environ, **environment}
    command = [*COMMAND, "--directory", str(tmp_path), "--configfile", str(config)]
    run = subprocess.Popen(
        [*command, "--until", "train_source", "--keep-going"],
        env=whole,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lock = tmp_path / "locks" / "0-cpu_0.lock"
    end = time.monotonic() + 120
    while not (lock.exists() and lock.read_text().startswith("process ")):
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.kill(int(lock.read_text().split()[1]), signal.SIGKILL)
    printed = run.communicate(timeout=300)[0]
    assert run.returncode != 0, printed
    assert [job["device"] for job in settings_of(tmp_path, "train_source")] == ["cpu:0 (CPU)"]
    status, printed = snakemake(
        tmp_path, "--until", "train_source", config=config, environment=environment
    )
    assert status == 0, printed
    assert len(settings_of(tmp_path, "train_source")) == 2


def test_two_people_adapt_on_one_data_folder_at_once_and_get_the_same_bits(tmp_path):
    data = tmp_path / "shared"
    write_set(data / "the source", 8, 1)
    write_set(data / "the target", 6, 2, labels=False)
    write_set(data / "checked", 3, 3)
    config = save(tmp_path / "own.yaml", configuration(data))

    def state():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(data.rglob("*"))}

    before = state()
    folders = [tmp_path / "one", tmp_path / "other"]
    runs = []
    for folder in folders:
        folder.mkdir()
        command = [*COMMAND, "--directory", str(folder), "--configfile", str(config)]
        runs.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
            )
        )
    for run in runs:
        printed = run.communicate(timeout=580)[0]
        assert run.returncode == 0, printed
    assert state() == before
    one, other = (finished(folder) for folder in folders)
    assert one == other and len(one) > 10
    compared = 0
    for kind in ("*.safetensors", "*.csv", "*.png", "index.html"):
        for path in folders[0].glob(f"results/*/*/{kind}"):
            assert path.read_bytes() == (folders[1] / path.relative_to(folders[0])).read_bytes()
            compared += 1
    assert compared > 20
