"""The command that compares two results: which they are, the numbers by hand, the exit status."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import compare
from made_up_results import finish, of
from scalewise.artifacts import iou_csv
from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.workflow import load_plan
from workflow_runs import ROOT, edited, program

NAN = math.nan
CLASSES = ["road", "car", "train"]


def evaluated(stage, *iou):
    """Finish an evaluation with these IoU."""
    finish(stage)
    count = np.ones(len(iou), int)
    iou_csv.write_iou(
        f"{stage.folder}/iou.csv", CLASSES[: len(iou)], np.array(iou), count, count, count
    )
    Job(stage.description(), 1, 1).write_settings()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The tiny project with two seeds, evaluated: lse ends 1 above the control in mIoU."""
    monkeypatch.chdir(tmp_path)
    plan = load_plan([edited(tmp_path, {"seeds": [0, 1]})])
    plan.record()
    for stage in plan.stages.values():
        if stage.name != "evaluate":
            finish(stage)
    for seed in (0, 1):
        evaluated(of(plan, "evaluate", "lse", 0, seed), 20.0, 10.0, NAN)
        evaluated(of(plan, "evaluate", "lse", 1, seed), 30.0, 10.0, NAN)
        evaluated(of(plan, "evaluate", "source_zoom", 1, seed), 30.0, 12.0, NAN)
        # means 31 and 33; 30 and 32
        evaluated(of(plan, "evaluate", "lse", 2, seed), 42.0 + 2 * seed, 20.0 + 2 * seed, NAN)
        evaluated(of(plan, "evaluate", "source_zoom", 2, seed), 36.0 + seed, 24.0 + 3 * seed, 5.0)
    return plan


def run(*words):
    done = program("compare", Path.cwd(), *words)
    assert "Traceback" not in done.stderr
    return done


class TestSides:
    def test_an_experiment_is_its_last_round_with_all_its_seeds(self, project):
        side = compare.side_of("tiny/lse")
        assert [iou["road"] for iou in side.seeds] == [42.0, 44.0]
        assert math.isnan(side.seeds[0]["train"])
        assert side.config["patches"]["scale"] == 2
        assert {"evaluate", "retrain", "train_source"} <= set(side.code)

    def test_a_seed_a_round_and_an_evaluation_are_one_seed(self, project):
        stage = of(project, "evaluate", "lse", 1, 1)
        for text, road in (
            ("tiny/lse/seed1", 44.0),
            ("tiny/lse/seed1/round1", 30.0),
            ("results/experiments/tiny/lse/seed1/round1", 30.0),
            (stage.folder, 30.0),
            (str(Path(stage.folder).resolve()), 30.0),
        ):
            (iou,) = compare.side_of(text).seeds
            assert iou["road"] == road, text

    def test_what_is_not_evaluated_yet_is_named(self, project):
        shutil.rmtree(of(project, "evaluate", "lse", 2, 1).folder)
        with pytest.raises(UserError, match=r"lse/seed1/round2: is not evaluated yet"):
            compare.side_of("tiny/lse")
        assert len(compare.side_of("tiny/lse/seed1/round1").seeds) == 1

    @pytest.mark.parametrize("text", ["tiny", "tiny/lsd", "nowhere", "tiny/lse/seed7"])
    def test_what_is_not_there_is_told_with_what_may_be_given(self, project, text):
        with pytest.raises(UserError, match=f"{text}: no experiment, round, evaluation or report"):
            compare.side_of(text)

    def test_a_damaged_file_is_refused(self, project):
        path = Path(of(project, "evaluate", "lse", 2, 0).folder, "iou.csv")
        path.write_text(path.read_text().replace("42.0", "92.0"))
        with pytest.raises(UserError, match="damaged"):
            compare.side_of("tiny/lse")


class TestNumbers:
    A = compare.Side("a", [{"x": 10.0, "y": 30.0, "z": NAN}, {"x": 14.0, "y": 30.0, "z": NAN}])
    B = compare.Side("b", [{"x": 16.0, "y": 20.0, "z": 4.0, "more": 90.0}])

    def test_mean_and_sd_are_over_seeds_and_the_worst_loss_comes_first(self):
        mean, *rows = compare.changes(self.A, self.B)
        # (20 + 22) / 2, sd of 20 and 22; of b: (16 + 20 + 4) / 3
        assert (mean.name, mean.a, mean.a_sd) == ("mIoU", 21.0, pytest.approx(math.sqrt(2)))
        assert mean.b == pytest.approx(40 / 3) and math.isnan(mean.b_sd)
        assert [row.name for row in rows] == ["y", "x", "z"]
        assert [row.difference for row in rows[:2]] == [-10.0, 4.0]
        assert math.isnan(rows[2].difference)

    def test_classes_of_one_of_them_are_left_out_and_told(self):
        text = "\n".join(compare.lines(self.A, self.B, compare.changes(self.A, self.B)))
        assert "B has more, which the other lacks: not compared" in text
        assert "A  a (2 seeds)\nB  b (1 seed)\n" in text
        assert "mIoU  21.0 (1.4)  13.3   -7.7" in text
        assert "settings  not known of a and b" in text

    def test_without_a_class_in_common_there_is_nothing_to_compare(self):
        with pytest.raises(UserError, match="no class in common"):
            compare.changes(self.A, compare.Side("c", [{"sky": 1.0}]))

    @pytest.mark.parametrize(
        ("a", "b", "tolerance", "worse"),
        [
            (30.0, 20.0, None, False),
            (30.0, 29.5, 0.5, False),
            (30.0, 29.4, 0.5, True),
            (30.0, 29.9, 0.0, True),
            (30.0, 31.0, 0.0, False),
            (30.0, NAN, 5.0, True),
            (NAN, 20.0, 0.0, False),
        ],
    )
    def test_b_is_worse_where_it_lost_more_than_is_tolerated(self, a, b, tolerance, worse):
        assert compare.is_worse(compare.Change("mIoU", a, NAN, b, NAN), tolerance) is worse


class TestCommand:
    def test_two_experiments(self, project):
        done = run("tiny/lse", "tiny/source_zoom", "--csv", "out.csv")
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        assert printed[:2] == ["A  tiny/lse (2 seeds)", "B  tiny/source_zoom (2 seeds)"]
        settings = [line for line in printed if line.startswith("setting ")]
        assert settings == [
            "setting   retraining.source_zoom: 0.0 -> 0.5",
            "setting   retraining.target_weight: 1.0 -> 0.0",
        ]
        # lse: 31, 33; source_zoom with its third class: 65 / 3 and 69 / 3
        (mean,) = [line for line in printed if line.startswith("mIoU")]
        assert mean.split() == ["mIoU", "32.0", "(1.4)", "22.3", "(0.9)", "-9.7"]
        content = pd.read_csv("out.csv")
        assert list(content["class"]) == ["mIoU", "road", "car", "train"]
        assert content["difference"][1:3].tolist() == [-6.5, 4.5]
        assert content["difference"].isna().tolist() == [False, False, False, True]

    def test_rounds_of_one_experiment_have_the_same_settings(self, project):
        done = run("tiny/lse/seed0/round1", "tiny/lse/seed0/round2")
        assert "settings  the same, but for names and what determines no result" in done.stdout

    def test_the_exit_status_says_whether_b_lost_more_than_is_tolerated(self, project):
        pair = "tiny/lse", "tiny/source_zoom"
        for words, status in ((("--tolerance", "5"), 1), (("--tolerance", "10"), 0), ((), 0)):
            assert run(*pair, *words).returncode == status
        assert run(*pair[::-1], "--tolerance", "0").returncode == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("tiny/lse", "tiny/no"), "tiny/no: no experiment, round, evaluation or report"),
            (("tiny/lse", "tiny/lse", "--tolerance", "-1"), "--tolerance -1: must be 0 or more"),
            (("tiny/lse",), "the following arguments are required: B"),
        ],
    )
    def test_a_mistake_is_one_message_and_status_2(self, project, words, said):
        done = run(*words)
        assert done.returncode == 2 and said in done.stderr and done.stdout == ""

    def test_make_passes_both_names_and_further_words(self):
        text = Path(ROOT, "Makefile").read_text()
        assert "compare.py $(call quoted,A) $(call quoted,B) $(ARGS)" in text


class TestReports:
    def report(self, folder, **experiments):
        """A report's table: experiment -> IoU of road and car, of the last of two rounds."""
        Path(folder).mkdir(parents=True)
        rows = [
            (name, 0, number, c, value + number, 1)
            for name, iou in experiments.items()
            for number in (0, 1)
            for c, value in zip(("road", "car"), iou, strict=True)
        ]
        columns = ["experiment", "seed", "round", "class", "iou", "pixels"]
        pd.DataFrame(rows, columns=columns).to_csv(f"{folder}/per_class_iou.csv", index=False)

    def test_experiments_that_both_have_are_compared_in_their_last_round(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        self.report("a/report", lse=(10.0, 20.0), old=(1.0, 1.0), zoom=(5.0, 5.0))
        self.report("b/report", lse=(12.0, 20.0), zoom=(5.0, 4.0), new=(1.0, 1.0))
        done = run("a/report", "b/report", "--tolerance", "0.4", "--csv", "c.csv")
        assert done.returncode == 1  # zoom lost 0.5
        assert done.stdout.count("B - A") == 2 and "A  a/report lse (1 seed)" in done.stdout
        content = pd.read_csv("c.csv")
        means = content[content["class"] == "mIoU"]
        assert list(means.experiment) == ["lse", "zoom"] and list(means.iou_a) == [16.0, 6.0]
        assert list(means.difference) == [1.0, -0.5]
        assert run("a/report", "b/report", "--tolerance", "0.5").returncode == 0

    def test_settings_come_from_the_report_by_its_key(self, project):
        place, key = Path("results/report/tiny"), project.report.key
        self.report(str(place), lse=(10.0, 20.0), source_zoom=(10.0, 20.0))
        (place / "report.json").write_text(f'{{"key": "{key}"}}\n')
        sides = compare.sides_of_report(str(place))
        assert sides["lse"].config["seeds"] == [0, 1]
        told = compare.what_differs(sides["lse"], sides["source_zoom"])
        assert any("experiment.retraining.source_zoom: nothing -> 0.5" in line for line in told)

    def test_a_report_is_compared_with_a_report(self, project):
        self.report("a", lse=(1.0, 2.0))
        self.report("b", other=(1.0, 2.0))
        done = run("a", "tiny/lse")
        assert done.returncode == 2
        assert "a is a report and tiny/lse is none: give two of a kind" in done.stderr
        assert "no experiment in common" in run("a", "b").stderr
