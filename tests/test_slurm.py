"""profiles/slurm on a real Slurm of one node with two pretended GPUs: `make test-slurm`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm_cluster import GPUS, MODEL, cluster, what_is_missing
from workflow_runs import ROOT, edited, same_results, snakemake

pytestmark = pytest.mark.skipif(
    "SCALEWISE_SLURM" not in os.environ, reason="make test-slurm runs it, on a Slurm of its own"
)
SLURM = [
    sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"),
    "--workflow-profile", str(ROOT / "profiles" / "slurm"),
    # ask often, and do not wait for the files of other machines
    "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5",
]  # fmt: skip
# states are saved at a stop alone: a run cannot go on from any other
REQUESTS = {
    "threads": 1,
    "save_minutes": 60,
    "gpu_model": MODEL,
    "network_jobs": {"mem_mb": 1500, "runtime": 10, "partition": "devices"},
    "other_jobs": {"mem_mb": 1000, "runtime": 10, "partition": None},
}


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    if missing := what_is_missing():
        pytest.skip(missing)
    with cluster(tmp_path_factory.mktemp("slurm")):
        yield


def submitted(folder, config, *arguments):
    """A run that submits its jobs, at work."""
    words = [*SLURM, "--directory", str(folder), "--configfile", str(config), *arguments]
    folder.mkdir()
    with open(folder / "printed.txt", "wb") as printed:
        return subprocess.Popen(words, cwd=folder, stdout=printed, stderr=subprocess.STDOUT)


def local(folder, config, *arguments):
    """A finished run on this machine, without Slurm; its folder."""
    folder.mkdir()
    status, told = snakemake(folder, *arguments, config=config)
    assert status == 0, told
    return folder


def at_work(folder):
    """Jobs that run the network now: stage and key -> environment of its process, and its
    progress."""
    found = {}
    for path in Path(folder, "results", "progress").glob("*.json"):
        try:
            told = json.loads(path.read_text())
            given = Path(f"/proc/{told['pid']}/environ").read_text().split("\0")
        except (OSError, ValueError):
            continue  # it has ended
        given = dict(word.partition("=")[::2] for word in given)
        if told["state"] == "running" and "CUDA_VISIBLE_DEVICES" in given:
            found[path.stem] = (given, told)
    return found


def asked_for(job):
    """What Slurm was asked for, of a job that it knows: key -> value."""
    words = ["scontrol", "--oneliner", "show", "job", job]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"(\w+)=(\S+)", told))


def printed(folder):
    return (folder / "printed.txt").read_text()


def wait_for(run, folder, look):
    """Until the run is at its end, `look` at the jobs at work."""
    end = time.monotonic() + 900
    while run.poll() is None:
        assert time.monotonic() < end, printed(folder)
        look(at_work(folder))
        time.sleep(0.05)
    assert run.returncode == 0, printed(folder)


def log_of(folder, name):
    """Of the last try: the engine begins it anew with each."""
    stage, _, key = name.partition("-")
    return Path(folder, "results", "logs", stage, f"{key}.log").read_text()


def test_a_run_with_a_job_that_the_scheduler_kills_ends_in_the_bits_of_a_local_run(tmp_path):
    """Two seeds are trained side by side, each on a GPU of its own. One is cancelled while it works
    and goes on from there at its retry."""
    changes = {
        "seeds": [0, 1],
        "experiments": [{"name": "lse", "role": "method"}],
        "rounds": {"portions": [0.8]},
        "source_training": {"steps": 400},
        "resources": REQUESTS,
    }
    config = edited(tmp_path, changes)
    folder = tmp_path / "cluster"
    cancelled, requests, held_at_once = [], {}, set()

    def look(jobs):
        held = [given["CUDA_VISIBLE_DEVICES"] for given, _ in jobs.values()]
        assert len(set(held)) == len(held), f"two jobs on one device: {jobs}"
        held_at_once.add(tuple(sorted(held)))
        for name, (given, told) in jobs.items():
            job = given["SLURM_JOB_ID"]
            if job not in requests:
                requests[job] = asked_for(job)
            if not cancelled and name.startswith("train_source") and told["step"] >= 20:
                subprocess.run(["scancel", job], check=True)
                cancelled.append(name)

    wait_for(submitted(folder, config), folder, look)
    assert cancelled and "going on from step" in log_of(folder, cancelled[0])
    assert max(map(len, held_at_once)) == GPUS and {"0", "1"} in map(set, held_at_once)
    assert {asked["Partition"] for asked in requests.values()} == {"devices"}
    assert {asked["TresPerJob"] for asked in requests.values()} == {f"gres:gpu:{MODEL}:1"}
    assert same_results(folder, local(tmp_path / "local", config)) > 50


def test_a_job_over_its_time_goes_on_with_more_time(tmp_path):
    """Slurm counts in minutes; the training is held up until its minute is over, when the scheduler
    lets it go on to be told that it is to stop."""
    minute = {**REQUESTS["network_jobs"], "runtime": 1}
    changes = {
        "source_training": {"steps": 400},
        "resources": {**REQUESTS, "network_jobs": minute},
    }
    config, folder, tries = edited(tmp_path, changes), tmp_path / "cluster", {}
    until = ("--until", "train_source")

    def look(jobs):
        for name, (given, told) in jobs.items():
            job = given["SLURM_JOB_ID"]
            if job not in tries and told["step"] >= 20:
                if not tries:
                    os.kill(told["pid"], signal.SIGSTOP)
                tries[job] = (name, asked_for(job))

    wait_for(submitted(folder, config, *until), folder, look)
    assert "status is: 'TIMEOUT'" in printed(folder)
    (name, first), (_, second) = tries.values()
    assert (first["TimeLimit"], second["TimeLimit"]) == ("00:01:00", "00:02:00")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("1500M", "2250M")
    assert "going on from step" in log_of(folder, name)
    assert same_results(folder, local(tmp_path / "local", config, *until)) > 10


def test_a_job_on_two_gpus_has_a_process_on_each_and_all_of_them_go_on(tmp_path, monkeypatch):
    """Where there is no CUDA two devices of the processor stand for those that Slurm assigns."""
    monkeypatch.setenv("SCALEWISE_DEVICES", "cpu:0,cpu:1")
    monkeypatch.setenv("SCALEWISE_LOCKS", str(tmp_path / "locks"))
    changes = {
        "source_training": {"steps": 200},
        "resources": {**REQUESTS, "threads": 2, "gpus_per_job": 2},
    }
    folder, requests, cancelled = tmp_path / "cluster", {}, []

    def look(jobs):
        for name, (given, told) in jobs.items():
            job = given["SLURM_JOB_ID"]
            requests[job] = (asked_for(job)["TresPerJob"], given["CUDA_VISIBLE_DEVICES"])
            if not cancelled and told["step"] >= 10:
                subprocess.run(["scancel", job], check=True)
                cancelled.append(name)

    run = submitted(folder, edited(tmp_path, changes), "--until", "train_source")
    wait_for(run, folder, look)
    assert len(requests) == 2
    assert set(requests.values()) == {(f"gres:gpu:{MODEL}:2", "0,1")}
    assert "going on from step" in log_of(folder, cancelled[0])
    (path,) = folder.glob("results/train_source/*/settings.json")
    assert json.loads(path.read_text())["processes"] == 2
