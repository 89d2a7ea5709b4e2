"""The benchmarks of training, loading, precision and threads run, at sizes that prove nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def lines_of(program: str, *options: str) -> list[str]:
    """What a benchmark prints; its own checks of equal results are in it."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{program}.py"), *options],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_loader_is_measured_on_files_and_patches():
    lines = lines_of("loader", "--images", "2", "--repeats", "1", "--smaller", "16")
    assert [line.split(",")[0] for line in lines[3:]] == ["GTA5"] * 2 + ["Cityscapes"] * 2 + [
        "patches"
    ]
    assert all(float(rate) > 0 for line in lines[3:] for rate in line.split()[-3:])


def test_the_passes_of_a_network_are_measured_in_each_precision():
    small = ("--width", "8", "--size", "32", "48", "--batch", "2", "--batches", "1", "2")
    lines = lines_of("network_passes", "--repeats", "1", *small)
    ways = [line.split("  ")[0] for line in lines[2:6]]
    assert ways == [
        "float32, channels last", "float32", "bfloat16, channels last", "float16, channels last",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[9:]] == ["1", "2"]


@pytest.mark.slow
def test_jobs_side_by_side_are_measured_under_both_policies():
    lines = lines_of("threads", "--threads", "1", "--steps", "1", "--repeats", "1")
    assert [line.split("  ")[0] for line in lines[3:]] == ["as it is", "as the workflow sets it"]


@pytest.mark.slow
def test_both_trainings_are_measured_against_a_bare_loop_of_the_same_loss():
    small = ("--threads", "1", "--images", "6", "--settings", "{network: {width: 8}}")
    lines = lines_of("training", "--turns", "1", "--steps", "2", *small)
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "train_source, kept", "train_source, anew", "retrain, kept", "retrain, anew",
    ]  # fmt: skip


@pytest.mark.slow
def test_precisions_are_compared_by_whole_runs(tmp_path):
    lines = lines_of("precision", "--seeds", "1", "--steps", "20", "--folder", str(tmp_path))
    assert [line.split()[0] for line in lines[2:]] == ["float32", "bfloat16"]
    assert lines[2].endswith(" 0.0")
