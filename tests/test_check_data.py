"""check_data: what stops a run, what is left out, what is only told."""

import logging
from types import SimpleNamespace

import pytest

import check_data
from scalewise.artifacts import images_csv, labels_csv, problems_csv
from scalewise.artifacts.images_csv import ImageRow
from scalewise.artifacts.labels_csv import LabelRow
from scalewise.artifacts.problems_csv import Problem
from scalewise.errors import UserError


@pytest.fixture
def check(tmp_path):
    """Run the check on lists of problems; returns the job."""

    def run(*lists, warnings=(), on_problem="skip", selections=(), targets=(), sources=()):
        paths = []
        for k, problems in enumerate(lists):
            paths.append(tmp_path / f"key{k}" / "problems.csv")
            problems_csv.write(paths[-1], problems)
        job = SimpleNamespace(
            settings={
                "on_problem": on_problem,
                "warnings": list(warnings),
                "selections": selections,
            },
            locations={
                "selection 0": "lse, round 2",
                **{f"key{k}": f"the images of /set{k}" for k in range(len(lists))},
            },
            notes={},
            inputs=lambda role: {"problems": paths, "targets": targets, "sources": sources}[role],
            output=lambda name: tmp_path / name,
        )
        check_data.check(job)
        return job

    return run


def test_data_without_a_problem_are_fit_for_use_and_nothing_is_said(check, tmp_path, capsys):
    job = check([], [])
    assert (tmp_path / "verdict.txt").read_text() == "fit for use\n"
    assert job.notes["warnings"] == [] and capsys.readouterr() == ("", "")


def test_files_that_are_left_out_are_counted_for_each_list(check, tmp_path, capsys):
    blank = Problem("15188.png", "is blank", "skip")
    check([blank, blank], [], [Problem("7.png", "has no label", "skip")])
    lines = [
        f"the images of /set0: 2 of the files are left out, listed in {tmp_path}/key0/problems.csv",
        f"the images of /set2: 1 of the files is left out, listed in {tmp_path}/key2/problems.csv",
    ]
    assert capsys.readouterr().err.splitlines() == lines
    assert (tmp_path / "verdict.txt").read_text().splitlines() == ["fit for use", *lines]


def test_warnings_stop_nothing_and_are_told_in_the_log_the_notes_and_the_verdict(
    check, tmp_path, capsys, caplog
):
    missing = Problem("/set0", "no label holds a pixel of train", "warn")
    with caplog.at_level(logging.WARNING):
        job = check([missing], warnings=["the source set has no train: it is not learned"])
    told = [
        "the source set has no train: it is not learned",
        "the images of /set0: no label holds a pixel of train",
    ]
    assert job.notes["warnings"] == caplog.messages == capsys.readouterr().err.splitlines() == told
    assert (tmp_path / "verdict.txt").read_text().splitlines() == ["fit for use", *told]


def test_one_problem_that_stops_is_an_error_and_no_verdict_is_written(check, tmp_path):
    left_out = Problem("a.png", "is blank", "skip")
    with pytest.raises(UserError) as failed:
        check([left_out, Problem("b.png", "holds label id 3", "stop")])
    assert str(failed.value) == "b.png: holds label id 3"
    assert not (tmp_path / "verdict.txt").exists()


def test_what_could_be_left_out_stops_too_unless_it_is_to_be_and_says_how(check, tmp_path):
    left_out = Problem("a.png", "is blank", "skip")
    with pytest.raises(UserError) as failed:
        check([left_out], on_problem="stop")
    assert str(failed.value) == "a.png: is blank; data.on_problem: skip leaves it out"
    with pytest.raises(UserError) as failed:
        check([left_out, Problem("b.png", "holds label id 3", "stop")], on_problem="stop")
    # skipping would not help: it is not offered
    assert str(failed.value).splitlines() == ["b.png: holds label id 3", "a.png: is blank"]
    assert not (tmp_path / "verdict.txt").exists()


def test_of_many_problems_the_first_are_shown_and_the_lists_are_named(check, tmp_path):
    with pytest.raises(UserError) as failed:
        check([Problem(f"{k}.png", "is blank") for k in range(8)], [])
    lines = str(failed.value).splitlines()
    assert lines[:5] == [f"{k}.png: is blank" for k in range(5)]
    assert lines[5] == f"... and 3 more, all of them in {tmp_path}/key0/problems.csv"


def selecting(**changes):
    return {
        "classes": ["road", "sky", "train"], "portion": 0.5,
        "scope": "class", "minimum_per_class": 0, "missing_classes": "ignore", **changes,
    }  # fmt: skip


@pytest.fixture
def sets(tmp_path):
    """Four target images; source labels in which no train occurs."""
    images, labels = tmp_path / "images.csv", tmp_path / "labels.csv"
    images_csv.write(images, [ImageRow(str(k), f"{k}.png", 4, 2, "h", "RGB") for k in range(4)])
    rows = [LabelRow("a", "a.png", 4, 2, "h", 0, (5, 3, 0), "L", (0, 1))]
    labels_csv.write(labels, rows, ["road", "sky", "train"])
    return {"targets": [images], "sources": [labels]}


def test_a_selection_that_can_only_be_empty_stops_before_anything_is_trained(check, sets):
    # int(4 * 0.5 / 2) is 1: two of the three classes are in the source
    check([], selections=[selecting()], **sets)
    with pytest.raises(UserError) as told:
        check([], selections=[selecting(missing_classes="trust")], **sets)
    assert str(told.value) == (
        "lse, round 2: p = 0.5 of 4 target images over 3 classes is less than one image, so that "
        "nothing would be selected: raise rounds.portions, or set selection.minimum_per_class to 1"
    )
    check([], selections=[selecting(missing_classes="trust", minimum_per_class=1)], **sets)
    over_all = {key: value for key, value in selecting(scope="global").items()
                if key != "minimum_per_class"}  # fmt: skip
    check([], selections=[{**over_all, "portion": 0.25}], **sets)
    with pytest.raises(UserError) as told:
        check([], selections=[{**over_all, "portion": 0.2}], **sets)
    assert str(told.value) == (
        "lse, round 2: p = 0.2 of 4 target images is less than one image, so that nothing would "
        "be selected: raise rounds.portions"
    )
