"""The report's tables in LaTeX: what stands in them, names of any kind, and that they compile."""

import math
import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest

from scalewise.reporting import latex
from scalewise.reporting.tables import Evaluation, Project, per_class_iou, summary

NAN = math.nan
CLASSES = ["road", "car", "train"]
HOSTILE = r"[a*] \input{x} & 50% $#_{}~^ <b> 'x' --- ``q'' \\"


def evaluation(name, seed, number, *iou):
    frame = pd.DataFrame({"class": CLASSES, "iou": iou, "pixels": 1})
    return Evaluation(name, seed, number, frame)


EVALUATIONS = [
    evaluation("lse", 0, 0, 10.0, 20.0, NAN),
    evaluation("lse", 0, 1, 20.0, 40.0, NAN),
    evaluation("lse", 1, 0, 10.0, 20.0, NAN),
    evaluation("lse", 1, 1, 24.0, 40.0, NAN),
    evaluation(HOSTILE, 0, 0, 10.0, 20.0, NAN),
    evaluation(HOSTILE, 0, 1, 22.04, 18.0, NAN),
    evaluation("only", 0, 0, 10.0, 20.0, NAN),
]


def project(*names, **changes):
    rows = [{"name": name, "role": "", "rounds": 1} for name in names]
    colors = [(0, 0, 0)] * 3
    return Project("p", CLASSES, colors, {"big_ones": ["road"]}, "", "", "", rows, 1, **changes)


WHOLE = project("lse", HOSTILE, "only", "to come")


def rows_of(text):
    """Cells of all rows."""
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


def both():
    table = summary(EVALUATIONS, WHOLE.subsets)
    return latex.summary(table, WHOLE), latex.per_class_iou(
        per_class_iou(EVALUATIONS), table, WHOLE
    )


def test_the_summary_has_mean_and_sd_and_the_best_in_bold():
    text, _ = both()
    head, lse, hostile, only, later = rows_of(text)
    assert head == ["experiment", "seeds", "source-only", "last round", "gain"]
    # 30 and 32, from 15
    assert lse == [
        "lse", "2", r"$15.0 \pm 0.0$", r"$\mathbf{31.0} \pm 1.4$", r"$\mathbf{+16.0} \pm 1.4$",
    ]  # fmt: skip
    assert hostile[1:] == ["1", "$15.0$", "$20.0$", "$+5.0$"]
    assert only == ["only", "1", "$15.0$", "--", "--"]
    assert later == ["to come", "0", "--", "--", "--"]
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert text.startswith("% needs \\usepackage{booktabs}")


def test_the_gain_over_the_best_target_free_control_is_a_column_where_there_is_one():
    rows = [
        {"name": "lse", "role": "method", "rounds": 1},
        {"name": "zoom_in", "role": "control", "rounds": 1, "uses_target": False},
    ]
    described = Project("p", CLASSES, [(0, 0, 0)] * 3, {}, "", "", "", rows, 1)
    evaluations = [
        evaluation(name, 0, number, iou, iou, NAN)
        for name, ends in (("lse", (10.0, 14.0)), ("zoom_in", (10.0, 11.5)))
        for number, iou in enumerate(ends)
    ]
    head, lse, zoom = rows_of(latex.summary(summary(evaluations), described))
    assert head[-1] == r"over zoom\_in"
    assert (lse[-1], zoom[-1]) == ("$+2.5$", "--")


def test_each_class_has_a_row_and_each_mean_one_below_them():
    _, text = both()
    rows = rows_of(text)
    assert [row[0] for row in rows] == [
        "class", "road", "car", "train", "mean of 3 classes", r"mean of big\_ones",
    ]  # fmt: skip
    # 22.0 and 22.04 are the same as they are printed
    assert rows[1][1:] == [r"$\mathbf{22.0} \pm 2.8$", r"$\mathbf{22.0}$", "--", "--"]
    assert rows[2][1:] == [r"$\mathbf{40.0} \pm 0.0$", "$18.0$", "--", "--"]
    assert rows[3][1:] == ["--"] * 4
    assert rows[4][1:] == [r"$\mathbf{31.0} \pm 1.4$", "$20.0$", "--", "--"]
    assert text.count("\\midrule") == 2 and r"\begin{tabular}{lrrrr}" in text


def test_what_stands_alone_is_not_the_best():
    table = summary(EVALUATIONS[:4])
    alone = Project("p", CLASSES, [(0, 0, 0)] * 3, {}, "", "", "", [{"name": "lse"}], 1)
    assert "mathbf" not in latex.summary(table, alone)


def test_without_an_evaluation_there_is_a_table_of_nothing():
    empty = project("lse")
    table = summary([], {})
    assert rows_of(latex.summary(table, empty))[1] == ["lse", "0", "--", "--", "--"]
    text = latex.per_class_iou(per_class_iou([]), table, empty)
    assert rows_of(text)[1] == ["road", "--"]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("plain name-2", "plain name-2"),
        ("a_b & 50%", r"a\_b \& 50\%"),
        (r"\x{y}", r"\textbackslash{}x\{y\}"),
        ("[x] *", "{[}x] {*}"),
        ("a---b ''", "a-{}-{}-b '{}'"),
        ("~^<>|", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"),
        ("größe", "größe"),
    ],
)
def test_a_name_is_printed_as_it_is(name, printed):
    assert latex.escaped(name) == printed


def compiled(folder, tables):
    """Run LaTeX over a document of these tables."""
    if not shutil.which("pdflatex"):
        pytest.skip("no LaTeX here")
    document = "\n".join(
        [r"\documentclass{article}\usepackage{booktabs}\usepackage[T1]{fontenc}"
         r"\begin{document}", *tables, r"\end{document}"]
    )  # fmt: skip
    (folder / "t.tex").write_text(document, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_tables_compile(tmp_path):
    compiled(tmp_path, both())


def test_a_ceiling_says_its_number_with_its_name_and_begins_nowhere():
    found = [*EVALUATIONS, evaluation("top", 0, 0, 60.0, 70.0, NAN)]
    rows = [*WHOLE.experiments, {"name": "top", "role": "ceiling", "rounds": 0}]
    described = replace(WHOLE, experiments=rows)
    *_, top = rows_of(latex.summary(summary(found, described.subsets), described))
    assert top[0] == "top (target labels: 65.0)"
    assert top[1] == "1" and top[2:] == rows_of(both()[0])[-1][2:]  # as one that is to come
