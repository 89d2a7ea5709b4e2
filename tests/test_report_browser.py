"""The page of the report in a real browser, wide and on a phone: sorting, choosing, requests."""

import math

import numpy as np
import pytest

import browser
from scalewise.artifacts.audit_csv import AuditRow
from scalewise.reporting import page, rounds
from scalewise.reporting.confusion import Confusion
from scalewise.reporting.tables import Audit
from test_reporting import CHECKS, CLASSES, MISSING, whole_project

pytestmark = pytest.mark.skipif(browser.found() is None, reason=browser.MISSING)
WIDE, PHONE = 1280, 390


def table_of(names, **columns):
    """A table of the sections: two rounds of two experiments, a value for each class."""
    rows = [
        (name, 0, round, c, *(values[k] * round for values in columns.values()))
        for name in names
        for round in (1, 2)
        for k, c in enumerate(CLASSES)
    ]
    return rounds.frame(rows, "class", *columns)


def all_parts(names):
    """Something for every section."""
    losses = [
        (name, 0, round, term, part, 100, 2.0 - part)
        for name in names
        for round in (0, 1, 2)
        for term in ("loss", "source", "patch")
        for part in (0.25, 0.75)
    ]
    costs = {
        "stage": "retrain", "jobs": 4, "seconds": 100.0, "longest": 30.0, "memory": 700.0,
        "benchmarks": 4, "devices": ["cpu"],
    }  # fmt: skip
    matrix = np.array([[8, 2, 0], [5, 15, 0], [0, 0, 0]])
    return page.Parts(
        confusions=[Confusion(name, 0, round, matrix) for name in names for round in (0, 1, 2)],
        selection=table_of(
            names, images=[2, 1, 0], selected=[3, 3, 3], seen=[900, 80, 0], taught=[300, 9, 0]
        ),
        thresholds=table_of(names, tau=[0.2, 0.1, 0.4], kept=[30.0, 12.0, math.nan]),
        claim=table_of(
            names,
            **{"pixels": [4, 4, 0], "entropy": [0.2, 0.4, math.nan], "scaled_pixels": [24, 8, 0],
               "scaled_entropy": [0.5, 0.3, math.nan], "agreement": [40.0, 50.0, math.nan],
               "difference": [0.3, -0.1, math.nan]},
        ),
        losses=rounds.frame(losses, "term", "part", "steps", "value"),
        costs=[costs, {**costs, "stage": "evaluate", "seconds": 9.0, "memory": math.nan}],
    )  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    described, evaluations = whole_project()
    # classes whose order by name is not that by number
    for k, one in enumerate(evaluations):
        one.iou["iou"] = [30.0 + k, 50.0 - k, math.nan]
    audits = [
        Audit(name, 0, round, [AuditRow(c, 40, 20, 30, 15, 1) for c in [*CLASSES, "all"]])
        for name in ("lse", "zoom")
        for round in (1, 2)
    ]
    names = [e["name"] for e in described.experiments][:2]
    made = page.build(
        described, evaluations, MISSING, {"Seeds": "0, 1"}, {"check_data": ["odd"]}, CHECKS, audits,
        all_parts(names),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(made, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser.opened(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def wide(window, file):
    window.open(file, WIDE)
    return window


# what reaches out of the window to the side, but for what scrolls in a frame of its own
REACHES_OUT = """
[...document.querySelectorAll("body *")]
  .filter((e) => !e.closest("svg") && !e.parentElement.closest(".scroll, .plot"))
  .filter((e) => e.getBoundingClientRect().width > 0)
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 100))
"""
# neighbours in the page, and the cells of a row, that lie over each other
OVERLAPS = """
(() => {
  const found = [], seen = (e) => e.getBoundingClientRect().height > 0;
  for (const parent of document.querySelectorAll("main, section, details, .tiles, figure")) {
    const parts = [...parent.children].filter(seen).map((e) => [e, e.getBoundingClientRect()]);
    for (let i = 1; i < parts.length; i++) {
      const [, a] = parts[i - 1], [e, b] = parts[i];
      if (b.top < a.bottom - 1 && b.left < a.right - 1) found.push(e.outerHTML.slice(0, 100));
    }
  }
  for (const cell of document.querySelectorAll("th, td")) {
    if (seen(cell) && cell.scrollWidth > cell.clientWidth + 1)
      found.push(cell.outerHTML.slice(0, 100));
  }
  return found;
})()
"""


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_nothing_reaches_out_of_the_window_and_nothing_lies_over_another(window, file, width):
    window.open(file, width)
    for shown in ("first", "all"):
        if shown == "all":
            window.run(
                "document.querySelectorAll('select').forEach((s) => {"
                " s.value = 'all'; s.dispatchEvent(new Event('change')); });"
                "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
            )
        assert window.run("document.documentElement.scrollWidth") <= width
        assert window.run(REACHES_OUT) == [], (width, shown)
        assert window.run(OVERLAPS) == [], (width, shown)


def test_it_asks_for_nothing_and_has_no_error(window, file):
    window.requests.clear()
    window.open(file, WIDE)
    window.run("document.querySelectorAll('th button').forEach((b) => b.click())")
    asked = {r for r in window.requests if not r.startswith("data:")}
    assert asked == {file.as_uri()}
    assert window.errors == []


def test_every_section_is_there_and_the_list_leads_to_it(wide):
    targets = wide.run("[...document.querySelectorAll('nav a')].map((a) => a.hash.slice(1))")
    assert len(targets) == 15
    assert wide.run(f"{targets}.filter((at) => !document.getElementById(at))") == []


COLUMN = """
[...document.querySelectorAll("#iou-table tbody tr:not(.total)")]
  .map((row) => [row.cells[0].textContent, row.cells[1].firstChild.textContent])
"""


def test_a_head_sorts_its_table_and_again_turns_it_around(wide):
    click = "document.querySelectorAll('#iou-table thead button')[{}].click()"
    before = wide.run(COLUMN)
    assert [name for name, _ in before] == CLASSES
    wide.run(click.format(1))
    falling = wide.run(COLUMN)
    assert [name for name, _ in falling] == ["car", "road", "train"]  # 48.5, 31.5, none
    wide.run(click.format(1))
    # what has no number stays last
    assert [name for name, _ in wide.run(COLUMN)] == ["road", "car", "train"]
    head = "document.querySelectorAll('#iou-table th[aria-sort]')"
    assert wide.run(f"[{head}.length, {head}[0].ariaSort]") == [1, "ascending"]
    wide.run(click.format(0))
    assert [name for name, _ in wide.run(COLUMN)] == ["car", "road", "train"]
    last = "document.querySelector('#iou-table tbody').lastElementChild.className"
    assert wide.run(last) == "total"


SHOWN = """
[...document.querySelectorAll('[data-of="{}"]')].map((e) => e.getClientRects().length > 0)
"""
CHOOSE = """
(() => {{
  const list = document.querySelector('select[data-shows="{}"]');
  list.value = "{}";
  list.dispatchEvent(new Event("change"));
}})()
"""


def test_another_experiment_and_another_picture_can_be_chosen(wide):
    assert wide.run(SHOWN.format("classes")) == [True, False, False]
    wide.run(CHOOSE.format("classes", 1))
    assert wide.run(SHOWN.format("classes")) == [False, True, False]
    wide.run(CHOOSE.format("classes", "all"))
    assert wide.run(SHOWN.format("classes")) == [True, True, True]

    assert wide.run(SHOWN.format("picture")) == [True, False, False, False]
    wide.run(CHOOSE.format("picture", 2))
    assert wide.run(SHOWN.format("picture")) == [False, False, True, False]
    wide.run(CHOOSE.format("pictured", 1))
    of_third = wide.run(SHOWN.format("pictured"))
    assert of_third == [False] * 6 + [False, True, False] + [False] * 3


def test_on_paper_every_experiment_is_there_and_nothing_to_choose_from(wide):
    chosen = wide.run(SHOWN.format("pictured"))
    wide.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert wide.run(SHOWN.format("classes")) == [True, True, True]
        # all pictures, each with the experiments that were chosen
        assert wide.run(SHOWN.format("picture")) == [True] * 4
        assert chosen[:3] == [True] * 3 and wide.run(SHOWN.format("pictured")) == [True] * 12
        shown = "[...document.querySelectorAll('select')].some((s) => s.getClientRects().length)"
        assert wide.run(shown) is False
    finally:
        wide.send("Emulation.setEmulatedMedia", media="")


def test_no_table_is_wider_than_the_paper(wide):
    # A4 without its margins, in CSS pixels
    wide.send(
        "Emulation.setDeviceMetricsOverride",
        width=703, height=1020, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip
    wide.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert wide.run("document.documentElement.scrollWidth") <= 703
    finally:
        wide.send("Emulation.setEmulatedMedia", media="")


def test_in_the_dark_paper_is_dark_and_ink_is_bright(wide):
    colors = (
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )

    def brightness(scheme):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        wide.send("Emulation.setEmulatedMedia", features=features)
        found = wide.run(colors)
        return [sum(map(int, text[4:-1].split(","))) / 3 for text in found]

    paper, ink = brightness("dark")
    assert paper < 60 and ink > 200
    paper, ink = brightness("light")
    assert paper > 240 and ink < 60
