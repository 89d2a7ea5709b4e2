"""snakemake --report: the engine's own report shows the page, its tables, main figures and the last
pictures."""

import re
import zipfile

import pytest

from made_up_results import finish_all, finished_tiny, of
from scalewise.publishing import FIGURES, MAIN_FIGURE_FILES
from scalewise.workflow import load_plan
from workflow_runs import ROOT, edited, planned, snakemake

# what it needs beside the results (scripts, style) is in the engine's package; should it ever reach
# for the network, nobody answers there
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
OF_REPORT = ["index.html", "per_class_iou.csv", "summary.csv", *MAIN_FIGURE_FILES]
SHOWN = [*OF_REPORT, "pictures.png", "pictures.png"]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished tiny project whose files hold their own path; its folder and plan."""
    plan = finished_tiny(tmp_path / "run", monkeypatch)
    for stage in plan.stages.values():
        for path in stage.outputs[:-1]:
            if stage.name in ("report", "evaluate") and not path.endswith(FIGURES):
                (tmp_path / "run" / path).write_text(f"this is {path}\n")
    return tmp_path / "run", plan


def test_it_holds_page_tables_figures_and_the_pictures_of_the_last_rounds(finished):
    folder, plan = finished
    status, printed = snakemake(folder, "--report", "x.zip", environment=OFFLINE)
    assert status == 0, printed
    assert sorted(re.findall(r"Adding (\S+) \(", printed)) == sorted(SHOWN)
    with zipfile.ZipFile(folder / "x.zip") as archive:
        held = [archive.read(name).decode() for name in archive.namelist()]
    (page,) = [text for text in held if text.lstrip().lower().startswith("<!doctype html")]
    last = [of(plan, "evaluate", name, 2) for name in ("lse", "source_zoom")]
    report = [f"{plan.report.folder}/{name}" for name in OF_REPORT]
    wanted = [*report, *(f"{stage.folder}/pictures.png" for stage in last)]
    assert sorted(text for text in held if text != page) == sorted(f"this is {p}\n" for p in wanted)
    for words in (
        '"Report"',
        '"Figures"',
        '"project": "tiny", "what": "mIoU over rounds"',
        "where it ends is the result",
        "A bar that reaches past its line",
        '"Pictures of the last rounds"',
        '"experiment": "source_zoom", "seed": "0"',
        '"project": "tiny", "what": "IoU per class"',
        "The last round is the result",
        "minus that of round 0 (source-only)",
        "an empty cell".capitalize(),
        "what the network of the last round predicts",
        "self-training on scale-invariant examples",
    ):
        assert " ".join(words.split()) in " ".join(page.replace("\\n", " ").split()), words


def test_every_figure_of_the_report_that_stands_alone_is_shown_with_a_caption():
    rules = (ROOT / "rules/common.smk").read_text(encoding="utf-8")
    assert set(re.findall(r'"(\w+\.svg)": \("Figures"', rules)) == set(MAIN_FIGURE_FILES)
    for name in OF_REPORT:
        assert (ROOT / "captions" / name).with_suffix(".rst").read_text(encoding="utf-8").strip()


def test_one_html_file_will_do(finished):
    folder, _ = finished
    status, printed = snakemake(folder, "--report", "x.html", environment=OFFLINE)
    assert status == 0, printed
    text = (folder / "x.html").read_text()
    assert text.count("pictures.png") >= 2
    # nothing that a browser would fetch from elsewhere
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?:", text)


def test_names_with_braces_are_no_wildcards(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    changes = {"project": "a{b}", "experiments": [{"name": "x{y}", "role": "method"}]}
    config = edited(tmp_path, changes)
    finish_all(load_plan([config]))
    status, printed = snakemake(tmp_path / "run", "--report", "x.html", config=config)
    assert status == 0, printed
    text = (tmp_path / "run" / "x.html").read_text()
    assert '"experiment": "x(y)"' in text and '"project": "a(b)"' in text


def test_marks_and_pictures_run_nothing_again(finished):
    folder, plan = finished
    status, printed = snakemake(folder, "-n")
    assert (status, planned(printed)) == (0, {}), printed
    # a picture that was removed is not made anew for the report alone
    (folder / of(plan, "evaluate", "lse", 2).folder / "pictures.png").unlink()
    (folder / plan.report.folder / "summary.csv").unlink()
    status, printed = snakemake(folder, "-n")
    assert (status, planned(printed)) == (0, {"all": 1, "report": 1}), printed
