"""The health of rounds: every measure by hand and against a slow version, a collapse made on
purpose, and who reads which limit."""

import json
import logging
import math
from itertools import pairwise

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import accept_round
import check_round
from scalewise import config
from scalewise.artifacts import (
    accepted_csv,
    health_csv,
    predictions_h5,
    scores_csv,
    source_csv,
    thresholds_csv,
)
from scalewise.artifacts.health_csv import HealthRow
from scalewise.errors import UserError
from scalewise.job import Job
from scalewise.selftraining import health
from scalewise.selftraining.health import Predictions
from scalewise.workflow import DEFAULT_CONFIG
from test_plan import all_keys, make_plan

NAN = math.nan
CLASSES = ["road", "car", "train"]
LIMITS = {
    "kept": 0.1, "source": 1.02, "histogram": 0.2, "agreement": 0.7, "entropy": 0.3,
    "classes": 0.05,
}  # fmt: skip
OFF = dict.fromkeys(LIMITS)


def judged(rows):
    return {row.measure: row.verdict for row in rows}


def pixels(*counts):
    return np.array(counts)


class TestMeasures:
    def test_the_kept_share_is_over_all_pixels_and_not_a_mean_of_the_classes(self):
        # 0.5 of 100 and 1 of 300; the class without pixels counts nowhere: 350 of 400
        assert health.overall_kept([0.5, 1.0, NAN], [100, 300, 0]) == 0.875
        assert math.isnan(health.overall_kept([NAN], [0]))

    def test_the_mean_entropy_is_over_all_pixels(self):
        counts = np.array([[3, 0], [1, 4]])
        entropy = np.array([[0.5, NAN], [1.5, 0.25]])
        # 3 * 0.5 + 1 * 1.5 + 4 * 0.25 = 4, of 8 pixels
        assert health.overall_entropy(counts, entropy) == 0.5
        assert math.isnan(health.overall_entropy(np.zeros((1, 2), int), np.full((1, 2), NAN)))

    def test_the_mean_loss_is_over_all_labelled_pixels_and_not_a_mean_of_the_images(self):
        # 30 * 0.5 + 10 * 2.5 = 40, of 40 pixels; the image without a label counts nowhere
        assert health.overall_loss([30, 0, 10], [0.5, NAN, 2.5]) == 1.0
        assert math.isnan(health.overall_loss([0], [NAN]))
        assert math.isnan(health.overall_loss([], []))

    def test_total_variation_is_half_the_sum_of_differences_of_the_shares(self):
        # shares 0.5, 0.5, 0 and 0.25, 0.25, 0.5
        assert health.total_variation(pixels(2, 2, 0), pixels(10, 10, 20)) == 0.5
        assert health.total_variation(pixels(1, 2, 3), pixels(2, 4, 6)) == 0
        assert health.total_variation(pixels(0, 7), pixels(9, 0)) == 1
        assert math.isnan(health.total_variation(pixels(0, 0), pixels(1, 1)))

    def test_agreement_counts_pixels_over_all_blocks(self):
        pairs = [
            (np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 0]])),  # 3 of 4
            (np.array([[1, 1]]), np.array([[2, 2]])),  # 0 of 2
        ]
        assert health.agreement(pairs) == 0.5
        assert math.isnan(health.agreement([]))
        with pytest.raises(ValueError, match="differ in shape"):
            health.agreement([(np.zeros((1, 2)), np.zeros((2, 1)))])

    def test_what_a_class_is_left_with_is_a_share_of_its_share(self):
        # of 1000: 0.5, 0.4, 0.1; of 2000: 0.75, 0.25, 0
        left = health.remaining(pixels(1500, 500, 0), pixels(500, 400, 100))
        assert left.tolist() == [1.5, 0.625, 0]

    def test_a_class_that_was_hardly_there_cannot_be_lost(self):
        left = health.remaining(pixels(100_000, 0, 0), pixels(99_981, 10, 9))
        assert left[1] == 0  # 1e-4 of all
        assert math.isnan(left[2])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
            min_size=1,
            max_size=4,
        )
    )
    def test_measures_equal_a_loop_over_pixels(self, images):
        """images: of each its pixels, as predicted now and before; entropies follow from both."""
        flat = [pair for image in images for pair in image]
        now, before = ([pair[k] for pair in flat] for k in (0, 1))
        shares = [
            [sum(p == c for p in side) / len(side) for c in range(4)] for side in (now, before)
        ]
        apart = sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2
        counts = [np.bincount(side, minlength=4) for side in (now, before)]
        assert health.total_variation(*counts) == pytest.approx(apart, abs=1e-12)
        blocks = [np.array(image).T for image in images]
        same = sum(a == b for a, b in flat) / len(flat)
        assert health.agreement((a, b) for a, b in blocks) == same
        left = health.remaining(*counts)
        for c in range(4):
            if shares[1][c]:
                assert left[c] == pytest.approx(shares[0][c] / shares[1][c])
            else:
                assert math.isnan(left[c])
        entropy = [[(a * 7 + b) / 10 for a, b in image] for image in images]
        table, means = np.zeros((len(images), 4), int), np.full((len(images), 4), NAN)
        for i, image in enumerate(images):
            for c in range(4):
                mine = [e for e, (a, _) in zip(entropy[i], image, strict=True) if a == c]
                table[i, c] = len(mine)
                if mine:
                    means[i, c] = sum(mine) / len(mine)
        mean = sum(map(sum, entropy)) / len(flat)
        assert health.overall_entropy(table, means) == pytest.approx(mean)
        kept = [sum(a > b for a, b in flat if a == c) for c in range(4)]
        seen = counts[0].tolist()
        share = [k / n if n else NAN for k, n in zip(kept, seen, strict=True)]
        assert health.overall_kept(share, seen) == pytest.approx(sum(kept) / len(flat))


class TestVerdicts:
    BEFORE = Predictions(pixels(500, 400, 100), 1.0, 0.5)
    LOSSES = 2.0, 2.0  # on the source: now, and before the rounds

    def test_a_round_like_the_one_before_is_sound(self):
        now = Predictions(pixels(510, 400, 90), 0.9, 0.4)
        rows = health.check(now, self.BEFORE, 0.95, (2.03, 2.0), LIMITS, CLASSES)
        assert [row.measure for row in rows] == list(LIMITS)
        assert set(judged(rows).values()) == {"ok"}
        assert rows[0] == HealthRow(
            "kept", 0.4, 0.5, 0.1, "ok",
            "40.0% of the patches' pixels are kept to teach, after 50.0% in the round before",
        )  # fmt: skip
        assert rows[1] == HealthRow(
            "source", 2.03, 2.0, 2.04, "ok",
            "the loss on source images is 2.03 nats, 2 before the rounds",
        )  # fmt: skip
        assert rows[4].value == 0.9 and rows[4].previous == 1.0 and rows[4].limit == 0.3
        assert rows[5].value == pytest.approx(0.9) and "train (90 of 100)" in rows[5].sentence

    @pytest.mark.parametrize(
        ("now", "agreed", "warned"),
        [
            (Predictions(pixels(500, 400, 100), 1.0, 0.09), 1.0, "kept"),
            (Predictions(pixels(500, 400, 100), 1.0, 0.1), 1.0, None),
            (Predictions(pixels(701, 220, 79), 1.0, 0.5), 1.0, "histogram"),
            (Predictions(pixels(699, 220, 81), 1.0, 0.5), 1.0, None),
            (Predictions(pixels(500, 400, 100), 1.0, 0.5), 0.69, "agreement"),
            (Predictions(pixels(500, 400, 100), 1.0, 0.5), 0.7, None),
            (Predictions(pixels(500, 400, 100), 0.29, 0.5), 1.0, "entropy"),
            (Predictions(pixels(500, 400, 100), 0.3, 0.5), 1.0, None),
            (Predictions(pixels(596, 400, 4), 1.0, 0.5), 1.0, "classes"),
            (Predictions(pixels(595, 400, 5), 1.0, 0.5), 1.0, None),
            (Predictions(pixels(500, 400, 100), NAN, 0.5), 1.0, "entropy"),
        ],
    )
    def test_each_limit_is_passed_by_its_own_measure_alone_and_not_when_it_is_met(
        self, now, agreed, warned
    ):
        rows = health.check(now, self.BEFORE, agreed, self.LOSSES, LIMITS, CLASSES)
        assert [row.measure for row in rows if row.verdict == "warn"] == ([warned] * bool(warned))
        told = [row.sentence for row in rows if "(rounds.health." in row.sentence]
        assert len(told) == bool(warned)
        assert all(f"(rounds.health.{warned})" in sentence for sentence in told)

    @pytest.mark.parametrize(
        ("now", "begun", "verdict"),
        [
            (2.04, 2.0, "ok"),  # 1.02 times that
            (math.nextafter(2.04, 3), 2.0, "warn"),
            (0.5, 2.0, "ok"),
            (NAN, 2.0, "warn"),
            (2.0, NAN, "warn"),
            (NAN, NAN, "warn"),
            (0.0, 0.0, "ok"),
            (1e-9, 0.0, "warn"),
            (math.inf, 2.0, "warn"),
        ],
    )
    def test_a_loss_on_the_source_warns_above_its_limit_alone_and_where_it_is_no_number(
        self, now, begun, verdict
    ):
        rows = health.check(self.BEFORE, self.BEFORE, 1.0, (now, begun), LIMITS, CLASSES)
        assert judged(rows) == {**dict.fromkeys(LIMITS, "ok"), "source": verdict}
        (row,) = [row for row in rows if row.measure == "source"]
        assert (row.value, row.previous) == pytest.approx((now, begun), nan_ok=True)
        assert row.limit == pytest.approx(1.02 * begun, nan_ok=True)

    def test_a_loss_on_the_source_is_told_with_what_it_was_and_the_limit(self):
        limits = {**LIMITS, "source": 1.5}
        rows = health.check(self.BEFORE, self.BEFORE, 1.0, (0.75001, 0.5), limits, CLASSES)
        assert rows[1].sentence == (
            "the loss on source images is 0.75 nats, 0.5 before the rounds; the highest is 1.5 "
            "times that (rounds.health.source)"
        )

    def test_a_limit_that_is_null_is_measured_and_never_passed(self):
        now = Predictions(pixels(1000, 0, 0), 0.0, 0.0)
        rows = health.check(now, self.BEFORE, 0.0, (9.0, 2.0), OFF, CLASSES)
        assert set(judged(rows).values()) == {"ok"}
        assert all(math.isnan(row.limit) for row in rows)
        assert [row.value for row in rows] == pytest.approx([0, 9, 0.5, 0, 0, 0])
        # one of them alone
        for one in ("kept", "source"):
            limits = {**LIMITS, one: None}
            rows = health.check(now, self.BEFORE, 0.0, (9.0, 2.0), limits, CLASSES)
            assert judged(rows) == {**dict.fromkeys(LIMITS, "warn"), one: "ok"}

    def test_the_first_round_has_nothing_to_be_compared_with(self):
        now = Predictions(pixels(9, 1, 0), 0.8, 0.05)
        rows = health.check(now, None, None, None, LIMITS, CLASSES)
        assert judged(rows) == {"kept": "warn", "entropy": "ok"}
        assert all(math.isnan(row.previous) for row in rows)

    def test_the_result_makes_no_patches_and_so_keeps_nothing(self):
        now = Predictions(pixels(500, 400, 100), 1.0)
        rows = health.check(now, self.BEFORE, 1.0, self.LOSSES, LIMITS, CLASSES)
        assert list(judged(rows)) == ["source", "histogram", "agreement", "entropy", "classes"]

    def test_all_classes_that_were_lost_are_named_the_worst_first(self):
        now = Predictions(pixels(990, 10, 0), 1.0)
        rows = health.check(now, self.BEFORE, 1.0, self.LOSSES, LIMITS, CLASSES)
        (row,) = [row for row in rows if row.measure == "classes"]
        assert "train (0 of 100), car (10 of 400); the lowest share left is 5.0%" in row.sentence
        assert "road" not in row.sentence and row.value == 0


@pytest.fixture
def rounds(tmp_path, monkeypatch):
    """Write what networks say of 6 images of 8 x 12 and check one against another."""
    monkeypatch.chdir(tmp_path)

    def said(name, maps, entropy, kept=0.5, loss=0.5):
        counts = np.stack([np.bincount(m.ravel(), minlength=3) for m in maps])
        means = np.where(counts > 0, entropy, NAN)
        ids = [f"i{k}" for k in range(len(maps))]
        scores = scores_csv.Scores(ids, counts, means, means, means)
        scores_csv.write(f"{name}.csv", scores, CLASSES)
        predictions_h5.write(f"{name}.h5", ids, predictions_h5.thinned(maps))
        seen = counts.sum(0).tolist()
        rows = [
            thresholds_csv.ThresholdRow(c, 0.5, "", 1, 1, kept if n else NAN, n)
            for c, n in zip(CLASSES, seen, strict=True)
        ]
        thresholds_csv.write(f"{name}_thresholds.csv", rows)
        # of 40 labelled pixels; the third image has none
        rows = zip((30, 10, 0), (loss - 0.2, loss + 0.6, NAN), strict=True)
        rows = [source_csv.SourceRow(f"s{k}", *row) for k, row in enumerate(rows)]
        source_csv.write(f"{name}_source.csv", rows)

    def check(
        folder, now, before=None, on_collapse="warn", limits=LIMITS, result=False, first=None
    ):
        inputs = {"scores": f"{now}.csv"}
        if not result:
            inputs["thresholds"] = f"{now}_thresholds.csv"
        if before:
            inputs |= {
                "predictions": f"{now}.h5",
                "source": f"{now}_source.csv",
                "first_source": f"{first or before}_source.csv",
                "previous_scores": f"{before}.csv",
                "previous_predictions": f"{before}.h5",
                "previous_thresholds": f"{before}_thresholds.csv",
            }
        description = {
            "stage": "check_round", "key": "0" * 16, "title": "lse, seed 0, round 2: checking",
            "folder": folder, "contents": {}, "locations": {},
            "settings": {"classes": CLASSES, "limits": limits, "on_collapse": on_collapse},
            "inputs": {role: {"path": path} for role, path in inputs.items()},
        }  # fmt: skip
        job = Job(description, 1, 1)
        check_round.check(job)
        return job, health_csv.read(f"{folder}/health.csv")

    return said, check


def streets(seed):
    """Two thirds road, the rest cars and trains; a few pixels differ with the seed."""
    maps = np.zeros((6, 8, 12), np.uint8)
    maps[:, :, 8:10], maps[:, :, 10:] = 1, 2
    draw = np.random.default_rng(seed)
    return np.where(draw.random(maps.shape) < 0.03, draw.integers(0, 3, maps.shape), maps)


class TestStage:
    def test_a_network_that_calls_everything_road_is_told_on_every_count(self, rounds):
        said, check = rounds
        said("sound", streets(0).astype(np.uint8), 0.8)
        said("collapsed", np.zeros((6, 8, 12), np.uint8), 0.01, kept=0.02, loss=3.0)
        job, rows = check("checked", "collapsed", "sound")
        assert judged(rows) == dict.fromkeys(LIMITS, "warn")
        assert job.notes["warnings"] == [row.sentence for row in rows]
        share = (streets(0) == 0).mean()
        values = {row.measure: row.value for row in rows}
        assert values["kept"] == pytest.approx(0.02)
        assert values["source"] == pytest.approx(3.0)
        assert values["histogram"] == pytest.approx(1 - share)
        assert values["agreement"] == (streets(0)[:, ::4, ::4] == 0).mean()
        assert values["entropy"] == pytest.approx(0.01)
        assert values["classes"] == 0
        assert "train (0 of " in rows[-1].sentence and "car (0 of " in rows[-1].sentence

    def test_a_round_that_changes_little_has_no_warning(self, rounds, caplog):
        said, check = rounds
        said("one", streets(0).astype(np.uint8), 0.8)
        said("two", streets(1).astype(np.uint8), 0.7)
        with caplog.at_level(logging.INFO):
            job, rows = check("checked", "two", "one")
        assert set(judged(rows).values()) == {"ok"} and "warnings" not in job.notes
        assert all(row.sentence in caplog.text for row in rows)
        _, rows = check("first", "one")
        assert list(judged(rows)) == ["kept", "entropy"]

    def test_the_source_is_set_against_the_network_that_the_rounds_began_with(self, rounds):
        """Little by little is as far: no round is far from the one before."""
        said, check = rounds
        maps = streets(0).astype(np.uint8)
        for name, loss in (("first", 1.0), ("second", 1.015), ("third", 1.03)):
            said(name, maps, 0.8, loss=loss)
        _, rows = check("sound", "second", "first")
        assert judged(rows)["source"] == "ok"
        _, rows = check("checked", "third", "second", first="first")
        (row,) = [row for row in rows if row.verdict == "warn"]
        assert row.measure == "source"
        assert (row.value, row.previous, row.limit) == pytest.approx((1.03, 1.0, 1.02))

    def test_stop_is_one_error_with_measures_values_limits_and_what_to_do(self, rounds, tmp_path):
        said, check = rounds
        said("sound", streets(0).astype(np.uint8), 0.8)
        said("collapsed", np.zeros((6, 8, 12), np.uint8), 0.01, kept=0.02, loss=3.0)
        with pytest.raises(UserError) as told:
            check("checked", "collapsed", "sound", on_collapse="stop")
        message = str(told.value)
        assert message.startswith(
            "2.0% of the patches' pixels are kept to teach, after 50.0% in the round before; the "
            "lowest share is 10.0% (rounds.health.kept)\n"
        )
        for measure in LIMITS:
            assert f"(rounds.health.{measure})" in message
        for remedy in ("rounds.portions", "learning_rate", "rounds.on_collapse: warn"):
            assert remedy in message
        assert "this round is not trained" in message
        assert not (tmp_path / "checked" / "health.csv").exists()
        with pytest.raises(UserError, match="this report is not written"):
            check("checked", "collapsed", "sound", on_collapse="stop", result=True)
        # nothing to stop for
        _, rows = check("sound", "sound", "sound", on_collapse="stop")
        assert set(judged(rows).values()) == {"ok"}

    def test_predictions_of_other_images_are_never_compared(self, rounds):
        said, check = rounds
        said("six", streets(0).astype(np.uint8), 0.8)
        said("five", streets(0).astype(np.uint8)[:5], 0.8)
        with pytest.raises(ValueError, match=r"six\.h5 and five\.h5 are not of the same images"):
            check("checked", "six", "five")


class TestPlan:
    ROW = {"experiments": [{"name": "lse"}]}

    def stages(self, tmp_path, number=None, **changes):
        plan = make_plan(tmp_path, config.merge(self.ROW, changes))
        return plan, [r for r in plan.rounds if number in (None, r.number)]

    @pytest.mark.parametrize(
        "rounds",
        [
            {"on_collapse": "stop"},
            {"health": {"kept": 0.3}},
            {"health": {"source": 1.5}},
            {"health": {"histogram": None}},
            {"health": {"agreement": 0.9, "entropy": 0.5, "classes": None}},
        ],
    )
    def test_limits_and_what_follows_are_in_the_keys_of_the_checks_and_the_report_alone(
        self, tmp_path, rounds
    ):
        before = make_plan(tmp_path, self.ROW)
        after = make_plan(tmp_path, {**self.ROW, "rounds": rounds})
        changed = all_keys(before) ^ all_keys(after)
        assert {name for name, _ in changed} == {"check_round", "report"}
        assert len(changed) == 2 * (3 + 1 + 1)

    def test_a_check_reads_its_round_and_the_one_before(self, tmp_path):
        _, rounds = self.stages(tmp_path)
        first, second = rounds[1].stages, rounds[2].stages
        assert set(first["check_round"].inputs) == {"scores", "thresholds"}
        inputs = second["check_round"].inputs
        assert {role: (source.stage, source.file) for role, source in inputs.items()} == {
            "scores": (second["score_target"], "scores.csv"),
            "predictions": (second["score_target"], "predictions.h5"),
            "thresholds": (second["compute_thresholds"], "thresholds.csv"),
            "previous_scores": (first["score_target"], "scores.csv"),
            "previous_predictions": (first["score_target"], "predictions.h5"),
            "previous_thresholds": (first["compute_thresholds"], "thresholds.csv"),
            "source": (second["score_target"], "source.csv"),
            "first_source": (first["score_target"], "source.csv"),
        }

    @pytest.mark.parametrize("share", [0, 0.5])
    def test_all_checks_read_the_source_of_the_network_that_the_rounds_began_with(
        self, tmp_path, share
    ):
        _, rounds = self.stages(tmp_path, rounds={"target_statistics": share})
        first = rounds[1].stages
        # whose statistics are the target's, where the rounds begin with these
        begun = first["reestimate_batchnorm"] if share else rounds[0].stages["train_source"]
        assert first["score_target"].inputs["model"].stage is begun
        checks = [stage for r in rounds for stage in r.checks.values()]
        assert "first_source" not in checks[0].inputs and "source" not in checks[0].inputs
        scored = [r.stages["score_target"] for r in rounds[2:]]
        scored.append(rounds[-1].stages["score_result"])
        for stage, now in zip(checks[1:], scored, strict=True):
            assert stage.inputs["first_source"].stage is first["score_target"]
            assert stage.inputs["source"].stage is now
            assert {stage.inputs[k].file for k in ("source", "first_source")} == {"source.csv"}

    def test_other_labels_of_the_source_score_anew_and_its_working_size_in_training_does_not(
        self, tmp_path
    ):
        rows = [
            {"name": "lse", "source_training": {"weights": {"file": "w"}}},
            {"name": "map", "source_training": {"weights": {"file": "w"}},
             "data": {"source": {"map": {"bicycle": "ignore"}}}},
            {"name": "size", "source_training": {"weights": {"file": "w"}},
             "data": {"source_size": [32, 64]}},
        ]  # fmt: skip
        plan = make_plan(tmp_path, {"experiments": rows})
        lse, other, size = (r.stages["score_target"] for r in plan.rounds if r.number == 1)
        assert lse.inputs["model"].stage is other.inputs["model"].stage
        assert lse is size and lse.key != other.key
        changed = {k for k in lse.inputs if lse.inputs[k].path != other.inputs[k].path}
        assert changed == {"source_labels"}
        assert lse.settings["label_ids"]["33"] == 18 and other.settings["label_ids"]["33"] == 255
        assert set(lse.locations) == {"source", "target"}

    def test_the_result_is_scored_and_checked_against_the_network_before_it(self, tmp_path):
        plan, rounds = self.stages(tmp_path)
        last = rounds[-1].stages
        assert last["score_result"].inputs["model"].stage is last["retrain"]
        inputs = last["check_result"].inputs
        assert set(inputs) == {
            "scores", "predictions", "source", "previous_scores", "previous_predictions",
            "first_source",
        }  # fmt: skip
        assert inputs["scores"].stage is last["score_result"]
        assert inputs["previous_scores"].stage is last["score_target"]
        assert all("check_result" not in r.stages for r in rounds[:-1])
        assert (
            last["check_result"].title == "lse, seed 0, round 3: checking the result for collapse"
        )
        # the next round, once there is one, scores the same network
        more = make_plan(tmp_path, {**self.ROW, "rounds": {"portions": [0.3, 0.4, 0.5, 0.6]}})
        assert more.rounds[-1].stages["score_target"].key == last["score_result"].key

    def test_retraining_waits_for_its_check_and_the_report_reads_them_all(self, tmp_path):
        plan, rounds = self.stages(tmp_path)
        for r in rounds[1:]:
            retrain = r.stages["retrain"]
            assert retrain.after == [r.stages["check_round"], plan.check]
            assert "check_round" not in {source.stage.name for source in retrain.sources}
        checks = [stage for r in rounds for stage in r.checks.values()]
        assert len(checks) == 4
        assert [source.stage for source in plan.report.inputs["health"]] == checks
        assert plan.report.settings["checks"] == [
            ["lse", 0, 1, "check_round"], ["lse", 0, 2, "check_round"],
            ["lse", 0, 3, "check_round"], ["lse", 0, 3, "check_result"],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "row", [{"retraining": {"target_weight": 0}}, {"rounds": {"method": "batch_norm"}}]
    )
    def test_what_no_patch_teaches_has_no_check(self, tmp_path, row):
        plan = make_plan(tmp_path, {"experiments": [{"name": "control", **row}]})
        assert not any(r.checks for r in plan.rounds)
        assert not {"check_round"} & {name for name, _ in plan.stages}
        assert plan.report.inputs["health"] == []
        assert not any("score_result" in r.stages for r in plan.rounds)

    def test_an_experiment_may_have_limits_of_its_own_and_share_its_training(self, tmp_path):
        rows = [{"name": "lse"}, {"name": "strict", "rounds": {"on_collapse": "stop"}}]
        plan = make_plan(tmp_path, {"experiments": rows})
        one, other = ([r for r in plan.rounds if r.experiment == n][1] for n in ("lse", "strict"))
        assert one.stages["retrain"] is other.stages["retrain"]
        assert one.stages["check_round"] is not other.stages["check_round"]
        # one training serves both, and so waits for both
        assert one.stages["retrain"].after == [
            one.stages["check_round"], other.stages["check_round"], plan.check,
        ]  # fmt: skip

    def test_a_round_that_may_be_reverted_is_checked_before_anything_reads_it(self, tmp_path):
        plan, rounds = self.stages(tmp_path, rounds={"on_collapse": "revert"})
        for before, now in pairwise(rounds):
            s = now.stages
            begun = before.stages.get("accept_round") or before.stages["train_source"]
            scored = s.get("score_target") or begun
            assert s["retrain"].inputs["model"].stage is begun
            assert s["infer_patches"].inputs["model"].stage is begun
            assert s["select_images"].inputs["scores"].stage is scored
            assert s["score_result"].inputs["model"].stage is s["retrain"]
            inputs = s["accept_round"].inputs
            assert [h.stage for h in inputs["health"]] == [s["check_round"], s["check_result"]]
            whose = {role: inputs[role].stage for role in inputs if role != "health"}
            made, kept = s["score_result"], scored
            assert whose == {
                "model": s["retrain"], "scores": made, "predictions": made, "source": made,
                "previous_model": begun, "previous_scores": kept, "previous_predictions": kept,
                "previous_source": kept,
                **({"previous": begun} if before.number else {}),
            }  # fmt: skip
            assert s["evaluate"].inputs["model"].stage is s["accept_round"]
            # however many rounds were reverted
            first = s["check_result"].inputs["first_source"]
            assert first.stage is rounds[1].stages["score_target"] and first.file == "source.csv"
            assert s["check_result"].inputs["source"].stage is made
            # what its labels come from was checked when it was accepted
            assert set(s["check_round"].inputs) == {"scores", "thresholds"}
        # the first round is trained from the same labels as without it
        warn, _ = self.stages(tmp_path)
        assert rounds[1].stages["retrain"].key == warn.rounds[1].stages["retrain"].key

    def test_what_no_patch_teaches_has_nothing_to_revert(self, tmp_path):
        row = {"name": "control", "retraining": {"target_weight": 0}}
        changes = {"rounds": {"on_collapse": "revert"}, "experiments": [row]}
        plan = make_plan(tmp_path, changes)
        assert "accept_round" not in {name for name, _ in plan.stages}


class TestAccepting:
    """The stage that names the weights that go on."""

    ROLES = ("model", "scores", "predictions", "source")

    def accept(self, tmp_path, number, alarm, whose, before=None):
        made, inputs = tmp_path / f"made{number}", {}
        for prefix, text in (("", f"round {number}"), ("previous_", whose)):
            for role in self.ROLES:
                path = made / f"{prefix}{role}"
                path.parent.mkdir(exist_ok=True)
                path.write_text(f"{role} of {text}")
                inputs[prefix + role] = {"path": str(path)}
        rows = [health_csv.HealthRow("agreement", 0.4, NAN, 0.7, alarm, "40 % agree")]
        inputs["health"] = []
        for k, found in enumerate(([], rows)):
            health_csv.write(made / f"{k}.csv", found)
            inputs["health"].append({"path": str(made / f"{k}.csv")})
        if before:
            inputs["previous"] = {"path": f"{before}/accepted.csv"}
        folder = tmp_path / f"accepted{number}"
        job = Job(
            {"stage": "accept_round", "key": "0" * 16, "title": "lse: accepting",
             "folder": str(folder), "contents": {}, "locations": {},
             "settings": {"round": number}, "inputs": inputs},
            1, 1,
        )  # fmt: skip
        accept_round.accept(job)
        files = ("model.safetensors", "scores.csv", "predictions.h5", "source.csv")
        texts = [(folder / file).read_text() for file in files]
        return folder, job, texts, accepted_csv.read(folder / "accepted.csv")

    def test_a_round_without_an_alarm_goes_on_with_its_own_weights(self, tmp_path):
        _, job, texts, rows = self.accept(tmp_path, 1, "ok", "source")
        assert texts == [f"{r} of round 1" for r in self.ROLES]
        assert rows == [accepted_csv.AcceptedRow(1, 1, "")]
        assert "warnings" not in job.notes

    def test_a_round_with_an_alarm_goes_on_with_those_before_it_and_says_so(self, tmp_path):
        _, job, texts, rows = self.accept(tmp_path, 1, "warn", "source")
        assert texts == [f"{r} of source" for r in self.ROLES]
        assert rows == [accepted_csv.AcceptedRow(1, 0, "40 % agree")]
        assert job.notes["warnings"] == [
            "round 1 is not accepted, the source-only ones stay the weights: 40 % agree"
        ]

    def test_the_last_accepted_round_is_known_over_several_rejected_ones(self, tmp_path):
        first, *_ = self.accept(tmp_path, 1, "ok", "source")
        second, *_ = self.accept(tmp_path, 2, "warn", "round 1", first)
        third, job, texts, rows = self.accept(tmp_path, 3, "warn", "round 1", second)
        assert texts[0] == "model of round 1"
        assert [(row.round, row.weights_of) for row in rows] == [(1, 1), (2, 1), (3, 1)]
        assert job.notes["warnings"][0].startswith("round 3 is not accepted, those of round 1 stay")
        *_, rows = self.accept(tmp_path, 4, "ok", "round 1", third)
        assert rows[-1] == accepted_csv.AcceptedRow(4, 4, "")


class TestSettings:
    def test_every_limit_has_a_default_that_says_why(self):
        text = DEFAULT_CONFIG.read_text().split("  health:")[1].split("\nselection:")[0]
        limits = yaml.safe_load("health:" + text)["health"]
        assert list(limits.items()) == list(LIMITS.items())
        lines = text.splitlines()[1:]
        assert all(len(line.split("#")[1]) > 20 for line in lines if line.strip())

    def test_null_switches_one_limit_off_and_leaves_the_others(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text("rounds: {health: {kept: null}}")
        for overrides in (None, {"rounds": {"health": {"histogram": "null", "source": "null"}}}):
            rounds = config.load([DEFAULT_CONFIG, path], overrides).settings.rounds
            found = json.loads(rounds.health.model_dump_json())
            assert found["kept"] is None and found["agreement"] is not None
            assert (found["histogram"] is None) == bool(overrides)
            assert (found["source"] is None) == bool(overrides)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("health: {kept: 1.5}", "mine.yaml: rounds.health.kept: must be at most 1, not 1.5"),
            # it is no share: twice the loss is a limit
            ("health: {source: -2}", "mine.yaml: rounds.health.source: must be at least 0, not -2"),
            ("health: {keep: 0.5}", "rounds.health.keep: unknown key; did you mean 'kept'?"),
            (
                "on_collapse: halt",
                "rounds.on_collapse: must be one of warn, stop, revert, not 'halt'",
            ),
        ],
    )
    def test_a_mistake_is_named(self, tmp_path, text, expected):
        path = tmp_path / "mine.yaml"
        path.write_text(f"rounds: {{{text}}}")
        with pytest.raises(config.ConfigError) as told:
            config.load([DEFAULT_CONFIG, path])
        assert expected in str(told.value)
