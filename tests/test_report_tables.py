"""The report's tables of sections as CSV and LaTeX: their numbers, and that none is left out."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest

from scalewise.artifacts.audit_csv import AuditRow
from scalewise.artifacts.health_csv import HealthRow
from scalewise.publishing import REPORT_FILES, TABLES
from scalewise.reporting import latex_sections, page, rounds, tidy
from scalewise.reporting.confusion import Confusion
from scalewise.reporting.tables import Audit, Check
from test_latex import compiled, rows_of
from test_reporting import LSE, experiment, project

CLASSES = ["road", "car", "train"]
ODD = r"50% of_\it"
SECTIONS = [name for name in TABLES if name not in ("summary", "per_class_iou")]
NAN = math.nan


def by_seed(columns):
    """Round 1 of lse with two seeds; of the second every value is twice that of the first."""
    rows = [
        ("lse", seed, 1, name, *((1 + seed) * values[k] for values in columns.values()))
        for seed in (0, 1)
        for k, name in enumerate(CLASSES)
    ]
    return rounds.frame(rows, "class", *columns)


@pytest.fixture
def known():
    """Checks, audits and parts of lse, and of an experiment that has only source-only."""
    matrix = np.array([[8, 2, 0], [5, 15, 0], [0, 0, 0]])
    warned = HealthRow("kept", 0.05, NAN, 0.1, "warn", "few")
    fine = HealthRow("entropy", 2.5, NAN, NAN, "ok", "so it is")
    checks = [Check("lse", 0, 1, "check_round", [warned, fine]), Check("lse", 0, 1, "check_result")]
    counts = [(40, 20, 30, 15), (10, 5, 5, 1), (0, 0, 0, 0), (50, 25, 35, 16)]
    audits = [
        Audit(
            "lse",
            seed,
            1,
            [AuditRow(c, *n, 1) for c, n in zip([*CLASSES, "all"], counts, strict=True)],
        )
        for seed in (0, 1)
    ]
    better = [AuditRow(c, 40, 10, 30, 9, 1) for c in [*CLASSES, "all"]]
    audits.append(Audit(ODD, 0, 1, better))
    cost = {
        "stage": "train_source", "jobs": 2, "seconds": 80.0, "longest": 45.0, "memory": 700.4,
        "benchmarks": 1, "devices": ["cpu (CPU)", "cuda (H, I)"],
    }  # fmt: skip
    parts = page.Parts(
        confusions=[Confusion(*who, matrix) for who in (("lse", 0, 0), ("lse", 0, 1), (ODD, 0, 0))],
        selection=by_seed(
            {"images": [2, 1, 0], "selected": [3, 3, 3], "seen": [900, 80, 0],
             "taught": [300, 10, NAN]}
        ),
        thresholds=by_seed({"tau": [0.25, math.inf, NAN], "kept": [30.0, 100.0, NAN]}),
        claim=by_seed(
            {"pixels": [4.0, 4.0, 0.0], "entropy": [0.2, 0.4, NAN],
             "scaled_pixels": [24.0, 8.0, 0.0], "scaled_entropy": [0.5, 0.3, NAN],
             "agreement": [40.0, 50.0, NAN], "difference": [0.3, -0.1, NAN]}
        ),
        costs=[cost],
    )  # fmt: skip
    described = project(LSE, experiment(ODD, "control"), rounds=1, classes=CLASSES)
    return described, checks, audits, parts


def csv_of(known):
    described, checks, audits, parts = known
    return tidy.sections(described.classes, checks, audits, parts)


def latex_of(known):
    return latex_sections.sections(*known)


def test_every_table_is_a_file_of_the_report_in_both_forms(known):
    assert list(csv_of(known)) == SECTIONS and list(latex_of(known)) == SECTIONS
    for name in TABLES:
        assert {f"{name}.csv", f"{name}.tex"} <= set(REPORT_FILES)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("confusion", ["experiment,seed,round,label,predicted,pixels,share",
                       "lse,0,0,road,road,8,80.0", "lse,0,0,road,car,2,20.0"]),
        ("health", ["experiment,seed,round,network,measure,value,previous,limit,verdict",
                    "lse,0,1,labels,kept,0.05,,0.1,warn", "lse,0,1,labels,entropy,2.5,,,ok"]),
        ("selection", ["experiment,seed,round,class,images,selected,seen,taught",
                       "lse,0,1,road,2,3,900,300", "lse,0,1,car,1,3,80,10",
                       "lse,0,1,train,0,3,0,"]),
        ("thresholds", ["experiment,seed,round,class,tau,kept", "lse,0,1,road,0.25,30.0",
                        "lse,0,1,car,inf,100.0", "lse,0,1,train,,"]),
        ("pseudo_labels", ["experiment,seed,round,class,seen,kept,right,right_kept,ignored,"
                           "kept_share,accuracy_kept,accuracy",
                           "lse,0,1,road,40,20,30,15,1,50.0,75.0,75.0"]),
        ("claim", ["experiment,seed,round,class,pixels,entropy,scaled_pixels,scaled_entropy,"
                   "agreement,difference", "lse,0,1,road,4,0.2,24,0.5,40.0,0.3"]),
        ("cost", ["stage,jobs,seconds,longest_seconds,memory_mb,measured_jobs,devices",
                  'train_source,2,80.0,45.0,700.4,1,"cpu (CPU); cuda (H, I)"']),
    ],
)  # fmt: skip
def test_a_row_is_one_measurement_with_whole_counts_and_empty_cells(known, name, lines):
    text = csv_of(known)[name].to_csv(index=False)
    assert text.splitlines()[: len(lines)] == lines
    assert len(pd.read_csv(io.StringIO(text))) == len(csv_of(known)[name])


def test_the_largest_table_has_all_pairs_of_all_rounds_that_have_a_pixel(known):
    table = csv_of(known)["confusion"]
    assert len(table) == 3 * 4 and table["pixels"].sum() == 3 * 30


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        # images (2 + 4) / 2; pixels (300 + 600) / 2 in thousands; all images (3 + 6) / 2
        ("selection", [["road", "$3$", "$0.5$"], ["car", "$1.5$", "$0.0$"], ["train", "$0$", "--"],
                       ["all images", "$4.5$", "$0.5$"]]),
        ("thresholds", [["road", "$0.375$", "$45.0$"], ["car", "off", "$150.0$"],
                        ["train", "--", "--"]]),
        ("claim", [["road", "$0.300$", "$0.750$", "$60.0$"],
                   ["car", "$0.600$", "$0.450$", "$75.0$"],
                   ["train", "--", "--", "--"],
                   ["all classes", "$0.450$", "$0.675$", "$63.8$"]]),
    ],
)  # fmt: skip
def test_the_rounds_of_an_experiment_stand_beside_each_other(known, name, rows):
    text = latex_of(known)[name]
    above, heads, *found = rows_of(text)
    width = len(rows[0]) - 1
    assert above == ["", rf"\multicolumn{{{width}}}{{c}}{{round 1}}"]
    assert rf"\cmidrule(lr){{2-{width + 1}}}" in text
    assert heads[0] == "lse" and found == rows


def test_what_is_right_most_often_is_bold(known):
    above, _, *rows = rows_of(latex_of(known)["pseudo_labels"])
    assert above[1:] == [
        r"\multicolumn{2}{c}{lse}",
        r"\multicolumn{2}{c}{50\% of\_\textbackslash{}it}",
    ]
    assert rows[0] == ["road", "$75.0$", "$50.0$", r"$\mathbf{90.0}$", "$25.0$"]
    assert rows[2] == ["train", "--", "--", "$90.0$", "$25.0$"]  # nothing to choose from


def test_the_mistakes_of_each_experiment_and_what_is_beyond_a_limit_are_told(known):
    found = rows_of(latex_of(known)["confusion"])
    assert found[1] == ["car", "road", "5", "$25.0$", "$0.0$"]
    assert found[4] == ["car", "road", "5", "$25.0$", "--"]  # source-only alone: no change
    assert rows_of(latex_of(known)["health"])[1] == [
        "0, round 1",
        "5.0*",
        *["--"] * 3,
        "2.500",
        "--",
    ]
    assert rows_of(latex_of(known)["cost"])[1] == [
        r"train\_source", "2", "1 min 20 s", "45 s", "$700$",
    ]  # fmt: skip


def test_a_table_without_numbers_is_a_file_all_the_same():
    nothing = (project(LSE), [], [], page.Parts())
    for name, text in latex_of(nothing).items():
        assert text == "% there are no numbers for this table\n", name
    for name, table in csv_of(nothing).items():
        assert len(table) == 0 and len(table.to_csv(index=False).splitlines()) == 1, name


def test_a_row_has_as_many_cells_as_its_table_has_columns(known):
    for text in latex_of(known).values():
        for part in text.split("\\begin{tabular}")[1:]:
            (columns,) = re.findall(r"^\{([lr]+)\}", part)
            for row in rows_of(part):
                if "multicolumn" not in row[-1]:
                    assert len(row) == len(columns)


def test_the_tables_compile(known, tmp_path):
    compiled(tmp_path, latex_of(known).values())
