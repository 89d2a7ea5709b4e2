"""The report's tables against numbers worked out by hand, its words, figures and page."""

import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scalewise.artifacts.health_csv import HealthRow
from scalewise.reporting import figures
from scalewise.reporting.page import build
from scalewise.reporting.provenance import records_behind, warnings_in
from scalewise.reporting.tables import (
    TEXT_WIDTH,
    Check,
    Evaluation,
    Missing,
    Project,
    class_lists,
    compare,
    headline,
    health_warnings,
    paired_differences,
    per_class_iou,
    sentences,
    summary,
    text_means,
    text_table,
)
from scalewise.taxonomy import CITYSCAPES

CLASSES = ["road", "car", "train"]
HOSTILE = "<script>alert('x')</script> & \"ü\" $\\frac$"


def evaluation(experiment, seed, round, iou, pictures=None):
    """Three classes; `iou` is one number for road and car, or one per class."""
    values = [iou, iou, math.nan] if isinstance(iou, int | float) else iou
    frame = pd.DataFrame(
        {"class": CLASSES, "iou": values, "intersection": 1, "union": 2, "pixels": [60, 40, 0]}
    )
    return Evaluation(experiment, seed, round, frame, pictures)


def project(*experiments, rounds=2, subsets=None, **changes):
    fields = {
        "name": "streets",
        "classes": CLASSES,
        "colors": [(128, 64, 128), (0, 0, 142), (0, 80, 100)],
        "subsets": subsets or {},
        "source": "synthetic streets",
        "target": "real streets",
        "validation": "20 labelled images",
        "experiments": experiments,
        "rounds": rounds,
    }
    return Project(**{**fields, **changes})


def experiment(name, role="method", **more):
    return {"name": name, "role": role, "description": "", "differences": {}, **more}


def rows_of(gains, *experiments, rounds=1):
    """Headline of experiments that start at 20 and gain `gains[name]`, one number per seed."""
    evaluations = [
        evaluation(name, seed, round, 20.0 + round / rounds * gain)
        for name, per_seed in gains.items()
        for seed, gain in enumerate(per_seed)
        for round in (0, rounds)
    ]
    return headline(summary(evaluations), project(*experiments, rounds=rounds))


def pictures(offset=0):
    label = np.zeros((4, 6, 8), dtype=np.uint8)
    label[:, :2] = 255
    return {
        "ids": ["a<b", "second", "third", "fourth"],
        "image": np.full((4, 6, 8, 3), 90, dtype=np.uint8),
        "label": label,
        "prediction": np.full((4, 6, 8), offset, dtype=np.uint8),
        "entropy": np.full((4, 6, 8), 0.25, dtype=np.float16),
    }


def whole_project():
    names = {"lse": "method", "zoom": "control", HOSTILE: ""}
    evaluations = [
        evaluation(
            name, seed, round, 20.0 + seed + 3 * round, pictures(round % 3) if seed == 0 else None
        )
        for name in names
        for seed in (0, 1)
        for round in (0, 1, 2)
    ]
    rows = [
        experiment("lse", description="taught by <scaled> patches"),
        experiment("zoom", "control", uses_target=False, differences={"patches.scale": "1"}),
        experiment(HOSTILE, "", description=HOSTILE, differences={"a<b": HOSTILE}),
    ]
    return project(*rows, name=HOSTILE, source=HOSTILE, subsets={"big": ["road"]}), evaluations


LSE = experiment("lse", uses_target=True)


def cityscapes(missing, others=48.0, few=8.0):
    """All 19 classes: `missing` for those that SYNTHIA lacks, `few` for the three more that the
    13 classes lack, `others` for the 13."""
    values = [
        missing if name in ("terrain", "truck", "train")
        else few if name in ("wall", "fence", "pole")
        else others
        for name in CITYSCAPES.names
    ]  # fmt: skip
    frame = pd.DataFrame(
        {"class": CITYSCAPES.names, "iou": values, "intersection": 1, "union": 2, "pixels": 5}
    )
    return frame


def cityscapes_project(*experiments, **changes):
    colors = {"classes": CITYSCAPES.names, "colors": CITYSCAPES.colors}
    return project(*experiments, subsets=CITYSCAPES.subsets, **colors, **changes)


ABLATION = experiment("focal_off", "ablation")


CEILING = experiment("top", "ceiling", rounds=0, uses_target=True)


def with_ceiling(gains, *experiments):
    """Evaluations and project of experiments that start at 20, beside a ceiling at 60 and 62."""
    evaluations = [
        evaluation(name, seed, round, 20.0 + round * gain)
        for name, per_seed in gains.items()
        for seed, gain in enumerate(per_seed)
        for round in (0, 1)
    ]
    evaluations += [evaluation("top", seed, 0, 60.0 + 2 * seed) for seed in (0, 1)]
    return evaluations, project(*experiments, CEILING, rounds=1)


def ablated(lse, ablation, **more):
    """Headline of the method and of one ablation, gains by seed after one round."""
    return rows_of({"lse": lse, "focal_off": ablation}, LSE, {**ABLATION, **more})


class TestPerClassIou:
    def test_an_absent_class_is_an_empty_field_in_csv_and_never_zero(self):
        table = per_class_iou([evaluation("lse", 0, 0, [50.123456, 25.0, math.nan])])
        assert table.to_csv(index=False).splitlines() == [
            "experiment,seed,round,class,iou,pixels",
            "lse,0,0,road,50.1235,60",
            "lse,0,0,car,25.0,40",
            "lse,0,0,train,,0",
        ]

    def test_experiments_keep_their_order_and_rounds_are_sorted(self):
        given = [("z", 1, 0), ("z", 0, 1), ("a", 0, 0), ("z", 0, 0)]
        table = per_class_iou([evaluation(*key, 1.0) for key in given])
        found = table[["experiment", "seed", "round"]].drop_duplicates().to_numpy().tolist()
        assert found == [["z", 0, 0], ["z", 0, 1], ["z", 1, 0], ["a", 0, 0]]

    def test_the_same_evaluation_twice_is_an_error_that_names_it(self):
        with pytest.raises(ValueError, match="'lse', seed 3, round 1 was given twice"):
            per_class_iou([evaluation("lse", 3, 1, 1.0), evaluation("lse", 3, 1, 2.0)])


class TestSummary:
    def test_an_absent_class_does_not_count_in_the_mean(self):
        table = summary([evaluation("lse", 0, 0, [60.0, 30.0, math.nan])])
        assert table["miou"].tolist() == [45.0]

    def test_the_gain_is_against_round_0_of_the_same_experiment_and_seed(self):
        table = summary(
            [
                evaluation("lse", 0, 0, 20.0),
                evaluation("lse", 0, 1, 26.0),
                evaluation("lse", 1, 0, 30.0),
                evaluation("lse", 1, 1, 29.0),
                evaluation("zoom", 0, 1, 40.0),
            ]
        )
        assert table["gain"].tolist()[:4] == [0.0, 6.0, 0.0, -1.0]
        assert math.isnan(table["gain"].iloc[4])

    def test_a_subset_has_its_own_mean_and_one_with_unknown_names_is_left_out(self):
        subsets = {"small": ["car", "train"], "other data": ["car", "tram"]}
        table = summary([evaluation("lse", 0, 0, [60.0, 30.0, math.nan])], subsets)
        assert table[["classes", "miou"]].to_numpy().tolist() == [["all", 45.0], ["small", 30.0]]

    @pytest.mark.parametrize(
        ("missing", "all_classes"), [(0.0, 648 / 19), (math.nan, 648 / 16)], ids=["zero", "nan"]
    )
    def test_a_mean_over_16_classes_is_never_divided_by_19(self, missing, all_classes):
        # the 13: 13 * 48 = 624; with wall, fence and pole at 8: 624 + 24 = 648
        table = summary([Evaluation("lse", 0, 0, cityscapes(missing))], CITYSCAPES.subsets)
        assert table.set_index("classes")["miou"].to_dict() == pytest.approx(
            {"all": all_classes, "16 classes": 648 / 16, "13 classes": 48.0}
        )

    def test_a_subset_called_all_is_refused(self):
        with pytest.raises(ValueError, match="rename it"):
            summary([evaluation("lse", 0, 0, 1.0)], {"all": ["car"]})


class TestHeadline:
    def test_the_last_round_is_the_result_and_not_the_best_one(self):
        evaluations = [evaluation("lse", 0, r, iou) for r, iou in enumerate([20.0, 35.0, 22.0])]
        row = headline(summary(evaluations), project(experiment("lse"))).iloc[0]
        assert (row["last_round"], row["miou"], row["gain"]) == (2, 22.0, 2.0)

    def test_mean_and_sample_sd_over_seeds(self):
        # gains 2, 4, 9: mean 5; squared deviations 9 + 1 + 16 = 26; sd = sqrt(26 / 2)
        row = rows_of({"lse": [2, 4, 9]}, experiment("lse")).iloc[0]
        assert row["gain"] == pytest.approx(5)
        assert row["gain_sd"] == pytest.approx(math.sqrt(13))
        assert row["miou_sd"] == pytest.approx(math.sqrt(13))
        assert (row["source_only"], row["source_only_sd"]) == (20, 0)
        assert (row["seeds"], row["seeds_up"]) == (3, 3)

    def test_one_seed_has_no_sd(self):
        row = rows_of({"lse": [2]}, experiment("lse")).iloc[0]
        assert math.isnan(row["gain_sd"]) and math.isnan(row["miou_sd"])

    def test_only_seeds_that_are_up_are_counted_as_up(self):
        row = rows_of({"lse": [2, 0, -1]}, experiment("lse")).iloc[0]
        assert row["seeds_up"] == 1

    def test_a_seed_without_the_last_round_does_not_count(self):
        evaluations = [
            evaluation("lse", 0, 0, 20.0),
            evaluation("lse", 0, 1, 24.0),
            evaluation("lse", 1, 0, 90.0),
        ]
        row = headline(summary(evaluations), project(experiment("lse"), rounds=1)).iloc[0]
        assert (row["seeds"], row["source_only"], row["miou"]) == (1, 20, 24)

    def test_experiments_come_in_the_projects_order_also_those_without_evaluations(self):
        rows = rows_of({"b": [1], "a": [1]}, *map(experiment, ["a", "never", "b"]))
        assert rows["experiment"].tolist() == ["a", "never", "b"]
        assert rows["last_round"].tolist() == [1, -1, 1]
        assert rows["seeds"].tolist() == [1, 0, 1]

    def test_the_gain_over_controls_is_against_the_one_that_gained_most(self):
        rows = rows_of(
            {"lse": [4], "weak": [1], "strong": [3]},
            experiment("lse"),
            experiment("weak", "control"),
            experiment("strong", "control"),
        )
        assert rows["best_control"].tolist() == ["strong", "", ""]
        assert rows["over_control"].iloc[0] == pytest.approx(1)
        assert rows["over_control"].iloc[1:].isna().all()

    def test_the_best_control_that_uses_no_target_image_has_a_column_of_its_own(self):
        rows = rows_of(
            {"lse": [4], "strong": [3], "weak": [1], "weaker": [0.5]},
            experiment("lse"),
            experiment("strong", "control", uses_target=True),
            experiment("weak", "control", uses_target=False),
            experiment("weaker", "control", uses_target=False),
        )
        assert rows["free_control"].tolist() == ["weak", "", "", ""]
        assert rows["over_free_control"].iloc[0] == pytest.approx(3)
        assert rows["over_free_control"].iloc[1:].isna().all()

    def test_a_control_without_all_its_rounds_is_not_compared(self):
        rows = rows_of(
            {"lse": [4], "zoom": [9]}, experiment("lse"), experiment("zoom", "control", rounds=3)
        )
        assert math.isnan(rows["over_control"].iloc[0])

    def test_the_headline_is_over_the_classes_that_the_project_reports_over(self):
        evaluations = [
            Evaluation("lse", 0, 0, cityscapes(0.0, others=40.0)),
            Evaluation("lse", 0, 1, cityscapes(0.0, others=48.0)),
        ]
        table = summary(evaluations, CITYSCAPES.subsets)
        found = [
            headline(table, cityscapes_project(LSE, rounds=1, headline=classes)).iloc[0]["gain"]
            for classes in ("all", "16 classes", "13 classes")
        ]
        assert found == pytest.approx([13 * 8 / 19, 13 * 8 / 16, 8.0])

    def test_an_ablation_is_paired_with_the_method_seed_by_seed(self):
        # differences -1, 1, -3: mean -1; squared deviations 0 + 4 + 4 = 8; sd = sqrt(8 / 2)
        row = ablated([2, 4, 9], [1, 5, 6]).iloc[1]
        assert row["reference"] == "lse"
        assert row["over_reference"] == pytest.approx(-1)
        assert row["over_reference_sd"] == pytest.approx(2)
        assert (row["pairs"], row["pairs_up"]) == (3, 1)

    def test_a_seed_that_one_of_the_two_lacks_makes_no_pair(self):
        row = ablated([2, 4, 9], [1, 5]).iloc[1]
        assert (row["over_reference"], row["pairs"], row["pairs_up"]) == (0, 2, 1)
        row = ablated([2], [1, 5]).iloc[1]
        assert (row["over_reference"], row["pairs"]) == (-1, 1)
        assert math.isnan(row["over_reference_sd"])

    def test_the_pairs_are_those_of_the_last_rounds_wherever_the_two_started(self):
        evaluations = [
            evaluation(name, 0, round, iou)
            for name, path in (("lse", [20, 30, 26]), ("focal_off", [22, 21, 25]))
            for round, iou in enumerate(map(float, path))
        ]
        described = project(LSE, ABLATION)
        table = summary(evaluations)
        assert headline(table, described)["over_reference"].iloc[1] == -1
        found = paired_differences(table, described)
        assert found.to_dict("records") == [
            {"experiment": "focal_off", "seed": 0, "difference": -1.0}
        ]

    def test_an_ablation_is_no_control_and_is_not_set_against_one(self):
        rows = rows_of(
            {"lse": [4], "zoom": [1], "focal_off": [9]},
            LSE,
            experiment("zoom", "control"),
            ABLATION,
        )
        assert rows["best_control"].tolist() == ["zoom", "", ""]
        assert rows["over_control"].isna().tolist() == [False, True, True]
        assert rows["reference"].tolist() == ["", "", "lse"]

    def test_a_ceiling_is_no_control_and_no_method_and_is_set_against_none(self):
        zoom = experiment("zoom", "control")
        evaluations, described = with_ceiling({"zoom": [1, 1], "lse": [4, 4]}, zoom, LSE)
        rows = headline(summary(evaluations), described)
        assert rows["best_control"].tolist() == ["", "zoom", ""]
        assert rows["over_control"].iloc[1] == 3 and rows["over_control"].isna().sum() == 2
        top = rows.iloc[2]
        assert (top["last_round"], top["rounds"], top["miou"], top["seeds"]) == (0, 0, 61, 2)
        assert math.isnan(top["gain"]) and top["reference"] == ""
        # nor is it what ablations are set against
        evaluations, described = with_ceiling({"focal_off": [4, 4]}, ABLATION)
        rows = headline(summary(evaluations), described)
        assert rows["reference"].tolist() == ["", ""] and rows["pairs"].tolist() == [0, 0]

    def test_without_all_rounds_of_both_there_is_no_pair(self):
        row = ablated([4], [5], rounds=3).iloc[1]
        assert row["pairs"] == 0 and math.isnan(row["over_reference"])

    def test_an_experiment_that_the_project_lacks_is_an_error(self):
        with pytest.raises(ValueError, match="'lse' was evaluated but is not in the project"):
            headline(summary([evaluation("lse", 0, 0, 1.0)]), project(experiment("other")))


class TestCompare:
    @pytest.mark.parametrize(
        ("control", "sds", "verdict"),
        [
            (4.6, (0.5, 0.6), "as much"),  # 0.5 apart, margin 0.6
            (4.6, (0.2, 0.3), "more"),
            (3.4, (0.2, 0.3), "less"),
            (3.4, (0.2, 0.9), "as much"),
            (4.5, (math.nan, math.nan), "as much"),  # 0.4 apart, margin 0.5 for one seed
            (4.6, (math.nan, math.nan), "more"),  # exactly the margin
            (4.5, (0.1, math.nan), "as much"),
            (4.1, (0.0, 0.0), "as much"),
        ],
    )
    def test_a_difference_below_the_scatter_is_no_difference(self, control, sds, verdict):
        rows = [{"gain": gain, "gain_sd": sd} for gain, sd in zip((4.1, control), sds, strict=True)]
        assert compare(*rows) == verdict


class TestSentences:
    ZOOM = experiment("zoom", "control", uses_target=False)

    def test_a_gain_is_said_with_its_seeds_and_scatter(self):
        said = sentences(rows_of({"lse": [3.6, 4.1, 4.6]}, experiment("lse", "")))
        assert said == [
            "lse ends 4.1 mIoU above source-only (mean of 3 seeds, sd 0.5; 3 of 3 seeds up)."
        ]

    def test_an_experiment_that_ends_below_source_only_harmed(self):
        said = sentences(rows_of({"lse": [-3, -2, -4]}, experiment("lse", "")))
        assert said[0] == (
            "lse harmed: it ends 3.0 mIoU below source-only "
            "(mean of 3 seeds, sd 1.0; 0 of 3 seeds up)."
        )

    def test_a_gain_within_the_scatter_of_the_seeds_is_called_that(self):
        said = sentences(rows_of({"lse": [-1, 0, 2]}, experiment("lse", "")))
        assert said[0].endswith("1 of 3 seeds up), but the seeds scatter more than that.")

    def test_a_gain_that_rounds_to_nothing_is_level(self):
        said = sentences(rows_of({"lse": [0.04, -0.04]}, experiment("lse", "")))
        assert said[0].startswith("lse ends level with source-only (mean of 2 seeds")

    def test_a_control_without_target_images_that_gains_as_much_takes_the_proof_away(self):
        rows = rows_of({"lse": [3.6, 4.1, 4.6], "zoom": [4, 4.6, 5.2]}, LSE, self.ZOOM)
        assert sentences(rows)[2:] == [
            "zoom, which trains on no target image, gains as much (4.6), within the scatter of "
            "the seeds: here the gain of lse does not show that the target images helped."
        ]

    def test_controls_that_may_use_the_target_are_not_said_to_be_free_of_it(self):
        rows = rows_of({"lse": [4, 4.2], "norm": [6, 6.2]}, LSE, experiment("norm", "control"))
        assert sentences(rows)[2:] == [
            "The control norm gains more (6.1): here the gain of lse does not show that its own "
            "steps helped."
        ]

    def test_several_controls_share_one_sentence(self):
        rows = rows_of(
            {"lse": [4, 4.2], "zoom": [6, 6.2], "more": [4, 4.2]},
            LSE,
            self.ZOOM,
            experiment("more", "control", uses_target=False),
        )
        assert sentences(rows)[3] == (
            "zoom (6.1) and more (4.1), which train on no target image, gain as much or more: "
            "here the gain of lse does not show that the target images helped."
        )

    def test_a_lead_over_the_best_control_is_given_with_the_scatter(self):
        rows = rows_of({"lse": [3.6, 4.1, 4.6], "zoom": [1.9, 2.0, 2.1]}, LSE, self.ZOOM)
        assert sentences(rows)[2:] == [
            "lse gains 2.1 more than the best control, zoom (2.0), which trains on no target "
            "image, more than the seeds scatter (sd 0.5)."
        ]

    def test_a_method_that_harmed_is_set_against_a_control_that_gained(self):
        rows = rows_of({"lse": [-3, -2], "zoom": [4, 5]}, LSE, self.ZOOM)
        assert sentences(rows)[2:] == ["lse gained nothing, while the control zoom gained 4.5."]

    def test_different_starts_are_pointed_out(self):
        evaluations = [
            evaluation(name, seed, round, start + seed + 5.0 * round)
            for name, start in (("lse", 20.0), ("zoom", 27.0))
            for seed in (0, 1)
            for round in (0, 1)
        ]
        said = sentences(headline(summary(evaluations), project(LSE, self.ZOOM, rounds=1)))
        assert said[-1] == (
            "lse and zoom do not start from the same mean (source-only 20.5 and 27.5 mIoU): "
            "compare where they end as well (25.5 and 32.5)."
        )

    def test_without_a_control_a_gain_proves_nothing(self):
        said = sentences(rows_of({"lse": [4, 5]}, LSE))
        assert said[1].startswith("No control was run: nothing here shows that the target images")

    def test_a_ceiling_is_said_to_be_taught_by_labels_of_the_target_and_compared_with_none(self):
        evaluations, described = with_ceiling({"lse": [4, 5], "zoom": [1, 1]}, LSE, self.ZOOM)
        said = sentences(headline(summary(evaluations), described))
        assert said[2] == "The ceiling top, trained on the target's labels, is at 61.0 mIoU."
        assert sum("top" in sentence for sentence in said) == 1
        assert "the best control, zoom (1.0)" in said[3]
        # it takes no control's place
        evaluations, described = with_ceiling({"lse": [4, 5]}, LSE)
        said = sentences(headline(summary(evaluations), described))
        assert said[2].startswith("No control was run") and len(said) == 3

    def test_a_ceiling_that_is_not_there_yet_has_not_been_evaluated(self):
        said = sentences(headline(summary([]), project(CEILING)))
        assert said == ["top has not been evaluated yet."]

    def test_a_control_without_rounds_is_not_said_to_lack_its_result(self):
        longer = experiment("longer", "control", rounds=0)
        evaluations = [evaluation("lse", 0, round, 20.0 + round) for round in (0, 1)]
        evaluations.append(evaluation("longer", 0, 0, 23.0))
        said = sentences(headline(summary(evaluations), project(LSE, longer, rounds=1)))
        assert said[:2] == [
            "lse ends 1.0 mIoU above source-only (one seed).",
            "The control longer has a source-only result, 23.0 mIoU.",
        ]
        assert not any("no final result" in sentence for sentence in said)

    def test_one_seed_proves_little(self):
        rows = rows_of({"lse": [4], "zoom": [4.4]}, LSE, self.ZOOM)
        said = sentences(rows)
        assert said[0] == "lse ends 4.0 mIoU above source-only (one seed)."
        assert "gains as much (4.4)" in said[2]
        assert said[-1].startswith("One seed proves little: run at least three")

    def test_the_single_seed_is_named_where_others_have_more(self):
        rows = rows_of({"lse": [4], "zoom": [1, 2]}, LSE, self.ZOOM)
        assert sentences(rows)[-1].startswith("One seed proves little (lse):")

    def test_an_unfinished_experiment_is_called_that_and_not_compared(self):
        evaluations = [
            evaluation(name, 0, round, 20.0 + round)
            for name, last in (("lse", 2), ("zoom", 1))
            for round in range(last + 1)
        ]
        said = sentences(headline(summary(evaluations), project(LSE, self.ZOOM)))
        assert said[1] == (
            "The control zoom is unfinished: after round 1 of 2 it stands 1.0 mIoU above "
            "source-only (one seed)."
        )
        assert said[2] == "zoom has no final result yet and has not been compared."
        assert not any("gains" in sentence for sentence in said)

    def test_what_was_not_evaluated_or_only_at_round_0_is_said(self):
        evaluations = [evaluation("lse", 0, 0, 20.0)]
        said = sentences(headline(summary(evaluations), project(LSE, experiment("new", ""))))
        assert said == [
            "lse has a source-only result, 20.0 mIoU; none of its 2 rounds is there.",
            "new has not been evaluated yet.",
        ]


class TestSentencesOfAblations:
    @pytest.mark.parametrize(
        ("ablation", "said"),
        [
            # differences -0.8, -0.3, 0.2: sd 0.5
            (
                [3.2, 3.7, 4.2],
                "ends 0.3 mIoU below lse (mean of 3 paired seeds, sd 0.5: within their scatter).",
            ),
            (
                [6, 6.2, 6.4],
                "ends 2.2 mIoU above lse (mean of 3 paired seeds, sd 0.2; higher in 3 of 3).",
            ),
            ([4, 4, 4], "ends level with lse (mean of 3 paired seeds, sd 0.0; higher in 0 of 3)."),
            ([1.5], "ends 2.5 mIoU below lse (one paired seed)."),
        ],
    )
    def test_an_ablation_has_one_line_that_sets_it_against_the_method(self, ablation, said):
        found = sentences(ablated([4, 4, 4], ablation))
        assert [s for s in found if "focal_off" in s][0] == f"focal_off {said}"

    def test_neither_a_gain_nor_a_control_is_spoken_of(self):
        rows = rows_of(
            {"lse": [4, 5], "zoom": [9, 9], "focal_off": [3, 3]},
            LSE,
            experiment("zoom", "control"),
            ABLATION,
        )
        assert sum("focal_off" in sentence for sentence in sentences(rows)) == 1

    def test_what_cannot_be_compared_yet_is_said(self):
        unfinished = sentences(ablated([4, 4], [5, 5], rounds=3))
        assert "focal_off is unfinished: it has had 1 of 3 rounds." in unfinished
        assert "focal_off has not been evaluated yet." in sentences(ablated([4, 4], []))
        alone = sentences(ablated([], [5, 6]))
        assert alone[1] == (
            "focal_off ends at 25.5 mIoU; there is no final result of lse to compare it with."
        )
        none = sentences(rows_of({"focal_off": [5, 6]}, ABLATION))
        assert none == ["focal_off ends at 25.5 mIoU; there is no method to compare it with."]


class TestTextTable:
    def test_the_numbers_stand_in_their_columns(self):
        rows = rows_of({"lse": [3.6, 4.1, 4.6], "zoom": [4.6]}, LSE, experiment("zoom", "control"))
        lines = text_table(rows, "16 classes").splitlines()
        found = [" ".join(line.split()) for line in lines]
        assert found[3:5] == [
            "lse 3 20.0 (0.0) 1: 24.1 (0.5) +4.1 (0.5) 3/3 -0.5",
            "zoom 1 20.0 1: 24.6 +4.6 1/1 -",
        ]
        assert found[-2].startswith("mIoU in percent over 16 classes: mean over seeds")
        assert found[-1] == "over best control: gain minus that of zoom"

    def test_a_ceiling_has_its_number_where_others_begin_and_a_note(self):
        evaluations, described = with_ceiling({"lse": [4, 4]}, LSE)
        lines = text_table(headline(summary(evaluations), described)).splitlines()
        found = [" ".join(line.split()) for line in lines]
        assert found[4] == "top 2 61.0 (1.4) - - - -"
        assert found[-1] == "top: trained on the target's labels; nothing is adapted"
        assert len(found) == 2 + 1 + 2 + 1 + 2
        assert "trained on" not in text_table(rows_of({"lse": [4, 4]}, LSE))

    def test_ablations_have_a_column_of_their_own(self):
        lines = text_table(ablated([2, 4, 9], [1, 5, 6])).splitlines()
        assert lines[0].endswith("over") and lines[1].endswith("lse")
        found = [" ".join(line.split()) for line in lines]
        assert found[3:5] == [
            "lse 3 20.0 (0.0) 1: 25.0 (3.6) +5.0 (3.6) 3/3 - -",
            "focal_off 3 20.0 (0.0) 1: 24.0 (2.6) +4.0 (2.6) 3/3 - -1.0 (2.0) 1/3",
        ]

    def test_no_line_is_wider_than_a_terminal_even_with_many_rows_and_long_names(self):
        names = ["a_very_long_name_" * 5, "画像" * 40, *(f"ablation_{i}" * 5 for i in range(23))]
        roles = ["method", "control", *["ablation"] * 23]
        rows = rows_of(
            {name: [-11.5, 40, 3 * i] for i, name in enumerate(names)},
            *map(experiment, names, roles),
            rounds=10,
        )
        lines = text_table(rows, "16 classes").splitlines()
        wide = sum(c in "画像" for c in lines[4])
        assert max(map(len, lines)) <= TEXT_WIDTH and len(lines[4]) + wide <= TEXT_WIDTH
        assert len(lines) == 2 + 1 + 25 + 1 + 3
        assert all("…" in line for line in lines[3:28])

    def test_it_can_be_written_before_anything_was_evaluated(self):
        assert "lse" in text_table(headline(summary([]), project(LSE)))


class TestTextMeans:
    def test_each_mean_stands_under_its_name_with_its_classes_below(self):
        evaluations = [
            Evaluation("lse", seed, round, cityscapes(0.0, others=40.0 + 8 * round + seed))
            for seed in (0, 2)
            for round in (0, 1)
        ]
        described = cityscapes_project(
            LSE, experiment("new"), rounds=1, headline="16 classes", untaught=["terrain", "train"]
        )
        text = text_means(summary(evaluations, CITYSCAPES.subsets), described)
        found = [re.sub(" +", " ", line) for line in text.splitlines()]
        # last rounds: the 13 at 48 and 50; sums 648 and 674 over 19 and over 16; sd of two values
        # is their difference / sqrt(2): 26 / 19 / 1.414 = 1.0, 26 / 16 / 1.414 = 1.1, 1.4
        assert found[0] == "experiment 19 classes 16 classes 13 classes"
        assert found[2:4] == ["lse 34.8 (1.0) 41.3 (1.1) 49.0 (1.4)", "new - - -"]
        assert found[-4:] == [
            "19 classes: all classes of the project",
            "16 classes: all but terrain, truck and train",
            "13 classes: all but wall, fence, pole, terrain, truck and train",
            "never taught: terrain and train are labelled in the validation set and not in the "
            "source",
        ]

    def test_a_small_subset_is_listed_by_its_own_names(self):
        assert class_lists(project(LSE, subsets={"big": ["road"]}))[1] == "big: road"

    def test_without_subsets_there_is_nothing_to_add(self):
        assert text_means(summary([evaluation("lse", 0, 0, 20.0)]), project(LSE)) == ""

    def test_many_subsets_are_no_wider_than_a_terminal(self):
        subsets = {f"a subset with a long name {i}": ["road"] for i in range(8)}
        evaluations = [evaluation("lse", 0, round, 20.0) for round in (0, 2)]
        text = text_means(summary(evaluations, subsets), project(LSE, subsets=subsets))
        assert max(map(len, text.splitlines())) <= TEXT_WIDTH
        assert len(re.findall(r"20\.0", text)) == 9


@pytest.fixture(scope="module")
def drawn():
    described, evaluations = whole_project()
    table, classes = summary(evaluations), per_class_iou(evaluations)
    return [
        [
            figures.miou_over_rounds(table, described.experiments).svg,
            figures.per_class_bars(classes, described.experiments).svg,
        ]
        for _ in range(2)
    ]


class TestFigures:
    def test_the_same_numbers_give_the_same_bytes(self, drawn):
        assert drawn[0] == drawn[1]

    def test_a_figure_is_an_svg_that_names_its_axes_and_experiments(self, drawn):
        for svg, axis in zip(drawn[0], ["mIoU (%)", "IoU (%)"], strict=True):
            texts = set(ElementTree.parse(io.StringIO(svg)).getroot().itertext())
            assert {axis, "lse", "zoom", HOSTILE} <= texts

    def test_a_figure_is_a_png_too_the_same_for_the_same_numbers(self):
        described, evaluations = whole_project()
        pngs = [
            figures.miou_over_rounds(summary(evaluations), described.experiments).png
            for _ in range(2)
        ]
        assert pngs[0] == pngs[1] and pngs[0].startswith(b"\x89PNG")
        corner = Image.open(io.BytesIO(pngs[0])).convert("RGB").getpixel((0, 0))
        assert corner == (255, 255, 255)

    def test_a_figure_has_no_date_and_refers_to_nothing_outside(self, drawn):
        for svg in drawn[0]:
            assert "<metadata" not in svg and "date" not in svg.lower()
            assert not re.search(r"""(href|src)="(?!#)""", svg)

    def test_a_name_that_would_crowd_out_the_figure_is_shortened(self):
        table = summary([evaluation("x" * 60, 0, 0, 20.0)])
        svg = figures.miou_over_rounds(table, [experiment("x" * 60)]).svg
        assert ">" + "x" * 41 + "…<" in svg and "x" * 42 not in svg

    def test_names_that_start_with_an_underscore_are_in_the_legend(self):
        table = summary([evaluation("_lse", 0, 0, 20.0)])
        assert ">_lse<" in figures.miou_over_rounds(table, [experiment("_lse")]).svg

    def test_49_experiments_can_be_told_apart_by_colour_and_marker(self):
        assert len({figures.look(i) for i in range(49)}) == 49

    def test_seven_experiments_differ_in_colour_wherever_ablations_stand_between(self):
        rows = [experiment(f"e{i}", "ablation" if i % 2 else "method") for i in range(14)]
        looks = figures.looks(rows)
        assert len({looks[name][0] for name in figures.with_bars(rows)}) == 7
        assert len(set(looks.values())) == 14

    def test_ablations_have_a_figure_of_their_own_and_are_in_no_other(self):
        evaluations = [
            evaluation(name, seed, round, 20.0 + seed + round)
            for name in ("lse", "focal_off")
            for seed in (0, 1)
            for round in (0, 1, 2)
        ]
        described, table = project(LSE, ABLATION), summary(evaluations)
        rows = described.experiments
        pairs = paired_differences(table, described)
        own = figures.ablations(pairs, rows, "lse").svg
        assert ">focal_off<" in own and "above or below lse" in own
        for other in (
            figures.miou_over_rounds(table, rows),
            figures.per_class_bars(per_class_iou(evaluations), rows),
        ):
            assert ">lse<" in other.svg and "focal_off" not in other.svg

    @pytest.mark.parametrize(("role", "crosses"), [("ceiling", 1), ("control", 0), ("", 0)])
    def test_a_ceiling_is_a_dotted_line_across_the_rounds(self, role, crosses):
        evaluations, described = with_ceiling({"lse": [4, 5]}, LSE)
        rows = [LSE, {**CEILING, "role": role}]
        svg = figures.miou_over_rounds(summary(evaluations), rows).svg
        dotted = re.findall(
            r'<path d="M ([\d.]+) ([\d.]+)\s+L ([\d.]+) ([\d.]+)\s*"[^>]*stroke-dasharray: '
            r"1\.2,2\.4",
            svg,
        )
        assert len(dotted) == crosses
        for left, one, right, other in dotted:
            assert one == other and float(right) - float(left) > 200

    def test_no_more_than_seven_experiments_have_bars_beside_each_other(self):
        rows = [experiment(f"e{i}", "ablation" if i == 1 else "") for i in range(10)]
        assert figures.with_bars(rows) == ["e0", "e2", "e3", "e4", "e5", "e6", "e7"]


MISSING = (
    Missing("lse", 2, 0, "failed", "out of <memory>"),
    Missing("lse", 2, 1, "still to run", ""),
)


@pytest.fixture(scope="module")
def page():
    described, evaluations = whole_project()
    return build(described, evaluations, MISSING, {"Versions": "torch <2>"})


def row_by_round(page, name):
    """The row of a class in the first of the tables that show it round by round."""
    page = page[page.index('id="rounds"') :]
    return re.search(rf'<span class="name">{name}</span></th>(.*?)</tr>', page, re.DOTALL)[1]


class TestPage:
    def test_the_same_arguments_give_the_same_text(self, page):
        described, evaluations = whole_project()
        again = build(described, evaluations[::-1], MISSING, {"Versions": "torch <2>"})
        assert again == page

    def test_nothing_is_fetched_from_anywhere(self, page):
        assert "http:" not in page and "https:" not in page
        targets = re.findall(r"""(?:src|href)=["']?([^"'> ]*)""", page)
        assert targets and all(t.startswith(("data:image/png;base64,", "#")) for t in targets)
        assert not re.search(r"url\((?!#)|@import|<link", page)

    def test_hostile_names_are_text(self, page):
        assert page.count("<script>") == 1 and "alert('x')</script>" not in page
        assert "&lt;script&gt;" in page
        assert "out of &lt;memory&gt;" in page and "torch &lt;2&gt;" in page
        assert 'alt="a&lt;b: label"' in page

    def test_missing_evaluations_are_counted_and_listed(self, page):
        assert "2 of 20 evaluations are missing:" in page
        assert "lse, seed 2, round 0: failed – out of" in page
        assert "lse, seed 2, round 1: still to run" in page

    def test_nothing_is_said_to_be_missing_when_nothing_is(self):
        described, evaluations = whole_project()
        assert "missing:" not in build(described, evaluations, [], {})

    def test_a_class_that_does_not_occur_is_a_dash_with_an_explanation(self, page):
        row = row_by_round(page, "train")
        assert re.findall(r"<td>([^<]*)<", row) == ["0.0", "–", "–", "–"]
        assert "–: the class occurs neither in the labels nor in the" in page

    def test_changes_are_given_beside_the_class_and_paired_by_seed(self, page):
        row = row_by_round(page, "road")
        assert re.findall(r"<td>([^<]*)<", row) == ["60.0", "20.5", "23.5", "26.5"]
        assert re.findall(r'change (\w+)">([^<]*)<', row) == [("up2", "+3.0"), ("up3", "+6.0")]

    def test_a_round_that_was_not_evaluated_is_not_shown_as_a_number(self):
        evaluations = [evaluation("lse", 0, 0, 20.0), evaluation("lse", 0, 1, 24.0)]
        page = build(project(LSE), evaluations, [Missing("lse", 0, 2, "running", "")], {})
        row = row_by_round(page, "road")
        assert re.findall(r"<td>([^<]*)<", row) == ["60.0", "20.0", "24.0", "n/a"]
        assert "1 of 3 evaluations is missing:" in page

    def test_the_means_over_subsets_stand_under_their_names(self, page):
        table = page[page.index("last round, mean IoU over") :]
        heads = re.findall(r'<th scope="col">([^<]*)</th>', table[: table.index("</thead>")])
        assert heads == ["3 classes", "big"]
        row = re.search(r'<span class="name">lse</span></th>(.*?)</tr>', table, re.DOTALL)[1]
        assert re.findall(r"<td>([^<]*)<", row) == ["26.5", "26.5"]
        assert "<dt>big</dt><dd>road</dd>" in page

    def test_the_first_table_is_over_the_headline_classes(self):
        evaluations = [
            Evaluation("lse", 0, round, cityscapes(0.0, others=40.0 + 8 * round))
            for round in (0, 1)
        ]
        described = cityscapes_project(LSE, rounds=1, headline="16 classes", untaught=["train"])
        page = build(described, evaluations, [], {})
        assert "Summary: mean IoU over 16 classes" in page
        row = re.search(r'<span class="name">lse</span>(.*?)</tr>', page, re.DOTALL)[1]
        assert re.findall(r"<td[^>]*>([\d.]+)<", row) == ["1", "34.0", "40.5"]
        assert "train is labelled in the validation set and not in the source" in page

    def test_the_number_of_a_ceiling_is_said_to_be_of_target_labels(self):
        evaluations, described = with_ceiling({"lse": [4, 4]}, LSE)
        page = build(described, evaluations, [], {})
        rows = {
            name: re.search(rf'<span class="name">{name}</span>(.*?)</tr>', page, re.DOTALL)[1]
            for name in ("lse", "top")
        }
        # seeds, over the best control, round 0, round 1
        assert re.findall(r"<td>([^<]+)<", rows["top"]) == ["2", "–", "61.0", "–"]
        assert re.search(r"<td>61\.0<[^\n]*<small>target labels</small></td>", rows["top"])
        assert "target labels" not in rows["lse"]
        assert page.count("target labels") == 2  # and over its own classes

    def test_an_ablation_is_set_against_the_method_in_the_summary_table(self):
        evaluations = [
            evaluation(name, seed, 1, 20.0 + gain)
            for name, gains in (("lse", [2, 4, 9]), ("focal_off", [1, 5, 6]))
            for seed, gain in enumerate(gains)
        ]
        page = build(project(LSE, ABLATION, rounds=1), evaluations, [], {})
        assert '<th scope="col">over<br>lse</th>' in page
        row = re.search(r'<span class="name">focal_<wbr>off</span>(.*?)</tr>', page, re.DOTALL)[1]
        assert '−1.0<small class="sd"> (2.0)</small><br><small>up in 1 of 3</small>' in row
        assert "Ablations against lse" in page and "Not drawn: focal_off;" in page

    def test_the_gain_over_target_free_controls_is_there_where_there_is_one(self, page):
        assert page.count("over best<br>target-free") == 1
        described = project(LSE, experiment("st", "control", uses_target=True), rounds=1)
        evaluations = [evaluation(n, 0, r, 20.0 + r) for n in ("lse", "st") for r in (0, 1)]
        assert "target-free" not in build(described, evaluations, [], {})

    def test_a_long_name_breaks_where_its_words_end(self):
        described = project(experiment("lse_without_focal_term"), rounds=1)
        made = build(described, [evaluation("lse_without_focal_term", 0, 0, 20.0)], [], {})
        assert "lse_<wbr>without_<wbr>focal_<wbr>term</span>" in made

    def test_without_ablations_there_is_no_column_for_them(self, page):
        assert "over<br>lse" not in page and "Ablations against" not in page

    def test_warnings_are_shown_below_the_stage_that_warns(self):
        warnings = {"check_data": ["3 images have no <label>"], "retrain": [], "evaluate": ["odd"]}
        page = build(project(LSE), [], [], {}, warnings)
        assert '2 warnings: see <a href="#data">' in page
        found = re.findall(r"<dt>(\w+) warns</dt><dd>\s*<ul class=.plain.>\s*<li>([^<]*)<", page)
        assert found == [("check_data", "3 images have no &lt;label&gt;"), ("evaluate", "odd")]

    def test_no_warning_is_told_from_no_check(self):
        checked = build(project(LSE), [], [], {}, {"check_data": []})
        assert "has a warning" in checked and "not finished" not in checked
        unchecked = build(project(LSE), [], [], {}, {"evaluate": []})
        assert "has a warning" not in unchecked
        assert "The check of the data has not finished." in unchecked

    def test_the_gallery_shows_image_label_source_only_and_every_round(self, page):
        captions = re.findall(r'alt="second: ([^"]*)"', page)
        assert captions[:4] == ["image", "label", "source-only", "entropy, source-only"]
        assert captions[4:7] == ["lse, round 1", "lse, round 2", "entropy, round 2"]
        assert captions[7:9] == ["zoom, round 1", "zoom, round 2"]
        assert len(captions) == 4 + 3 * 3

    def test_the_gallery_is_as_long_as_the_project_says(self):
        described, evaluations = whole_project()
        few = Project(**{**vars(described), "gallery": 1})
        page = build(few, evaluations, [], {})
        assert page.count(': image"') == 1

    def test_different_source_networks_have_their_own_pictures(self):
        evaluations = [
            evaluation(name, 0, 0, 20.0, pictures(i)) for i, name in enumerate(["lse", "zoom"])
        ]
        page = build(project(LSE, experiment("zoom", "control")), evaluations, [], {})
        assert "second: source-only (lse)" in page and "second: source-only (zoom)" in page

    def test_header_cells_have_a_scope_and_pictures_a_text(self, page):
        assert not re.search(r"<th(?![^>]*scope=)[^e]", page)
        assert not re.search(r"<img(?![^>]*alt=)", page)
        assert page.count("<figcaption>") == page.count("<figure>")

    def test_a_page_can_be_built_before_anything_was_evaluated(self):
        page = build(project(LSE), [], [Missing("lse", 0, 0, "still to run", "")], {})
        assert "lse has not been evaluated yet." in page and "n/a" in page


def row_of(measure, value, verdict="ok", limit=math.nan, sentence=""):
    return HealthRow(measure, value, math.nan, limit, verdict, sentence or f"{measure} is told")


CHECKS = (
    Check("lse", 0, 2, "check_result", [row_of("agreement", 0.5, "warn", 0.7, "half <agree>")]),
    Check("lse", 0, 2, "check_round", [
        row_of("kept", 0.333, "ok", 0.1), row_of("source", 0.6124, "ok", 0.63),
        row_of("histogram", 0.25, "warn", 0.2),
        row_of("agreement", 0.9, "ok", 0.7), row_of("entropy", 0.4567, "ok", 0.12),
        row_of("classes", 0.0, "warn", 0.05),
    ]),
    Check("lse", 0, 1, "check_round", [row_of("kept", 0.5), row_of("entropy", 1.5)]),
    Check("zoom", 0, 1, "check_round", [row_of("kept", 0.5)]),
)  # fmt: skip


class TestHealthOnThePage:
    def page(self, checks, missing=()):
        rows = project(LSE, experiment("zoom", "control"))
        return build(rows, [evaluation("lse", 0, 0, 20.0)], missing, {}, {}, checks)

    def test_every_round_and_then_the_result_has_a_row_of_measures_and_limits(self):
        page = self.page(CHECKS)
        part = page[page.index('id="health"') : page.index("zoom: no warnings")]
        rows = re.findall(r'<tr><th scope="row">([^<]*)</th>(.*?)</tr>', part, re.DOTALL)
        assert [title for title, _ in rows] == ["0, round 1", "0, round 2", "0, result of round 2"]
        cells = [re.findall(r"<td[^>]*>([^<]*)<", row) for _, row in rows]
        assert cells == [
            ["50.0", "–", "–", "–", "1.500", "–"],
            ["33.3", "0.612", "25.0", "90.0", "0.457", "0.0"],
            ["–", "–", "–", "50.0", "–", "–"],
        ]
        limits = re.findall(r"<small>([^<]*)</small>", rows[1][1])
        assert limits == ["at least 10.0", "at most 0.630", "at most 20.0", "at least 70.0",
                          "at least 0.120", "at least 5.0"]  # fmt: skip
        assert [row.count('class="down3"') for _, row in rows] == [0, 2, 1]

    def test_an_experiment_with_warnings_is_open_and_says_them(self):
        page = self.page(CHECKS)
        assert re.search(r"<details open><summary>.*lse: 3 warnings</summary>", page)
        assert re.search(r"<details><summary>.*zoom: no warnings</summary>", page)
        assert "0, round 2: histogram is told; classes is told</p>" in page
        assert "0, result of round 2: half &lt;agree&gt;</p>" in page

    def test_warnings_say_whose_they_are(self):
        assert health_warnings(CHECKS[:2]) == [
            "lse, seed 0, result of round 2: half <agree>",
            "lse, seed 0, round 2: histogram is told",
            "lse, seed 0, round 2: classes is told",
        ]

    def test_a_check_that_is_not_there_is_told_where_the_evaluation_is(self):
        failed = Check("lse", 0, 2, "check_result", state="failed", detail="too <few> agree")
        page = self.page([failed])
        assert (
            "<li>lse, seed 0, result of round 2: check failed – too &lt;few&gt; agree</li>" in page
        )
        page = self.page([failed], [Missing("lse", 0, 2, "failed", "x")])
        assert "check failed" not in page and 'id="health"' not in page

    def test_where_nothing_is_checked_nothing_is_said_of_it(self):
        assert 'id="health"' not in self.page([])


class TestWarningsOfStages:
    def test_those_of_all_stages_behind_a_result_are_collected_once(self, tmp_path):
        def stage(name, warnings, **inputs):
            folder = tmp_path / name
            folder.mkdir()
            content = {"stage": name, "notes": {"warnings": warnings} if warnings else {}}
            content["inputs"] = {
                role: [{"path": str(path)} for path in files] if isinstance(files, list)
                else {"path": str(files)}
                for role, files in inputs.items()
            }  # fmt: skip
            (folder / "settings.json").write_text(json.dumps(content))
            return folder / "file"

        scan = stage("scan_labels", ["blurred"])
        check = stage("check_data", ["two files are skipped"], problems=[scan])
        trained = stage("train_source", None, labels=scan, gone=tmp_path / "cleared/images.csv")
        evaluated = stage("evaluate", ["odd", "odd"], model=trained, labels=scan)
        assert warnings_in(records_behind([check, evaluated, evaluated])) == {
            "check_data": ["two files are skipped"],
            "evaluate": ["odd"],
            "scan_labels": ["blurred"],
            "train_source": [],
        }
