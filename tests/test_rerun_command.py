"""rerun: settings.json is enough to make a result again."""

import copy
import json
import shlex
from pathlib import Path

import pytest
import yaml

import rerun
from made_up_results import finish, finish_all, finished_tiny, of
from scalewise import config
from scalewise.workflow import DEFAULT_CONFIG, load_plan
from street_sets import write_cityscapes
from test_plan import make_plan
from workflow_runs import ROOT, TINY, edited, program, snakemake

READY = sorted((ROOT / "configs").glob("*.yaml"))
FREE = {
    "compatibility": "authors_code",
    "experiments": [
        {"name": "as_released"},
        {"name": "own", "compatibility": "none", "patches": {"scale": 3}},
        {"name": "half", "compatibility": "authors_code", "threshold": {"estimator": "none"}},
    ],
}
SWITCHED = {
    "experiments": [{"name": "lse"}, {"name": "as_released", "compatibility": "authors_code"}]
}
# a style says all in which a domain differs from the source: that of config.yaml must not leak in
PLAIN = {"experiments": [{"name": "lse"}, {"name": "same", "data": {"target": {"style": {}}}}]}


def written(path):
    return yaml.safe_load(path.read_text())


def keys(plan, user=None):
    """The keys of all stages but the report, or of those of an experiment and seed."""
    return {
        which
        for which, stage in plan.stages.items()
        if (which[0] != "report" if user is None else any(u[:2] == user for u in stage.users))
    }


@pytest.mark.parametrize(
    "changes",
    [{}, FREE, SWITCHED, PLAIN, *(pytest.param(p, id=p.stem) for p in READY)],
)
def test_the_configuration_in_a_result_gives_the_keys_of_the_plan_that_made_it(tmp_path, changes):
    """For each experiment and seed, and for the whole project; as JSON, which is how it is kept."""
    changes = written(changes) if isinstance(changes, Path) else changes
    plan = make_plan(tmp_path, {**changes, "seeds": [0, 3]})

    def again(content):
        text = rerun.as_yaml(json.loads(json.dumps(content, sort_keys=True)), Path("x"))
        return make_plan(tmp_path, yaml.safe_load(text))

    for experiment in plan.project.experiments:
        user = (experiment.name, 3)
        found = again(config.resolved(plan.project, *user))
        assert keys(found, user) == keys(plan, user)
        assert [e.name for e in found.project.experiments] == [experiment.name]
    whole = again(config.resolved(plan.project))
    assert keys(whole) == keys(plan)
    if changes is not FREE:  # there the row lists all that it now sets itself
        assert whole.report.key == plan.report.key


def test_a_result_holds_the_configuration_of_its_first_experiment_and_of_the_project_where_all_share_it(  # noqa: E501
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(tmp_path, {"seeds": [4, 5]})
    zoomed = of(plan, "retrain", "source_zoom", 2, 5)
    record = json.loads((finish(zoomed) / "settings.json").read_text())
    row = record["config"]["experiments"]
    assert [r["name"] for r in row] == ["source_zoom"] and set(row[0]) == {
        "name", "role", "description",
    }  # fmt: skip
    assert record["config"]["seeds"] == [5]
    assert record["config"]["retraining"]["source_zoom"] == 0.5
    assert record["users"] == [["source_zoom", 5, 2]]
    assert record["title"] == zoomed.title
    scan = next(s for s in plan.stages.values() if s.name == "scan_images")
    record = json.loads((finish(scan) / "settings.json").read_text())
    assert len(record["config"]["experiments"]) == 5
    assert record["config"]["seeds"] == [4, 5]


def test_relative_folders_start_from_where_they_did(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = {"data": {"target": {"format": "cityscapes", "root": "city", "split": "train"}}}

    def root(changes):
        return config.resolved(make_plan(tmp_path, changes).project)["data"]["root"]

    assert root(folder) == str(tmp_path)
    monkeypatch.setenv("SCALEWISE_DATA", "/data")
    assert root(folder) == "/data"
    assert root(config.merge(folder, {"data": {"root": "sets"}})) == str(tmp_path / "sets")
    # procedural sets are nowhere
    assert root({}) is None


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The finished plan of the tiny configuration in a folder of its own."""
    return finished_tiny(tmp_path / "made", monkeypatch)


def edit(stage, change):
    """Change the record of a stage's result."""
    path = Path(stage.folder, "settings.json").absolute()
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    return path


def test_it_prints_the_configuration_and_says_the_command(tiny, tmp_path):
    stage = of(tiny, "retrain", number=2)
    record = edit(stage, lambda r: r.update(threads=3))
    empty = tmp_path / "empty"
    empty.mkdir()
    done = program("rerun", empty, record)
    assert done.returncode == 0, done.stderr
    content = yaml.safe_load(done.stdout)
    assert (content["project"], content["seeds"]) == ("tiny", [0])
    assert list(content) == list(written(DEFAULT_CONFIG))  # in its order
    # the last bits of a training depend on the number of threads
    assert content["resources"]["threads"] == 3
    (command,) = [line for line in done.stderr.splitlines() if line.startswith("snakemake ")]
    words = shlex.split(command)
    assert words[words.index("--cores") + 1] == "3"
    assert words[words.index("--") + 1 :] == stage.outputs
    assert "warning" not in done.stderr and "already" not in done.stderr
    # given the folder instead, where it is made already
    done = program("rerun", Path.cwd(), stage.folder, "--output", "again.yaml")
    assert done.stdout == "" and f"{stage.folder} is here already" in done.stderr
    assert "--configfile again.yaml" in done.stderr
    assert yaml.safe_load(Path("again.yaml").read_text()) == content


def test_other_code_is_told_with_its_files_and_so_is_that_of_what_the_result_reads(tiny):
    def older(record):
        record.update(code="0" * 16, key="0" * 16)
        record["code_files"]["scalewise/training/losses.py"] = "another"

    stage = of(tiny, "retrain", number=1)
    path = edit(stage, older)
    done = program("rerun", Path.cwd(), path)
    assert f"warning: this now makes {stage.folder}, not {'0' * 16}" in done.stderr
    assert "    retrain: code: scalewise/training/losses.py\n" in done.stderr
    # an evaluation of that model, which is there, and one of a model that is not
    Path(stage.folder).rename(Path(stage.folder).with_name("0" * 16))
    for key, wanted in (
        ("0" * 16, "    retrain: code: scalewise/training/losses.py\n"),
        ("1" * 16, f"    evaluate: input: model was retrain/{'1' * 16}, which is not here\n"),
    ):

        def other_model(record, key=key):
            record["key"] = "2" * 16
            record["inputs"]["model"]["key"] = key

        done = program("rerun", Path.cwd(), edit(of(tiny, "evaluate", number=1), other_model))
        assert "warning: this now makes results/evaluate/" in done.stderr
        assert wanted in done.stderr


def test_data_that_changed_or_are_gone_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cityscapes(tmp_path / "data" / "city", "train", 2, labels=True)
    city = {"format": "cityscapes", "root": "city", "split": "train"}
    path = edited(tmp_path, {"data": {**written(TINY)["data"], "source": city}})
    monkeypatch.setenv("SCALEWISE_DATA", str(tmp_path / "data"))
    plan = load_plan([path])
    finish_all(plan)
    monkeypatch.delenv("SCALEWISE_DATA")
    result = Path(plan.rounds[0].stages["train_source"].folder, "settings.json")
    assert "warning" not in program("rerun", tmp_path, result).stderr
    image = next((tmp_path / "data").rglob("*_leftImg8bit.png"))
    image.write_bytes(image.read_bytes() + b"x")
    done = program("rerun", tmp_path, result)
    assert done.returncode == 0
    assert "    scan_images: data: other files: images\n" in done.stderr
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    done = program("rerun", tmp_path, result)
    assert done.returncode == 1
    assert yaml.safe_load(done.stdout)["data"]["root"] == str(tmp_path / "data")
    assert f"{tmp_path}/data/city: no such folder" in done.stderr
    assert f"-- {result.parent}/model.safetensors" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_result_or_says_no_configuration_is_one_message(tiny, tmp_path):
    old = edit(of(tiny, "retrain"), lambda r: r.pop("config"))
    other = tmp_path / "other.json"
    other.write_text("{}")
    for path, wanted in (
        (old, "it does not say its configuration"),
        (other, "no settings.json of a result"),
        (tmp_path / "nothing.json", "no settings.json of a result"),
    ):
        done = program("rerun", tmp_path, path)
        assert done.returncode == 1 and done.stdout == ""
        assert f"{path}: {wanted}" in done.stderr
        assert "Traceback" not in done.stderr
    done = program("rerun", tmp_path, of(tiny, "retrain", number=2).folder + "/settings.json")
    assert done.returncode == 1  # that path starts from another folder


@pytest.mark.slow
def test_a_retraining_and_its_evaluation_are_made_again_to_the_byte_in_an_empty_folder(tmp_path):
    content = copy.deepcopy(written(TINY))
    content.update(
        seeds=[3],
        rounds={"portions": [0.6]},
        source_training={"steps": 4, "batch": 4},
        experiments=[
            {"name": "zoom ;$(x)", "patches": {"scale": 1.5}, "retraining": {"target_batch": 8}}
        ],
    )
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump(content))
    made, again = tmp_path / "made", tmp_path / "made again"
    made.mkdir()
    again.mkdir()
    status, printed = snakemake(made, config=path)
    assert status == 0, printed
    (retrain,) = made.glob("results/retrain/*/settings.json")
    evaluations = [
        p
        for p in made.glob("results/evaluate/*/settings.json")
        if json.loads(p.read_text())["users"] == [["zoom ;$(x)", 3, 1]]
    ]
    (evaluate,) = evaluations
    for record, name in ((retrain, "model.safetensors"), (evaluate, "iou.csv")):
        done = program("rerun", again, record, "--run")
        assert done.returncode == 0, done.stderr
        result = record.parent.relative_to(made)
        assert (again / result / name).read_bytes() == (made / result / name).read_bytes()
    # the evaluation took the model that was made by then
    assert "1 of 1 steps (100%) done" in done.stdout + done.stderr
    assert not list(again.glob("results/report*"))
