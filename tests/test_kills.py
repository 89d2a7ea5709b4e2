"""Killed anywhere, a run ends in the bits that it would have had anyway."""

import shutil
from pathlib import Path

import pytest

from killing import HOW, STAGES, WHO, draw_moments, kill_through, seconds_of
from workflow_runs import ROOT, TINY, same_results, snakemake

CONFIG = [TINY, ROOT / "tests" / "configs" / "killed.yaml"]


def test_moments_are_drawn_over_all_stages_and_ways_and_are_the_same_for_a_seed():
    moments = draw_moments(0, 14)
    assert moments == draw_moments(0, 14) != draw_moments(1, 14)
    assert {m.stage for m in moments} == set(STAGES)
    assert {m.who for m in moments} == set(WHO) and {m.how for m in moments} == set(HOW)
    places = [STAGES.index(m.stage) for m in moments]
    assert places == sorted(places)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(tmp_path):
    """The run that nobody kills is another clone's, in another folder."""
    clone, whole, killed = (tmp_path / name for name in ("clone", "whole", "killed"))
    for folder in (whole, killed):
        folder.mkdir()
    ignored = shutil.ignore_patterns(".*", "results", "tests", "__pycache__")
    shutil.copytree(ROOT, clone, ignore=ignored)
    status, printed = snakemake(whole, config=CONFIG, repository=clone)
    assert status == 0, printed
    outcomes = kill_through(killed, draw_moments(20, 18), seconds_of(whole), CONFIG)
    assert sum(outcome.met for outcome in outcomes) >= 12
    # most are met while they work, and go on from there
    assert sum(bool(outcome.going_on) for outcome in outcomes) >= 6, outcomes
    assert same_results(whole, killed) > 100
    assert not list(Path(killed, "results/state").glob("*/*"))
    assert "Traceback" not in (killed / "printed.txt").read_text()
