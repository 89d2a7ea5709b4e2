"""The audit of pseudo-labels: counts by hand, and that the labels it reads have no other say."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import audit_pseudo_labels
import report_finished
from rerun_rows import data_settings, write_data
from scalewise import config
from scalewise.artifacts import audit_csv, images_csv, labels_csv, patches_h5, problems_csv
from scalewise.artifacts import thresholds_csv as thresholds
from scalewise.artifacts.audit_csv import AuditRow
from scalewise.artifacts.hashing import content_hash
from scalewise.job import Job
from scalewise.plan import AUDIT, DataFiles, Plan
from scalewise.reporting import Audit, Project, build
from scalewise.selftraining.audit import count_right
from scalewise.workflow import DEFAULT_CONFIG
from warm_runs import Runners
from workflow_runs import finished, same_results

CLASSES = ["road", "car", "sky"]
NAN = math.nan


class TestCounts:
    PREDICTED = np.array([[0, 0, 1], [1, 0, 1]], np.uint8)
    ENTROPY = np.array([[0.1, 0.6, 0.2], [0.5, 0.4, 0.3]], np.float32)
    LABEL = np.array([[0, 1, 1], [1, 255, 0]], np.uint8)
    TAU = np.array([0.5, 0.5, 0.5])

    def test_pixels_that_are_seen_kept_right_and_both_by_hand(self):
        counts = count_right(
            self.PREDICTED, self.ENTROPY, self.LABEL, self.TAU, nan_is_reliable=False
        )
        # road: kept and right; left out and wrong; without a label
        # car: kept and right; at the threshold, so left out, and right; kept and wrong
        assert counts.tolist() == [
            [2, 3, 0],  # seen
            [1, 2, 0],  # kept
            [1, 2, 0],  # right
            [1, 1, 0],  # right and kept
            [1, 0, 0],  # without a label
        ]

    def test_a_label_that_is_no_class_is_none(self):
        label = np.full((2, 3), 254, np.uint8)
        counts = count_right(self.PREDICTED, self.ENTROPY, label, self.TAU, nan_is_reliable=False)
        assert counts.tolist() == [[0, 0, 0]] * 4 + [[3, 3, 0]]

    @pytest.mark.parametrize("reliable", [True, False])
    def test_an_entropy_that_is_no_number_is_kept_where_it_counts_as_reliable(self, reliable):
        entropy = np.full((2, 3), NAN, np.float32)
        counts = count_right(
            self.PREDICTED, entropy, self.PREDICTED, self.TAU, nan_is_reliable=reliable
        )
        assert counts[1].tolist() == ([3, 3, 0] if reliable else [0, 0, 0])

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="other shapes"):
            count_right(self.PREDICTED, self.ENTROPY, self.LABEL.T, self.TAU, nan_is_reliable=False)


class TestTable:
    ROWS = [AuditRow("road", 8, 4, 6, 4, 3), AuditRow("car", 2, 0, 1, 0, 0)]

    def test_percentages_stand_beside_the_counts_and_the_sum_is_the_last_row(self, tmp_path):
        path = tmp_path / "audit.csv"
        audit_csv.write(path, self.ROWS)
        assert path.read_text().splitlines() == [
            "class,seen,kept,right,right_kept,ignored,kept_share,accuracy_kept,accuracy",
            "road,8,4,6,4,3,50.0,100.0,75.0",
            "car,2,0,1,0,0,0.0,,50.0",
            "all,10,4,7,4,3,40.0,100.0,70.0",
        ]
        assert audit_csv.read(path) == [*self.ROWS, AuditRow("all", 10, 4, 7, 4, 3)]

    def test_of_no_pixel_there_is_no_percentage(self):
        row = AuditRow("sky", 0, 0, 0, 0, 7)
        assert all(math.isnan(v) for v in (row.kept_share, row.accuracy_kept, row.accuracy))


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """Two images of 4 x 6 with labels of 8 x 12 (only the first where `both` is False), a patch of
    each at its own place; run the stage."""
    monkeypatch.chdir(tmp_path)

    def audit(both=True):
        small = np.zeros((2, 4, 6), np.uint8)
        small[:, :, 3:] = 1
        small[1, 0] = 9  # an id that is ignored
        Path("set/labels").mkdir(parents=True)
        images, labels = [], []
        for k in range(2):
            path = f"labels/{k}.png"
            large = small[k].repeat(2, 0).repeat(2, 1)
            Image.fromarray(large).save(Path("set", path))
            hash_ = content_hash(Path("set", path))
            images.append(images_csv.ImageRow(f"i{k}", f"{k}.png", 12, 8, "h", "RGB"))
            labels.append(
                labels_csv.LabelRow(f"i{k}", path, 12, 8, hash_, 0, (0,) * 3, "L", (0, 1))
            )
        images_csv.write("images.csv", images)
        labels_csv.write("labels.csv", labels if both else labels[:1], CLASSES)
        lacking = problems_csv.Problem("set/1.png", "has no label", "skip")
        problems_csv.write("problems.csv", [] if both else [lacking])
        predicted = [np.zeros((2, 3), np.uint8), np.ones((3, 2), np.uint8)]
        entropy = [np.full(p.shape, 0.25, np.float16) for p in predicted]
        entropy[0][0, 0] = 0.75
        with patches_h5.writing("patches.h5", 2, (3, 3), (4, 6)) as file:
            file.append(
                patches_h5.Patches(
                    ["i0", "i1"], np.array([[1, 2], [0, 4]]),
                    [np.zeros((*p.shape, 3), np.uint8) for p in predicted],
                    predicted, entropy, np.zeros((2, 4, 6), np.uint8),
                )
            )  # fmt: skip
        rows = [thresholds.ThresholdRow(c, 0.5, "", 1, 1, NAN, 0) for c in CLASSES]
        thresholds.write("thresholds.csv", rows)
        files = ("patches.h5", "thresholds.csv", "images.csv", "labels.csv", "problems.csv")
        roles = ("patches", "thresholds", "target_images", "target_labels", "problems")
        description = {
            "stage": AUDIT, "key": "0" * 16, "title": "auditing", "folder": "audited",
            "contents": {}, "locations": {"target": "set"},
            "settings": {
                "classes": CLASSES, "size": [4, 6], "label_ids": {"0": 0, "1": 1, "9": 255},
                "constant_entropy": "zero",
            },
            "inputs": {role: {"path": f} for role, f in zip(roles, files, strict=True)},
        }  # fmt: skip
        job = Job(description, 1, 1)
        audit_pseudo_labels.audit(job)
        return job, audit_csv.read("audited/audit.csv")

    return audit


class TestStage:
    def test_labels_are_cut_at_the_patches_places_at_the_working_size(self, audited):
        job, rows = audited()
        # i0, rows 1 and 2, columns 2 to 4: one road, two cars in each; all predicted as road, the
        # first pixel unsure. i1, rows 0 to 2, columns 4 and 5: two ignored, four cars, all right
        assert rows == [
            AuditRow("road", 6, 5, 2, 1, 0),
            AuditRow("car", 4, 4, 4, 4, 2),
            AuditRow("sky", 0, 0, 0, 0, 0),
            AuditRow("all", 10, 9, 6, 5, 2),
        ]
        assert "warnings" not in job.notes

    def test_an_image_without_label_is_left_out_and_told(self, audited):
        job, rows = audited(both=False)
        assert rows[1] == AuditRow("car", 0, 0, 0, 0, 6) and rows[0].seen == 6
        assert job.notes["warnings"] == [
            "1 of the 2 images that patches are of have no label for the audit: set/1.png: has no "
            "label (the list: problems.csv)"
        ]


FOLDER = {"format": "cityscapes", "root": "city", "split": "train"}


def planned(tmp_path, audit, labels="l0", **changes):
    """A plan of lse and two controls whose target is a folder, with made-up digests."""
    target = {**FOLDER, "audit": audit}
    rows = [
        {"name": "lse"},
        {"name": "source_only", "retraining": {"target_weight": 0}},
        {"name": "batch_norm", "rounds": {"method": "batch_norm"}},
    ]
    path = tmp_path / "mine.yaml"
    content = config.merge({"data": {"target": target}, "experiments": rows}, changes)
    path.write_text(yaml.safe_dump(content))
    asked = []

    def files(layout, wanted):
        asked.append((layout.root.name, wanted))
        return DataFiles("d0", labels if wanted else None, "i", "l" if wanted else None)

    project = config.load([DEFAULT_CONFIG, path])
    plan = Plan(project, lambda stage: "c0", files, lambda *of: "w0")
    return plan, set(asked)


def of_labels(plan):
    """(stage, key) of all that is determined by labels of the target training images."""
    return {
        which
        for which, stage in plan.stages.items()
        if stage.name in (AUDIT, "report")
        or (stage.name == "scan_labels" and "target" in stage.what)
    }


class TestPlan:
    def test_without_an_audit_nobody_asks_for_the_labels(self, tmp_path):
        plan, asked = planned(tmp_path, False)
        assert asked == {("city", False)}
        assert {name for name, _ in of_labels(plan)} == {"report"}
        assert plan.report.inputs["audit"] == [] and plan.report.settings["audits"] == []

    def test_with_it_and_with_other_labels_no_other_stage_has_another_key(self, tmp_path):
        without, _ = planned(tmp_path, False)
        plan, _ = planned(tmp_path, True)
        other, _ = planned(tmp_path, True, "l1")
        rest = set(without.stages) - of_labels(without)
        assert set(plan.stages) - of_labels(plan) == rest
        assert set(other.stages) - of_labels(other) == rest
        assert not of_labels(plan) & of_labels(other)
        assert len(of_labels(plan)) == 3 + 1 + 1  # a round each, one scan, the report

    def test_what_is_made_from_the_labels_leads_to_the_report_alone(self, tmp_path):
        plan, _ = planned(tmp_path, True)
        tainted = of_labels(plan)
        for which, stage in plan.stages.items():
            read = {(s.stage.name, s.stage.key) for s in stage.sources}
            waits = {(s.name, s.key) for s in stage.after}
            if which not in tainted:
                assert not (read | waits) & tainted, which
                assert "label_index" not in stage.locations or stage.name == "scan_labels"
        audits = [r.stages[AUDIT] for r in plan.rounds if AUDIT in r.stages]
        assert [s.stage for s in plan.report.inputs["audit"]] == audits
        assert plan.report.settings["audits"] == [["lse", 0, 1], ["lse", 0, 2], ["lse", 0, 3]]

    def test_the_default_audits_its_drawn_target_and_another_format_does_not(self, tmp_path):
        path = tmp_path / "mine.yaml"
        for target, audit in (({"images": 9}, True), (FOLDER, False)):
            path.write_text(yaml.safe_dump({"data": {"target": target}}))
            assert config.load([DEFAULT_CONFIG, path]).settings.data.target.audit is audit

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (
                {"source": {"audit": True}},
                "mine.yaml: data.source.audit: only labels of the target judge pseudo-labels: "
                "leave it out",
            ),
            (
                {"target": {"format": "folder", "root": "x", "images": "*.png", "audit": True}},
                "mine.yaml: data.target.labels: this set needs labels for its audit: say where "
                "they are, as in labels/{id}.png",
            ),
            (
                {"target": {"format": "synthia", "root": "x", "audit": True, "map": {"cat": "x"}}},
                "mine.yaml: data.target.map: 'cat' is no class of this set",
            ),
            (
                {"target": {"format": "camvid", "root": "x", "audit": True}},
                "or leave its labels alone, with audit: false",
            ),
            ({"target": {"audit": "perhaps"}}, "data.target.audit: must be true or false"),
        ],
    )
    def test_a_mistake_is_one_line(self, tmp_path, data, said):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"data": data}))
        with pytest.raises(config.ConfigError) as told:
            config.load([DEFAULT_CONFIG, path])
        assert said in str(told.value) and "\n" not in str(told.value)

    def test_a_report_of_what_is_finished_reads_no_audit_that_is_not(self, tmp_path, monkeypatch):
        plan, _ = planned(tmp_path, True)
        for ready in ({"evaluate"}, {"evaluate", AUDIT}):
            monkeypatch.setattr(report_finished, "is_finished", lambda s, r=ready: s.name in r)
            stage, missing = report_finished.partial_report(plan)
            assert len(stage.inputs["audit"]) == (3 if AUDIT in ready else 0) and not missing

    def test_a_failed_audit_does_not_stand_in_the_way_of_a_round(self, tmp_path, monkeypatch):
        plan, _ = planned(tmp_path, True)
        first = plan.rounds[0].stages["evaluate"]
        monkeypatch.setattr(report_finished, "is_finished", lambda stage: stage is first)
        monkeypatch.setattr(
            report_finished,
            "state_of",
            lambda s: ("failed", "why") if s.name == AUDIT else ("still to run", ""),
        )
        _, missing = report_finished.partial_report(plan)
        assert {row["state"] for row in missing} == {"still to run"}


LSE = {"name": "lse", "role": "method", "description": "", "differences": {}}


class TestPage:
    def test_a_table_has_a_row_for_each_class_and_a_column_for_each_round(self):
        rows = [
            [AuditRow("a<b", 10, 5, 8, 5, 0), AuditRow("car", 0, 0, 0, 0, 0)],
            [AuditRow("a<b", 10, 5, 6, 4, 0), AuditRow("car", 0, 0, 0, 0, 0)],
        ]
        rows = [[*r, AuditRow("all", *[getattr(r[0], f) for f in vars(r[0]) if f != "name"])]
                for r in rows]  # fmt: skip
        audits = [Audit("lse", 1, 2, rows[1]), Audit("lse", 0, 2, rows[0])]
        project = Project("p", ["a<b", "car"], [(0, 0, 0)] * 2, {}, "s", "t", "v", [LSE], 2)
        page = build(project, [], [], {}, audits=audits)
        part = page[page.index('id="audit"') :]
        part = part[: part.index("</details>")]
        assert '<span class="name">a&lt;b</span>' in part and "round 2" in part
        assert "<td>90.0<br><small>70.0 · 50.0</small></td>" in part  # means over both seeds
        assert "<td>–<br><small>– · –</small></td>" in part
        assert (
            part.count("<tr") == 1 + 3 and "lse: kept pixels right, round by round: 90.0 %" in part
        )

    def test_without_an_audit_nothing_is_said_of_it(self):
        project = Project("p", ["a"], [(0, 0, 0)], {}, "s", "t", "v", [LSE], 1)
        assert 'id="audit"' not in build(project, [], [], {})


# --- the whole workflow ---------------------------------------------------------------------------


def shuffled(root):
    """Every label of a target training image becomes that of the next one."""
    paths = sorted((root / "target/labels").iterdir())
    content = [path.read_bytes() for path in paths]
    for path, other in zip(paths, [*content[1:], content[0]], strict=True):
        path.write_bytes(other)


def removed(root):
    shutil.rmtree(root / "target/labels")


def test_with_labels_shuffled_or_removed_all_but_the_audit_and_the_report_is_the_same(tmp_path):
    """Three runs from nothing: the same keys, and the same bytes under them."""
    runs, runners = {}, Runners(1)
    try:
        for name, change in (("whole", None), ("shuffled", shuffled), ("removed", removed)):
            root, folder = tmp_path / f"{name} data", tmp_path / name
            write_data(root)
            if change:
                change(root)
            content = data_settings(root)
            source = content["data"]["source"]
            labels = {key: source[key] for key in ("labels", "id_to_class")}
            content["data"]["target"].update(labels, audit=True)
            file = tmp_path / f"{name}.yaml"
            file.write_text(yaml.safe_dump(content))
            folder.mkdir()
            runners.run(folder, [file])
            runs[name] = folder
    finally:
        runners.close()
    rest = {}
    for name, folder in runs.items():
        stages = finished(folder)
        (audit,) = (key for stage, key in stages if stage == AUDIT)
        record = json.loads(Path(folder, "results", AUDIT, audit, "settings.json").read_text())
        scan = ("scan_labels", record["inputs"]["target_labels"]["key"])
        assert scan in stages
        rest[name] = {s for s in stages if s[0] not in (AUDIT, "reports") and s != scan}
        runs[name] = folder, audit_csv.read(Path(folder, "results", AUDIT, audit, "audit.csv"))[-1]
    assert rest["whole"] == rest["shuffled"] == rest["removed"]
    for name in ("shuffled", "removed"):
        assert same_results(runs["whole"][0], runs[name][0], rest["whole"]) > 15
    whole, other, none = (runs[name][1] for name in ("whole", "shuffled", "removed"))
    assert whole.seen == other.seen and whole.kept == other.kept and whole.right != other.right
    assert none.seen == 0 and none.ignored == whole.seen
    page = (runs["removed"][0] / "results/report/own/index.html").read_text()
    assert re.search(r"(\d) of the \1 images that patches are of have no label for the audit", page)
    assert 'id="audit"' in (runs["whole"][0] / "results/report/own/index.html").read_text()
