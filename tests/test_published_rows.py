"""The published rows beside a real run: where data sets and classes agree, and nowhere else."""

import re

import pytest

from scalewise.reporting import published
from street_sets import write_cityscapes, write_gta5
from workflow_runs import edited, snakemake

DATA = {
    "classes": "cityscapes",
    "size": [32, 64],
    "source": {"format": "gta5", "root": "gta5"},
    "target": {"format": "cityscapes", "root": "cityscapes", "split": "train"},
    "validation": {"format": "cityscapes", "root": "cityscapes", "split": "val"},
}


def table_of(page):
    """Heads, and class -> cells, of the table of all classes and experiments, as text."""
    table = page[page.index('id="iou-table"') :].split("</table>")[0]

    def texts(part, cell):
        found = re.findall(rf"<{cell}[^>]*>(.*?)</{cell}>", part, re.DOTALL)
        found = [re.sub(r"<small.*?</small>|<wbr>", "", text) for text in found]
        return [" ".join(re.sub("<[^>]*>", " ", text).split()) for text in found]

    head, body = table.split("<tbody>")
    return texts(head, "th"), {texts(r, "th")[0]: texts(r, "td") for r in body.split("<tr")[1:]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """GTA5 to Cityscapes by folders of a few images in their real layouts, one experiment."""
    root, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    write_gta5(root / "gta5", 4)
    write_cityscapes(root / "cityscapes", "train", 6, labels=False)
    write_cityscapes(root / "cityscapes", "val", 2, labels=True)
    changes = {
        "project": "small_gta5",
        "data": {"root": str(root), **DATA},
        "source_training": {"steps": 2, "batch": 2},
        "rounds": {"portions": [0.6]},
        "patches": {"per_image": 1, "claim_images": 2},
        "threshold": {"estimator": "none"},  # of so few pixels none might be reliable
        "experiments": [{"name": "lse", "role": "method"}],
    }
    status, printed = snakemake(folder, config=edited(folder, changes))
    assert status == 0, printed
    return (folder / "results/report/small_gta5/index.html").read_text(encoding="utf-8")


def test_the_published_numbers_stand_in_columns_beside_those_of_the_run(run):
    heads, rows = table_of(run)
    known = {row.name: row.iou for row in published.read() if row.source == "gta5"}
    names = list(known)
    assert heads[:2] == ["class", "source-only"] and "lse" in heads[2]
    assert [head.removeprefix("published: ") for head in heads[3:]] == names
    for of_class in ("road", "train", "bicycle"):
        assert rows[of_class][2:] == [f"{known[name][of_class]:.1f}" for name in names]
    for means in ("19 classes", "16 classes", "13 classes"):
        beside = [known[name].get(means) for name in names]
        assert rows[f"mean of {means}"][2:] == [f"{iou:.1f}" if iou else "–" for iou in beside]
    own = [float(cell) for cell in rows["mean of 19 classes"][:2]]
    assert all(0 <= iou < 100 for iou in own)
    assert published.source_of_numbers().split('"')[1] in run
