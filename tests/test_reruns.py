"""What runs again: every row of docs/reruns.md, by the plan, by the engine, and by the files."""

import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import rerun_page
from rerun_rows import (
    CODE,
    DATA,
    EXPERIMENTS,
    SETTINGS,
    comment,
    data_settings,
    docstring,
    files_below,
    layout,
    leaves,
    meaning,
    write_data,
    write_settings,
)
from scalewise import workflow as planning
from scalewise.code_digest import UNCOUNTED, CodeBase
from scalewise.plan import OUTPUTS
from street_sets import write_cityscapes
from warm_runs import Runners
from workflow_runs import ROOT, TINY, finished, planned, same_results, snakemake

SCRIPTS = ROOT / "workflow_scripts"
ROWS = SETTINGS + EXPERIMENTS
# `resources.gpus_per_job: 2` is among the changes
SLOTS = ("--resources", "gpu=2")
DRAWN = 10


def named(rows):
    return [pytest.param(row, id=str(row)) for row in rows]


def count(stages):
    return Counter(name for name, _ in stages)


def copy_of(folder, target):
    """A copy of a finished folder, in which a test may run what it likes."""
    return Path(shutil.copytree(folder, target, symlinks=True))


@pytest.fixture(scope="module")
def runners():
    runners = Runners(2)
    yield runners
    runners.close()


@pytest.fixture(scope="module")
def tiny(runners, tmp_path_factory):
    """A folder in which the tiny configuration is finished, with a set and weights beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    write_cityscapes(folder / "city", "train", 6, labels=True, size=(48, 96))
    runners.run(folder, [TINY])
    model = next(folder.glob("results/train_source/*/model.safetensors"))
    shutil.copy(model, folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def own(runners, tmp_path_factory):
    """A folder in which three folders of images are finished; they stand in data/ beside it."""
    folder = tmp_path_factory.mktemp("own")
    write_data(folder / "data")
    (folder / "run").mkdir()
    runners.run(folder / "run", [own_settings(folder / "data", folder / "own.yaml")])
    return folder


def own_settings(root, path):
    path.write_text(yaml.safe_dump(data_settings(root)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def code():
    return CodeBase(SCRIPTS)


@pytest.fixture
def in_tiny(tiny, code, monkeypatch):
    """Plans are made in the finished folder; the code is read once for all of them."""
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(planning, "CodeBase", lambda folder: code)
    return tiny


def plan_of(*files):
    """(stage, key) of all stages of a plan, and of those that are not finished."""
    stages = planning.load_plan(files).stages
    return set(stages), {k for k, stage in stages.items() if not planning.is_finished(stage)}


# --- settings, seeds, experiments, rounds ---------------------------------------------------------


def test_every_key_of_the_settings_is_in_a_row():
    content = yaml.safe_load(Path(ROOT, "config.yaml").read_text(encoding="utf-8"))
    in_rows = {key for row in ROWS for key in row.edits}
    in_rows -= {"data.target.map", "data.validation.map"}  # of any set; config.yaml shows one
    assert in_rows == set(leaves(content)), "rows: tests/rerun_rows.py; then make rerun-table"


@pytest.mark.parametrize(
    ("row", "key"),
    [pytest.param(row, key, id=f"{row}-{key}") for row in ROWS for key in row.edits],
)
def test_another_value_of_a_key_makes_the_jobs_of_its_row(row, key, in_tiny, tmp_path):
    before, changed = tmp_path / "before.yaml", tmp_path / "changed.yaml"
    present, unfinished = plan_of(TINY, write_settings(before, row.beside))
    assert row.beside or not unfinished
    edit = {key: row.edits[key]}
    _, unfinished = plan_of(TINY, write_settings(changed, row.beside, edit))
    assert count(unfinished - present) == row.reruns


def dry_run(folder, *configs, repository=ROOT):
    """Rule -> number of jobs that the engine would start."""
    status, printed = snakemake(folder, "-n", config=[*configs], slots=SLOTS, repository=repository)
    assert status == 0, printed
    found = planned(printed)
    found.pop("all", None)
    return found


ONE_OF_EACH = [
    row
    for row in ROWS
    if str(row).split(":")[0] in ("data.root", "data.validation", "selection.min_pixels",
                                  "patches.reliability", "a further seed", "a round less")
]  # fmt: skip


@pytest.mark.parametrize("row", named(ONE_OF_EACH))
def test_the_engine_starts_the_jobs_of_a_row(row, tiny, tmp_path):
    key = random.Random(str(row)).choice(list(row.edits))
    changed = write_settings(tmp_path / "changed.yaml", {key: row.edits[key]})
    assert dry_run(tiny, TINY, changed) == row.reruns


# --- code -----------------------------------------------------------------------------------------


class Remembering(CodeBase):
    """Reads the same text once: there are hundreds of code bases here."""

    known: dict = {}

    def _read(self, path):
        text = path, path.read_bytes()
        if text not in self.known:
            self.known[text] = super()._read(path)
        digest, imports = self.known[text]
        return digest, set(imports)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(SCRIPTS, tmp_path_factory.mktemp("code") / "w", ignore=ignored))


@pytest.fixture(scope="module")
def loaded(runners):
    """Stage -> modules that python itself loads when it imports the stage's script."""
    return {stage: runners.imported(stage) for stage in OUTPUTS}


FILES = [path.relative_to(SCRIPTS).as_posix() for path in files_below(SCRIPTS)]


def dependents(file, loaded):
    """The stages of whose code a file is a part, as python's own imports say."""
    path = Path(file)
    if path.parent == Path("."):
        return {path.stem} & set(OUTPUTS)
    module = ".".join(path.with_suffix("").parts)
    if path.suffix != ".py":  # a template beside a module: page.html.j2
        module = ".".join([*path.parent.parts, path.name.split(".")[0]])
    if module in UNCOUNTED:
        return set()
    module = module.removesuffix(".__init__")
    return {stage for stage, modules in loaded.items() if module in modules}


@pytest.mark.parametrize("file", FILES)
def test_other_code_in_a_file_counts_for_the_stages_that_load_it(file, scripts, loaded):
    def digests():
        code = Remembering(scripts)
        return {stage: code.digest(stage) for stage in OUTPUTS}

    path, before = scripts / file, digests()
    original = path.read_text(encoding="utf-8")
    try:
        path.write_text(meaning(original) if path.suffix == ".py" else original + "<p>")
        after = digests()
        changed = {stage for stage in OUTPUTS if after[stage] != before[stage]}
        assert changed == dependents(file, loaded)
        for edit in (comment, docstring, layout) if path.suffix == ".py" else ():
            path.write_text(edit(original), encoding="utf-8")
            assert path.read_text(encoding="utf-8") != original
            assert digests() == before, edit.__name__
    finally:
        path.write_text(original, encoding="utf-8")
    assert digests() == before


@pytest.fixture
def repository(tmp_path):
    """A copy of this repository's workflow, to be edited."""
    target = tmp_path / "clone"
    target.mkdir()
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, target)
    for name in ("rules", "profiles", "workflow_scripts"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.mark.parametrize("row", named(CODE))
def test_other_code_makes_the_jobs_of_its_row(row, in_tiny, scripts, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "CodeBase", Remembering)
    monkeypatch.setattr(planning, "SCRIPTS", scripts)
    path = scripts / row.file
    original = path.read_text(encoding="utf-8")
    changed = write_settings(tmp_path / "changed.yaml", row.edits)
    try:
        path.write_text(row.edit(original), encoding="utf-8")
        _, unfinished = plan_of(TINY, changed)
    finally:
        path.write_text(original, encoding="utf-8")
    assert count(unfinished) == row.reruns
    _, unfinished = plan_of(TINY)
    assert not unfinished


# --- data -----------------------------------------------------------------------------------------


def change_data(own, row, tmp_path):
    """A copy of the data with the row's change; settings for the copy before and after it."""
    root = tmp_path / "data"
    # times are kept: the index must not see a difference where there is none
    shutil.copytree(own / "data", root)
    before = own_settings(root, tmp_path / "before.yaml")
    return root, before


@pytest.mark.parametrize("row", named(DATA))
def test_a_change_of_the_data_makes_the_jobs_of_its_row(row, own, code, tmp_path, monkeypatch):
    monkeypatch.chdir(own / "run")
    monkeypatch.setattr(planning, "CodeBase", lambda folder: code)
    root, before = change_data(own, row, tmp_path)
    _, unfinished = plan_of(before)
    assert not unfinished
    place = row.do(root)
    _, unfinished = plan_of(own_settings(place, tmp_path / "after.yaml"))
    assert count(unfinished) == row.reruns
    # undone: what was there before is found again
    shutil.rmtree(place)
    shutil.copytree(own / "data", place)
    _, unfinished = plan_of(tmp_path / "after.yaml")
    assert not unfinished


# --- the page -------------------------------------------------------------------------------------


def test_the_page_is_current():
    found = rerun_page.PAGE.read_text(encoding="utf-8")
    assert found == rerun_page.text(), "write docs/reruns.md anew: make rerun-table"


# --- all of it by the engine, and the files -------------------------------------------------------


def both(work, items):
    """Call `work` with every item, two at a time; raise all that went wrong as one error."""

    def attempt(item):
        try:
            work(item)
        except Exception as error:
            return f"{item}: {type(error).__name__}: {error}"

    with ThreadPoolExecutor(2) as pool:
        wrong = [text for text in pool.map(attempt, items) if text]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
def test_the_engine_starts_the_jobs_of_every_row(tiny, tmp_path):
    """Of every row that starts from the configuration as it is, with a key drawn at random."""

    def work(row):
        key = random.Random(str(row)).choice(list(row.edits))
        changed = tmp_path / f"{ROWS.index(row)}.yaml"
        assert dry_run(tiny, TINY, write_settings(changed, {key: row.edits[key]})) == row.reruns

    both(work, [row for row in ROWS if not row.beside])


@pytest.mark.slow
def test_the_engine_starts_the_jobs_of_every_edit_of_the_code_and_none_once_it_is_undone(
    tiny, repository, tmp_path
):
    for row in CODE:
        path = repository / "workflow_scripts" / row.file
        original = path.read_text(encoding="utf-8")
        path.write_text(row.edit(original), encoding="utf-8")
        changed = write_settings(tmp_path / "changed.yaml", row.edits)
        assert dry_run(tiny, TINY, changed, repository=repository) == row.reruns, row
        path.write_text(original, encoding="utf-8")
    assert dry_run(tiny, TINY, repository=repository) == {}


def run_both(runners, settings, folder, fresh):
    """Finish what `settings` ask for in `folder`, whose results are older, and from nothing in
    `fresh`; assert that the files are the same; return the jobs that ran in `folder`."""
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(runners.run, fresh, settings)
        ran = runners.run(folder, settings)
        other.result()
    same_results(folder, fresh, finished(fresh))
    return ran


@pytest.mark.slow
@pytest.mark.parametrize("row", named(random.Random(4).sample(ROWS, DRAWN)))
def test_after_a_change_of_settings_the_files_are_those_of_a_run_from_nothing(
    row, tiny, runners, tmp_path
):
    folder, fresh = copy_of(tiny, tmp_path / "run"), tmp_path / "fresh"
    fresh.mkdir()
    shutil.copytree(tiny / "city", fresh / "city")
    shutil.copy(tiny / "weights.safetensors", fresh)
    if row.beside:
        runners.run(folder, [TINY, write_settings(tmp_path / "before.yaml", row.beside)])
    key = random.Random(str(row)).choice(list(row.edits))
    changed = write_settings(tmp_path / "changed.yaml", row.beside, {key: row.edits[key]})
    ran = run_both(runners, [TINY, changed], folder, fresh)
    assert count(ran) == row.reruns
    assert runners.run(folder, [TINY]) == []


@pytest.mark.slow
@pytest.mark.parametrize("row", named(DATA))
def test_after_a_change_of_the_data_the_files_are_those_of_a_run_from_nothing(
    row, own, runners, tmp_path
):
    folder, fresh = copy_of(own / "run", tmp_path / "run"), tmp_path / "fresh"
    fresh.mkdir()
    root, before = change_data(own, row, tmp_path)
    assert runners.run(folder, [before]) == []
    after = own_settings(row.do(root), tmp_path / "after.yaml")
    assert dry_run(folder, after) == row.reruns
    ran = run_both(runners, [after], folder, fresh)
    assert count(ran) == row.reruns


@pytest.mark.slow
def test_after_an_edit_of_the_code_the_files_are_those_of_a_run_from_nothing(
    own, runners, repository, tmp_path
):
    """An edit of a module far from any script, that changes every number after it."""
    settings = [own / "own.yaml"]
    folder, fresh = copy_of(own / "run", tmp_path / "run"), tmp_path / "fresh"
    fresh.mkdir()
    path = repository / "workflow_scripts/scalewise/selftraining/confidence.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + WRONG_ENTROPY, encoding="utf-8")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(runners.run, fresh, settings, path.parents[2])
        ran = runners.run(folder, settings, path.parents[2])
        other.result()
    # the round's and its result's
    assert count(ran)["score_target"] == 2 and "train_source" not in count(ran)
    same_results(folder, fresh, finished(fresh))
    scores = [p.read_bytes() for p in folder.glob("results/score_target/*/scores.csv")]
    assert len(set(scores)) == len(scores) == 4
    path.write_text(text, encoding="utf-8")
    assert runners.run(folder, settings, path.parents[2]) == []


@pytest.mark.slow
def test_the_engines_results_are_the_ones_of_the_forked_runs(own, tmp_path):
    status, printed = snakemake(tmp_path, config=own / "own.yaml", slots=SLOTS)
    assert status == 0, printed
    assert same_results(tmp_path, own / "run") > 20


WRONG_ENTROPY = """

_right = normalised_entropy


def normalised_entropy(*args, **kwargs):
    return 1 - _right(*args, **kwargs)
"""
