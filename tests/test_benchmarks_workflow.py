"""The benchmarks of the workflow at a tiny size: they run, and their tables say what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scalewise.plan import NETWORK_STAGES, OUTPUTS

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow_scripts"
sys.path.insert(0, str(ROOT / "benchmarks"))

import growth  # noqa: E402
import overhead  # noqa: E402

# import_weights reads weights into a network
WITHOUT_NETWORK = sorted(set(OUTPUTS) - NETWORK_STAGES - {"import_weights"})


def benchmark(name, *arguments, timeout=600):
    """The lines that a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def cells(lines, first):
    """The cells of the row that begins so."""
    line = next(line for line in lines if line.startswith(first))
    return re.split(r"  +", line.strip())[1:]


def job(stage, begun, ended, inside, imports=()):
    return overhead.Job(stage, f"{stage}{begun}", begun, ended, inside, list(imports), frozenset())


def test_imports_within_the_work_are_not_inside():
    assert overhead.without((10, 20), [(8, 11), (12, 13), (19, 25)]) == [(11, 12), (13, 19)]
    assert overhead.without((10, 20), []) == [(10, 20)]
    assert overhead.without((10, 20), [(5, 30)]) == []


def test_time_while_no_job_is_inside_is_counted_for_the_next_and_adds_up():
    jobs = [
        job("scan_images", 1, 5, [(2, 4)]),
        job("train_source", 4, 10, [(6, 7), (8, 9)]),  # imports between 7 and 8
        job("select_images", 5, 7, [(6.5, 7.5)]),  # partly while another works
    ]
    waited, at_end = overhead.waits(jobs, (0, 12))
    assert list(waited.values()) == [2, 2 + 0.5, 0]
    assert at_end == 3
    rows = overhead.rows_of(jobs, (0, 12))
    assert rows[-1][5:] == ["7.5", "", "3.4"]
    assert rows[0][:4] == ["train_source", 1, "2.00", "4.00"]


def test_the_overhead_of_a_run_is_told_by_kind_of_job():
    lines = benchmark("overhead", "--tiny", "data")
    jobs, inside, outside, imports, wall, most, bound = map(float, cells(lines, "all others"))
    assert (jobs, bound) == (9, 0.7)
    assert inside > 0
    assert 0 < imports < outside
    assert 0 < wall <= most
    assert float(cells(lines, "the run, in all")[1]) == pytest.approx(
        9 * wall + float(cells(lines, "after the last job")[0]), abs=0.2
    )
    assert lines[-1].endswith("none")  # none imports torch


def test_a_plan_is_timed_with_its_stages_and_ends_in_a_run_without_work():
    lines = benchmark("planning", "--plans", "1x1x1", "--repeats", "1")
    stages, *times, bound = [*cells(lines, "1x1x1"), ""][:6]
    assert int(stages) > 15
    assert not bound
    clock, cpu = zip(*(map(float, re.findall(r"[\d.]+", cell)) for cell in times), strict=True)
    assert all(seconds > 0 for seconds in clock + cpu[:2])


def test_growth_is_measured_on_the_stages_own_scripts():
    lines = benchmark("growth", "--sizes", "10", "20", "30", "--repeats", "1")
    assert [line.split()[0] for line in lines[2:]] == list(growth.MEASURED)
    assert all(len(re.split(r"  +", line)) == 5 for line in lines)


def test_cost_of_an_image_is_the_difference_of_two_sizes():
    found = {"evaluate": {10: (2.0, 1000), 20: (2.5, 2000), 40: (4.5, 7000)}}
    assert growth.rows_of(found) == [["evaluate", "50.000", "100.000", "2.00", "200"]]


PROGRAM = """import os, runpy, sys
_, script, *arguments = sys.argv
sys.argv, sys.path[0] = [script, *arguments], os.path.dirname(script)
runpy.run_path(script, run_name="__main__" if arguments else "imported")
sys.exit("torch" in sys.modules)
"""


def imports_torch(stage, *arguments):
    words = [sys.executable, "-c", PROGRAM, str(SCRIPTS / f"{stage}.py"), *arguments]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    return bool(done.returncode)


@pytest.mark.parametrize("stage", WITHOUT_NETWORK)
def test_stages_without_the_network_import_no_torch(stage):
    assert not imports_torch(stage)


def test_stages_without_the_network_run_without_torch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # and back at the end, wherever it goes
    stages = [stage for stage, _ in growth.prepare(tmp_path, 10, seed=0)]
    assert imports_torch("score_target")
    ran = [stage for stage in stages if stage.name in WITHOUT_NETWORK]
    assert {s.name for s in ran} > {"scan_labels", "select_images", "compute_thresholds"}
    for stage in ran:
        assert not imports_torch(stage.name, stage.description_path), stage.name
