"""Settings: what is merged, what is refused and in which words, what is converted."""

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scalewise import config
from scalewise.compatibility import DIFFERENCES
from scalewise.config import ConfigError, load, merge, read_yaml
from scalewise.config.generated import ABOVE, ANCHORS, BESIDE, default_file, schema
from scalewise.config.sections import ExperimentRow

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "config.yaml"
TINY = ROOT / "tests" / "configs" / "tiny.yaml"
sys.path.insert(0, str(ROOT / "workflow_scripts"))
import make_settings  # noqa: E402

FOLDER = "format: folder, root: x, images: '*.png'"


@pytest.fixture
def load_text(tmp_path):
    """Load a project's file of this text on top of the default."""

    def load_it(text, overrides=None):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return load([DEFAULT, path], overrides)

    return load_it


@pytest.fixture
def message(load_text):
    def of(text, overrides=None):
        with pytest.raises(ConfigError) as failed:
            load_text(text, overrides)
        return str(failed.value)

    return of


# --- files of the repository ----------------------------------------------------------------------


def test_the_shipped_default_loads():
    project = load([DEFAULT])
    assert project.name and project.experiments and project.settings.seeds


@pytest.mark.parametrize(
    "path", [TINY, *sorted((ROOT / "configs").glob("*.yaml"))], ids=lambda path: path.stem
)
def test_a_project_file_loads_on_top_of_the_default(path):
    assert load([DEFAULT, path]).name == read_yaml(path)["project"]


def test_the_settings_of_the_walk_from_zero_load(load_text):
    page = (ROOT / "docs" / "from_zero.md").read_text(encoding="utf-8")
    settings = load_text(page.split("```yaml\n")[1].split("```")[0]).settings
    assert settings.data.source.id_to_class == settings.data.validation.id_to_class
    assert [row.name for row in settings.experiments] == ["lse", "source_zoom"]


def test_the_tiny_project_is_the_default_but_for_what_it_says():
    default, tiny = load([DEFAULT]).settings, load([DEFAULT, TINY]).settings
    assert tiny.data.size == (48, 96) and tiny.source_training.steps == 30
    assert tiny.data.source.style == default.data.source.style
    assert tiny.source_training.optimizer == default.source_training.optimizer


@pytest.mark.parametrize("path", make_settings.FILES, ids=lambda path: path.name)
def test_the_committed_file_is_what_the_typed_settings_generate(path):
    committed = path.read_text(encoding="utf-8")
    assert committed == make_settings.FILES[path](), "run make settings"


def test_the_default_file_reads_back_as_the_defaults_of_the_typed_settings():
    default = config.ProjectSettings().model_dump(mode="json")
    assert load([DEFAULT]).settings.model_dump(mode="json") == default
    # of a list's entries the keys that are not given stay away
    assert [list(row) for row in read_yaml(DEFAULT)["experiments"]] == [
        ["name", "role", "description", *changed]
        for changed in (
            [],
            ["patches", "prediction", "rounds"],
            ["patches"],
            ["retraining"],
            ["rounds"],
        )
    ]


def test_every_key_of_the_default_file_is_explained_where_it_stands_first():
    text, told = default_file(), set()
    lines = text.splitlines()

    def read(section):
        for key, value in section.value:
            is_section = isinstance(value, yaml.MappingNode) and not value.flow_style
            if "#" in lines[key.start_mark.line]:
                told.add(key.value)
            else:
                assert is_section or key.value in told, lines[key.start_mark.line]
            if is_section:
                read(value)

    read(yaml.compose(text))
    assert len(told) > 80


def test_no_line_of_the_default_file_is_longer_than_a_hundred_columns():
    assert max(map(len, default_file().splitlines())) <= 100


def test_what_is_said_of_a_place_in_the_default_file_stands_in_it():
    text = default_file()
    said = " ".join(line.split("#")[-1].strip() for line in text.splitlines())
    for comment in (*ABOVE.values(), *BESIDE.values()):
        assert said.count(comment) == 1
    for name in ANCHORS.values():
        assert text.count(f"&{name}") == 1 and text.count(f"*{name}") >= 1


def test_the_schema_accepts_every_settings_file_and_refuses_a_misspelt_key():
    check = jsonschema.Draft202012Validator(schema())
    for path in (DEFAULT, TINY, *(ROOT / "configs").glob("*.yaml")):
        # JSON's keys are text
        assert not list(check.iter_errors(json.loads(json.dumps(read_yaml(path)))))
    for wrong in (
        {"patches": {"scal": 2}},
        {"data": {"source": {"imges": 3}}},
        {"experiments": [{"name": "a", "patchs": {}}]},
        {"experiments": [{"name": "a", "patches": {"scale": "x"}}]},
    ):
        assert list(check.iter_errors(wrong)), wrong


def test_every_key_has_a_description():
    schema = config.ProjectSettings.model_json_schema()
    without = [
        f"{name}.{key}"
        for name, section in [("top", schema), *schema["$defs"].items()]
        for key, content in section["properties"].items()
        if "description" not in content and "$ref" not in content
    ]
    assert without == []
    assert all("description" in section for section in schema["$defs"].values())


# --- merging --------------------------------------------------------------------------------------

TREES = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.dictionaries(st.sampled_from("abcd"), TREES, max_size=4)


def leaves(content, path=()):
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, content


@given(SECTIONS, SECTIONS)
def test_what_the_later_file_says_holds_and_all_else_stays(base, over):
    merged = dict(leaves(merge(base, over)))
    said = dict(leaves(over))
    for path, value in said.items():
        if path and value != {}:
            assert merged[path] == value
    for path, value in leaves(base):
        related = any(
            other[: len(path)] == path[: len(other)] for other, v in said.items() if other
        )
        if path and not related:
            assert merged[path] == value


@given(SECTIONS, SECTIONS)
def test_merging_leaves_its_arguments_alone(base, over):
    before = json.dumps([base, over])
    merge(base, over)
    assert json.dumps([base, over]) == before


@given(SECTIONS)
def test_merging_with_nothing_or_with_itself_changes_nothing(content):
    assert merge(content, {}) == content == merge({}, content) == merge(content, content)


def test_lists_and_id_maps_are_replaced_whole():
    base = {"a": [1, 2, 3], "id_to_class": {0: "road", 1: "sky"}, "other": {0: "x"}}
    over = {"a": [4], "id_to_class": {1: "tree"}, "other": {1: "y"}}
    assert merge(base, over) == {
        "a": [4],
        "id_to_class": {1: "tree"},
        "other": {0: "x", 1: "y"},
    }


def test_another_format_replaces_the_section_whole_and_the_same_one_does_not():
    base = {"source": {"format": "streets", "images": 5, "style": {"fog": 1}}}
    assert merge(base, {"source": {"format": "camvid", "root": "x"}}) == {
        "source": {"format": "camvid", "root": "x"}
    }
    assert merge(base, {"source": {"format": "streets", "images": 6}})["source"] == {
        "format": "streets",
        "images": 6,
        "style": {"fog": 1},
    }


def test_a_row_of_experiments_overrides_the_project_and_not_the_other_rows(load_text):
    one, two = load_text(
        "patches: {scale: 3, per_image: 7}\n"
        "experiments: [{name: one, patches: {scale: 1}}, {name: two}]"
    ).experiments
    assert (one.settings.patches.scale, one.settings.patches.per_image) == (1, 7)
    assert (two.settings.patches.scale, two.settings.patches.per_image) == (3, 7)
    assert one.differences == {"patches.scale": 1.0}
    assert two.differences == {}


# --- conversion -----------------------------------------------------------------------------------


def test_the_headline_may_be_over_a_subset_of_the_classes(load_text):
    assert load_text("").settings.report.classes == "all"
    assert load_text("report: {classes: 13 classes}").settings.report.classes == "13 classes"


def test_numbers_given_as_text_are_numbers(load_text):
    changed = load_text(
        "source_training: {steps: '30', optimizer: {learning_rate: 1e-1}}\n"
        "retraining: {freeze_batchnorm: 'false'}\n"
        "experiments: [{name: lse}]"  # `recommended` would have its own statistics
    ).settings
    assert changed.source_training.optimizer.learning_rate == 0.1
    assert changed.source_training.steps == 30 and type(changed.source_training.steps) is int
    assert changed.retraining.freeze_batchnorm is False


@pytest.mark.parametrize("seeds", ["[0,1,2]", ["0", "1", "2"], "[0, '1', 2]"])
def test_seeds_of_the_command_line_are_whole_numbers(load_text, seeds):
    assert load_text("", {"seeds": seeds}).settings.seeds == [0, 1, 2]


def test_text_of_the_command_line_gives_the_same_settings_as_a_file(load_text):
    text = {
        "data": {"size": ["32", "64"], "root": "null"},
        "patches": "{scale: 1}",
        "experiments": "[{name: a, rounds: {portions: ['0.5']}}]",
    }
    file = (
        "data: {size: [32, 64], root: null}\npatches: {scale: 1.0}\n"
        "experiments: [{name: a, rounds: {portions: [0.5]}}]"
    )
    one, other = load_text("", text), load_text(file)
    assert one.settings.model_dump(exclude={"experiments"}) == other.settings.model_dump(
        exclude={"experiments"}
    )
    assert one.experiments == other.experiments
    assert one.settings.data.root is None


def numeric_keys(content, path=()):
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from numeric_keys(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)
        elif isinstance(value, tuple | list) and value and isinstance(value[0], int | float):
            yield (*path, key, 0)


def every_number():
    resolved = load([DEFAULT]).settings.model_dump(exclude={"experiments"})
    return sorted(numeric_keys(resolved), key=str)


@pytest.mark.parametrize("wrong", [True, math.nan, math.inf, "many", None, [1]], ids=repr)
def test_no_number_takes_anything_else(wrong):
    resolved = load([DEFAULT]).settings.model_dump(mode="json")
    keys = every_number()
    assert len(keys) > 50
    for path in keys:
        if path == ("patches", "scale") and wrong == [1]:
            continue  # several scales in turn
        if path[:2] == ("rounds", "health") and wrong is None:
            continue  # null switches a limit off
        changed = json.loads(json.dumps(resolved))
        node = changed
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = wrong
        with pytest.raises(ValidationError):
            config.ProjectSettings.model_validate(changed)


# --- mistakes, one line each ----------------------------------------------------------------------

MISTAKES = {
    # unknown keys
    "seed: [0]": "mine.yaml: seed: unknown key; did you mean 'seeds'?",
    "source_training: {optimizer: {lerning_rate: 1}}": (
        "mine.yaml: source_training.optimizer.lerning_rate: unknown key; "
        "did you mean 'learning_rate'?"
    ),
    "data: {source: {imges: 3}}": (
        "mine.yaml: data.source.imges: unknown key; did you mean 'images'?"
    ),
    "data: {target: {format: camvid, root: x, rooot: x}}": (
        "mine.yaml: data.target.rooot: unknown key; did you mean 'root'?"
    ),
    "data: {source: {format: cityscapes, root: x, split: train, splitt: val}}": (
        "mine.yaml: data.source.splitt: unknown key; did you mean 'split'?"
    ),
    f"data: {{source: {{{FOLDER}, label: '{{id}}.png'}}}}": (
        "mine.yaml: data.source.label: unknown key; did you mean 'labels'?"
    ),
    "data: {classes: [{name: a, color: [1, 2, 3], colour: 1}]}": (
        "mine.yaml: data.classes (entry 1).colour: unknown key; did you mean 'color'?"
    ),
    "experiments: [{name: a, patchs: {scale: 1}}]": (
        "mine.yaml: experiment 'a': patchs: unknown key; did you mean 'patches'?"
    ),
    "experiments: [{name: a, retraining: {focal: {betta: 1}}}]": (
        "mine.yaml: experiment 'a': retraining.focal.betta: unknown key; did you mean 'beta'?"
    ),
    "experiments: [{name: a, minimum_per_class: 1}]": (
        "mine.yaml: experiment 'a': minimum_per_class: unknown key; "
        "did you mean selection.minimum_per_class?"
    ),
    "experiments: [{name: a, seeds: [1]}]": (
        "mine.yaml: experiment 'a': seeds: not a key of a row; it is the same for all experiments: "
        "set it outside of the rows"
    ),
    "patches: {zzz: 1}": (
        "mine.yaml: patches.zzz: unknown key; "
        "valid keys: per_image, scale, reliability, claim_images"
    ),
    # types
    "source_training: {steps: many}": (
        "mine.yaml: source_training.steps: must be a whole number, not 'many'"
    ),
    "source_training: {steps: 3.5}": (
        "mine.yaml: source_training.steps: must be a whole number, not 3.5"
    ),
    "source_training: {steps: true}": (
        "mine.yaml: source_training.steps: must be a number, not true"
    ),
    "source_training: {steps: }": (
        "mine.yaml: source_training.steps: must be a whole number, not nothing"
    ),
    "network: {dropout: a lot}": "mine.yaml: network.dropout: must be a number, not 'a lot'",
    "retraining: {freeze_batchnorm: 1}": (
        "mine.yaml: retraining.freeze_batchnorm: must be true or false, not 1"
    ),
    "project: 2024": (
        "mine.yaml: project: must be text (in quotes where it looks like something else), not 2024"
    ),
    "seeds: 3": (
        "mine.yaml: seeds: must be a list, in [brackets] or with a dash before each entry, not 3"
    ),
    "patches: ": ("mine.yaml: patches: this section is empty: give its keys, or leave it out"),
    "patches: 2": "mine.yaml: patches: must be a section of keys, not 2",
    "experiments: [{name: a, patches: 2}]": (
        "mine.yaml: experiment 'a': patches: must be a section of keys, not 2"
    ),
    "experiments: [a]": "mine.yaml: experiments (entry 1): must be a section of keys, not 'a'",
    "data: {source: text}": "mine.yaml: data.source: must be a section of keys, not 'text'",
    "data: {size: [96]}": (
        "mine.yaml: data.size: must be two numbers, height and width, as in [96, 192], not [96]"
    ),
    "data: {size: 96x192}": (
        "mine.yaml: data.size: must be two numbers, height and width, as in [96, 192], not '96x192'"
    ),
    # values
    "rounds: {portions: [0.3, 1.4]}": (
        "mine.yaml: rounds.portions (entry 2): must be at most 1, not 1.4"
    ),
    "{rounds: {target_statistics: 0.5}, retraining: {freeze_batchnorm: false}}": (
        "config.yaml: experiment 'lse': rounds.target_statistics: each domain then has its own "
        "statistics, which stay as they are: set retraining.freeze_batchnorm: true"
    ),
    "{rounds: {target_statistics: 0.5}, network: {name: fcn8s_vgg16}}": (
        "config.yaml: experiment 'lse': rounds.target_statistics: fcn8s_vgg16 has no batch-norm "
        "whose statistics could be re-estimated: leave it at 0"
    ),
    "experiments: [{name: a, network: {name: segformer}, rounds: {target_statistics: 0.5, "
    "statistics_layers: shallow}}]": (
        "mine.yaml: experiment 'a': rounds.statistics_layers: segformer has no batch-norm in its "
        "shallow layers: leave it at all, or target_statistics at 0"
    ),
    "rounds: {statistics_layers: deep}": (
        "mine.yaml: rounds.statistics_layers: must be one of all, shallow, not 'deep'"
    ),
    "rounds: {health: {source: -0.5}}": (
        "mine.yaml: rounds.health.source: must be at least 0, not -0.5"
    ),
    "rounds: {portions: [-0.1]}": (
        "mine.yaml: rounds.portions (entry 1): must be more than 0, not -0.1"
    ),
    "patches: {scale: -1}": (
        "mine.yaml: patches.scale: must be positive; -1 is not. The paper's scale is 2"
    ),
    "patches: {scale: 0}": (
        "mine.yaml: patches.scale: must be positive; 0 is not. The paper's scale is 2"
    ),
    "patches: {scale: [1, {from: 0, to: 2}]}": (
        "mine.yaml: patches.scale: must be positive; 0 is not. The paper's scale is 2"
    ),
    "patches: {scale: [1, two]}": (
        "mine.yaml: patches.scale (entry 2): must be a number, not 'two'"
    ),
    "prediction: {scales: [1, 2, 1]}": (
        "mine.yaml: prediction.scales: 1 stands twice; a view that is seen again says no more"
    ),
    "prediction: {scales: []}": "mine.yaml: prediction.scales: must have at least 1 entry",
    "prediction: {scales: [1, 0]}": (
        "mine.yaml: prediction.scales (entry 2): must be more than 0, not 0"
    ),
    "patches: {scale: .nan}": "mine.yaml: patches.scale: must be a finite number, not nan",
    "patches: {scale: .inf}": "mine.yaml: patches.scale: must be a finite number, not inf",
    "source_training: {steps: 0}": "mine.yaml: source_training.steps: must be at least 1, not 0",
    "network: {width: 9}": "mine.yaml: network.width: must be a multiple of 8, not 9",
    "source_training: {optimizer: {name: adma}}": (
        "mine.yaml: source_training.optimizer.name: must be one of adam, adamw, sgd, not 'adma'; "
        "did you mean 'adam'?"
    ),
    "source_training: {augmentation: {scale: [2, 1]}}": (
        "mine.yaml: source_training.augmentation.scale: the first number is the smaller one, "
        "as in [0.5, 2]"
    ),
    "code: {retrain: pin}": (
        "mine.yaml: code.retrain: must be pinned, not 'pin'; did you mean 'pinned'?"
    ),
    "seeds: [1, 2, 1]": "mine.yaml: seeds: '1' stands twice; each needs its own",
    "seeds: [1, '1']": "mine.yaml: seeds: '1' stands twice; each needs its own",
    "seeds: [-1]": "mine.yaml: seeds (entry 1): must be at least 0, not -1",
    "experiments: []": "mine.yaml: experiments: must have at least 1 entry",
    "experiments: [{role: method}]": ("mine.yaml: experiments (entry 1).name: this key is missing"),
    "experiments: [{name: a}, {name: b}, {name: a}]": (
        "mine.yaml: experiments: 'a' stands twice; each needs its own"
    ),
    "experiments: [{name: a, role: abalation}]": (
        "mine.yaml: experiments (entry 1).role: must be one of method, control, ablation, "
        "ceiling, not 'abalation'; did you mean 'ablation'?"
    ),
    # a ceiling's sections are looked at before they are checked
    "experiments: [{name: a, role: ceiling, data: 2}]": (
        "mine.yaml: experiment 'a': data: must be a section of keys, not 2"
    ),
    "experiments: [{name: a, role: ceiling, rounds: 2}]": (
        "mine.yaml: experiment 'a': rounds: must be a section of keys, not 2"
    ),
    "experiments: [{name: a, role: ceiling, data: {target: 2}}]": (
        "mine.yaml: experiment 'a': data.target: must be a section of keys, not 2"
    ),
    "experiments: [{name: a, role: ceiling, patchs: {scale: 1}}]": (
        "mine.yaml: experiment 'a': patchs: unknown key; did you mean 'patches'?"
    ),
    "report: {classes: 14 classes}": (
        "mine.yaml: report.classes: must be one of all, 16 classes, 13 classes, not '14 classes'"
    ),
    # data
    "data: {source: {format: cityscape}}": (
        "mine.yaml: data.source.format: must be one of streets, gta5, synthia, cityscapes, "
        "camvid, folder, not 'cityscape'; did you mean 'cityscapes'?"
    ),
    "data: {source: {format: camvid}}": "mine.yaml: data.source.root: this key is missing",
    "data: {classes: kitti}": (
        "mine.yaml: data.classes: must be one of cityscapes, camvid, or a list of {name, color}, "
        "not 'kitti'"
    ),
    "data: {classes: [{name: a, color: [1, 2, 300]}]}": (
        "mine.yaml: data.classes (entry 1).color (entry 3): must be at most 255, not 300"
    ),
    "data: {classes: [{name: a; b, color: [1, 2, 3]}]}": (
        "mine.yaml: data.classes (entry 1).name: 'a; b' is no class name: printable characters, "
        "no semicolon"
    ),
    "data: {classes: [{name: a, color: [1, 2, 3]}, {name: a, color: [1, 2, 3]}]}": (
        "mine.yaml: data.classes: must be 2 to 254 different names, none of them 'ignore'; "
        "'a' is wrong"
    ),
    f"data: {{source: {{{FOLDER}}}}}": (
        "mine.yaml: data.source.labels: this set needs labels: say where they are, as in "
        "labels/{id}.png"
    ),
    f"data: {{source: {{{FOLDER}, labels: 'l/{{id}}.png'}}}}": (
        "mine.yaml: data.source.id_to_class: no label id stands for a class: say which does, as "
        "in {0: road, 255: ignore}"
    ),
    f"data: {{source: {{{FOLDER}, labels: 'l/{{id}}.png', id_to_class: {{0: raod}}}}}}": (
        "mine.yaml: data.source: its class 'raod' is not among data.classes; did you mean 'road'?"
    ),
    f"data: {{source: {{{FOLDER}, id_to_class: {{300: road}}}}}}": (
        "mine.yaml: data.source.id_to_class.300: must be at most 255, not 300"
    ),
    f"data: {{source: {{{FOLDER}, id_to_class: {{a: road}}}}}}": (
        "mine.yaml: data.source.id_to_class.a: must be a whole number, not 'a'"
    ),
    "data: {source: {format: folder, root: x, images: a.png}}": (
        "mine.yaml: data.source.images: needs a star for what differs between images, as in "
        "images/*.png"
    ),
    "data: {source: {format: folder, root: x, images: /a/*.png}}": (
        "mine.yaml: data.source.images: '/a/*.png' must be relative to root: leave out the "
        "leading slash"
    ),
    f"data: {{source: {{{FOLDER}, labels: l.png}}}}": (
        "mine.yaml: data.source.labels: needs {id} where the image's id stands, as in "
        "labels/{id}.png, or the wildcards of images"
    ),
    "experiments: [{name: a, data: {validation: {images: 3}}}]": (
        "mine.yaml: experiment 'a': data.validation: must be the same for all experiments of a "
        "project, or their numbers could not stand in one table: set it outside of the rows"
    ),
    f"experiments: [{{name: a, data: {{source: {{{FOLDER}}}}}}}]": (
        "mine.yaml: experiment 'a': data.source.labels: this set needs labels: say where they "
        "are, as in labels/{id}.png"
    ),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_key_and_what_to_do(message, text):
    assert message(text) == MISTAKES[text]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        ".x",
        "-x",
        "",
        " a",
        "a\\b",
        'a"b',
        "a\nb",
        "x" * 81,
        "ü" * 101,
        "/",
        ".",
        "..",
        "/etc/x",
        "a/../../x",
        "a ",
        "a\t",
        "a\0",
        "\x1b[2J",
        "\u202e",
        "\u2028",
        "\ud800",
    ],
)
@pytest.mark.parametrize("place", ["project", "experiments"])
def test_a_name_that_would_leave_its_folder_is_refused(message, place, name):
    text = json.dumps(
        {"project": name} if place == "project" else {"experiments": [{"name": name}]}
    )
    said = message(text)
    assert "becomes the name of a folder" in said and "\n" not in said
    assert said.startswith(f"mine.yaml: {place}")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=6) | st.text("./-~$ a\\\n", min_size=1, max_size=4))
def test_a_name_that_is_taken_is_one_folder_below_the_results_and_no_other(name):
    try:
        taken = ExperimentRow(name=name).name
    except ValidationError:
        return
    place = Path("/results/report") / taken
    assert Path(os.path.normpath(place)) == place == Path("/results/report", name)
    assert (place.parent, place.name) == (Path("/results/report"), name)


def test_names_of_experiments_that_differ_in_case_alone_are_refused(message):
    assert "'lse' stands twice" in message("experiments: [{name: lse}, {name: LSE}]")


def test_every_mistake_has_its_line_and_the_sixth_is_counted(message):
    lines = message("\n".join(f"wrong{k}: 1" for k in range(7))).splitlines()
    assert len(lines) == 6 and lines[-1] == "and 2 more"
    assert all(line.startswith("mine.yaml: wrong") for line in lines[:5])


def test_a_mistake_is_told_of_the_file_that_holds_it(message, tmp_path):
    assert message("", {"patches": {"scale": "0"}}).startswith("--config: patches.scale:")
    assert message("patches: {scale: 0}", {"seeds": ["1"]}).startswith("mine.yaml: patches.scale:")
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("patches: {scale: 0}")
    second.write_text("patches: {per_image: 2}\nexperiments: [{role: method}]")
    with pytest.raises(ConfigError) as failed:
        load([DEFAULT, first, second])
    assert sorted(line.split(":")[0] for line in str(failed.value).splitlines()) == [
        "first.yaml",
        "second.yaml",
    ]


def test_no_message_speaks_of_the_checker_inside(message):
    for text in MISTAKES:
        said = message(text)
        for jargon in ("Input", "input", "valid dictionary", "instance", "pydantic", "ctx", "None"):
            assert jargon not in said


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patches:\n  scale: 1\n  scale: 2\n", "line 3: the key 'scale' stands twice in one"),
        ("seeds: [1", "line 1: not valid YAML: expected"),
        ("patches:\n\tscale: 1\n", "line 2: not valid YAML: a tab: indent with spaces"),
        ("- a\n- b\n", "must hold 'key: value' lines, not a list"),
        ("just text", "must hold 'key: value' lines, not a str"),
        ("a: !!python/object:os.system 1", "line 1: not valid YAML"),
        ("a: *nowhere", "line 1: not valid YAML: found undefined alias"),
    ],
)
def test_a_file_that_is_no_settings_file_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as failed:
        read_yaml(path)
    assert str(failed.value).startswith(str(path)) and said in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_missing_file_a_folder_and_a_binary_file_are_refused(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, said in (
        (tmp_path / "gone.yaml", "cannot be read (No such file or directory)"),
        (tmp_path, "cannot be read (Is a directory)"),
        (binary, "not a text file in UTF-8"),
    ):
        with pytest.raises(ConfigError) as failed:
            load([DEFAULT, path])
        assert str(failed.value) == f"{path}: {said}"


def test_an_empty_file_changes_nothing(load_text):
    assert load_text("# nothing\n").settings == load([DEFAULT]).settings


def test_merge_keys_are_no_duplicates_wherever_they_are_written_out_first(tmp_path):
    path = tmp_path / "anchors.yaml"
    path.write_text(
        "base: &base {k: 0, m: 0}\n"
        "outer: {inner: &inner {<<: *base, k: 1}}\n"  # written out only after `last` took it
        "last: {<<: *inner, k: 2}\n"
    )
    assert read_yaml(path) == {
        "base": {"k": 0, "m": 0},
        "outer": {"inner": {"k": 1, "m": 0}},
        "last": {"k": 2, "m": 0},
    }


def test_a_file_reads_back_as_it_was_written(tmp_path):
    path = tmp_path / "round.yaml"

    @settings(max_examples=50, deadline=None)
    @given(SECTIONS)
    def round_trip(content):
        path.write_text(yaml.safe_dump(content))
        assert read_yaml(path) == content

    round_trip()


# --- classes and layouts --------------------------------------------------------------------------


def test_a_folder_set_is_laid_out_as_it_says(load_text, monkeypatch, tmp_path):
    monkeypatch.setenv(config.DATA_ROOT_VARIABLE, str(tmp_path))
    common = "labels: 'l/{id}.png', id_to_class: {0: a, 7: b, 255: ignore}"
    data = load_text(
        "data:\n  classes: [{name: a, color: [0, 0, 0]}, {name: b, color: [9, 9, 9]}]\n"
        f"  source: {{{FOLDER}, {common}}}\n  target: {{{FOLDER}}}\n"
        f"  validation: {{{FOLDER}, {common}}}"
    ).settings.data
    laid = config.layout(data, data.source)
    assert laid.root == tmp_path / "x"
    assert laid.label_ids == {0: 0, 7: 1, 255: 255}
    assert (laid.images, laid.labels, laid.classes) == ("*.png", "l/{id}.png", {"a", "b"})
    assert config.layout(data, data.target).labels is None


def test_the_key_for_the_data_root_goes_before_the_variable(load_text, monkeypatch):
    monkeypatch.setenv(config.DATA_ROOT_VARIABLE, "/from/variable")
    assert config.data_root(load_text("data: {root: /from/key}").settings.data) == Path("/from/key")
    assert config.data_root(load_text("").settings.data) == Path("/from/variable")
    monkeypatch.delenv(config.DATA_ROOT_VARIABLE)
    assert config.data_root(load_text("").settings.data) == Path(".")


# --- compatibility, networks, portions ------------------------------------------------------------


def value_at(settings, dotted):
    for part in dotted.split("."):
        settings = getattr(settings, part)
    return settings


def differences_of(network):
    return [d for d in DIFFERENCES if d.network in (None, network)]


NETWORKS = ["compact", "fcn8s_vgg16", "deeplabv2_resnet101", "segformer"]


@pytest.mark.parametrize("network", NETWORKS)
def test_compatibility_sets_every_switch_and_the_default_sets_none(load_text, network):
    keep = f"experiments: [{{name: lse}}]\nnetwork: {{name: {network}}}\n"
    ours = load_text(keep).settings
    released = load_text(f"{keep}compatibility: authors_code").settings
    for difference in differences_of(network):
        assert value_at(ours, difference.setting) == difference.ours, difference
        assert value_at(released, difference.setting) == difference.released, difference
    # and nothing else
    for difference in differences_of(network):
        *sections, name = difference.setting.split(".")
        assert sections[0] in ("selection", "threshold", "patches", "retraining", "network")
    others = ("data", "source_training", "rounds", "evaluation")
    assert all(getattr(ours, key) == getattr(released, key) for key in others)


def test_a_switch_set_beside_compatibility_or_later_wins_over_it(load_text):
    project = load_text(
        "compatibility: authors_code\n"
        "selection: {min_pixels: 7}\n"
        "experiments:\n"
        "  - {name: a}\n"
        "  - {name: b, patches: {reliability: nearest}}\n"
        "  - {name: c, compatibility: none}\n"
    )
    a, b, c = (e.settings for e in project.experiments)
    assert (a.selection.min_pixels, a.selection.extra_images) == (7, 1)
    assert (a.patches.reliability, b.patches.reliability) == ("bilinear", "nearest")
    assert b.selection == a.selection
    # without it, only what the file itself says is left
    assert (c.selection.min_pixels, c.selection.extra_images) == (7, 0)
    assert c.patches.reliability == "nearest"


def test_a_row_in_compatibility_overrides_what_the_project_says_but_not_its_own_keys(load_text):
    project = load_text(
        "selection: {min_pixels: 7}\n"
        "experiments:\n"
        "  - {name: a, compatibility: authors_code}\n"
        "  - {name: b, compatibility: authors_code, selection: {min_pixels: 3}}\n"
        "  - {name: c, compatibility: authors_code, network: {name: deeplabv2_resnet101}}\n"
    )
    a, b, c = (e.settings for e in project.experiments)
    assert (a.selection.min_pixels, b.selection.min_pixels) == (1, 3)
    assert a.retraining.focal.over == "pixels" and c.retraining.focal.over == "mean"
    assert c.network.classifier_branches == 2 and c.network.preprocessing.order == "bgr"


def test_another_network_takes_no_option_of_the_one_before(load_text):
    rows = "experiments: [{name: lse}]\n"
    network = load_text(f"{rows}network: {{name: fcn8s_vgg16, width: 8}}").settings.network
    assert (network.width, network.hidden, network.dropout) == (8, 4096, 0.5)
    assert network.preprocessing.mean == (104.00698793, 116.66876762, 122.67891434)
    assert load_text("network: {width: 8}").settings.network.preprocessing.order == "rgb"


def test_what_the_command_line_makes_of_null_and_numbers_is_understood(load_text):
    text = {
        "network": {"name": "deeplabv2_resnet101", "classifier_branches": "2", "weights": "null"},
        "source_training": {"weights": "null"},
        "data": {"source_size": "null"},
        "patches": {"scale": {"from": "1", "to": "2.5"}},
        "rounds": {"portions": {"first": "0.1", "step": "0.05", "rounds": "19"}},
    }
    settings = load_text("", text).settings
    assert settings.network.classifier_branches == 2 and settings.network.weights is None
    assert settings.source_training.weights is settings.data.source_size is None
    assert settings.patches.scale == {"from": 1.0, "to": 2.5}
    text = {"patches": {"scale": "[1, {from: 0.5, to: 2}]"}}
    patches = load_text("", text).settings.patches
    assert patches.scale == [1.0, {"from": 0.5, "to": 2.0}]
    assert patches.scale_text == "scales 1, 0.5 to 2"
    assert settings.rounds.portion_list[-1] == 1.0  # not a rounding error more


def test_a_network_without_batch_norm_has_no_such_control(message):
    text = "network: {name: fcn8s_vgg16}\nexperiments: [{name: b, rounds: {method: batch_norm}}]"
    assert message(text) == (
        "mine.yaml: experiment 'b': rounds.method: fcn8s_vgg16 has no batch-norm whose statistics "
        "could be re-estimated: take the row out"
    )


CEILING = "{name: top, role: ceiling, description: all of it}"


def test_a_ceiling_has_the_target_set_in_place_of_the_source_and_no_round(load_text):
    text = "data: {source_size: [48, 96]}\nrounds: {target_statistics: 0.5}\n"
    project = load_text(f"{text}experiments: [{{name: lse}}, {CEILING}]")
    lse, top = (e.settings for e in project.experiments)
    assert top.data.source == lse.data.target.model_copy(update={"audit": False})
    assert top.data.source_size is None and lse.data.source_size == (48, 96)
    assert (top.round_count, top.rounds.portion_list, lse.round_count) == (0, [], 3)
    # all else is as it is around it
    kept = {"exclude": {"data": {"source", "source_size"}, "rounds": {"portions"}}}
    assert top.model_dump(**kept) == lse.model_dump(**kept)
    assert project.experiments[1].differences == {"data.source": "the target set, with its labels"}
    says = CEILING.replace("}", ", rounds: {portions: [0.1]}, data: {source: {images: 3}}}")
    assert load_text(f"experiments: [{{name: lse}}, {says}]").experiments[1].differences == {
        "data.source": "the target set, with its labels"
    }
    assert project.settings.data == lse.data


@pytest.mark.parametrize(
    "row",
    [
        "{name: top, role: ceiling, description: all of it}",
        "{name: top, role: ceiling, source_training: {steps: 9}, data: {target: {images: 5}}}",
        "{name: top, role: ceiling, data: {target: {format: cityscapes, root: x, split: val}}}",
        "{name: top, role: ceiling, compatibility: authors_code}",
    ],
)
def test_a_ceiling_reads_back_from_the_configuration_in_effect(load_text, tmp_path, row):
    root = f"data: {{root: {tmp_path}}}\n"
    project = load_text(f"{root}experiments: [{{name: lse}}, {row}]")
    ceiling = project.experiments[1]
    for which in (("top", 3), ()):
        path = tmp_path / "back.yaml"
        path.write_text(json.dumps(config.resolved(project, *which)))
        back = load([path])
        *_, found = back.experiments
        assert (found.name, found.role, found.description, found.settings) == (
            "top", "ceiling", ceiling.description, ceiling.settings,
        )  # fmt: skip
        assert found.differences["data.source"] == ceiling.differences["data.source"]
        assert found.settings.data.source != load([DEFAULT]).settings.data.source
        if not which:
            assert back.experiments == project.experiments


def test_a_ceiling_needs_labels_of_the_target_where_no_other_row_does(load_text, message):
    classes = "classes: [{name: a, color: [0, 0, 0]}, {name: b, color: [9, 9, 9]}]"
    labels = "labels: 'l/{id}.png', id_to_class: {0: a, 7: b}"
    data = (
        f"data:\n  {classes}\n  source: {{{FOLDER}, {labels}}}\n  validation: "
        f"{{{FOLDER}, {labels}}}\n  target: {{{FOLDER}%s}}\nexperiments: [{{name: lse}}%s]"
    )
    assert load_text(data % ("", "")).settings.data.target.labels is None
    said = message(data % ("", f", {CEILING}"))
    assert said == (
        "mine.yaml: experiment 'top': data.target.labels: this set needs labels for the ceiling, "
        "which is trained on them: say where they are, as in labels/{id}.png"
    )
    top = load_text(data % (f", {labels}", f", {CEILING}")).experiments[1].settings.data
    assert config.layout(top, top.source).label_ids == {0: 0, 7: 1}


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_may_be_named_where_no_statistics_are_the_target_s(load_text, network):
    rows = "experiments: [{name: lse, rounds: {statistics_layers: shallow}}]"
    (lse,) = load_text(f"network: {{name: {network}}}\n{rows}").experiments
    assert lse.settings.rounds.statistics_layers == "shallow"
    assert "statistics_layers" not in lse.settings.rounds.in_effect()
    if network == "deeplabv2_resnet101":
        rows = rows.replace("shallow", "shallow, target_statistics: 0.5")
        (lse,) = load_text(f"network: {{name: {network}}}\n{rows}").experiments
        assert lse.settings.rounds.in_effect()["statistics_layers"] == "shallow"


def test_portions_are_added_up_one_by_one(load_text):
    rounds = load_text("rounds: {portions: {first: 0.1, step: 0.05, rounds: 7}}").settings.rounds
    expected = [0.1, 0.15000000000000002, 0.2, 0.25, 0.3, 0.35, 0.39999999999999997]
    assert rounds.portion_list == expected
    assert load_text("rounds: {portions: [0.5, 0.1]}").settings.rounds.portion_list == [0.5, 0.1]


@pytest.mark.parametrize(
    "text, expected",
    [
        (
            "rounds: {portions: {first: 0.5, step: 0.3, rounds: 3}}",
            "mine.yaml: rounds.portions: grow to 1.1: no more than all images (1) can be taken; "
            "fewer rounds, or a smaller step",
        ),
        (
            "rounds: {portions: {first: 0.5, stepp: 0.3, rounds: 3}}",
            "mine.yaml: rounds.portions.stepp: unknown key; did you mean 'step'?",
        ),
        (
            "rounds: {portions: 0.5}",
            "mine.yaml: rounds.portions: must be a list, in [brackets] or with a dash before each "
            "entry, not 0.5",
        ),
        (
            'data: {subsets: {"16 classes": [road]}}',
            "mine.yaml: data.subsets: '16 classes' has a meaning of its own already: rename it",
        ),
        (
            "network: {name: resnet}",
            "mine.yaml: network.name: must be one of compact, fcn8s_vgg16, deeplabv2_resnet101, "
            "segformer, not 'resnet'",
        ),
        (
            "network: {name: segformer, variant: b6}",
            "mine.yaml: network.variant: must be one of tiny, b0, b1, b2, b3, b4, b5, not 'b6'; "
            "did you mean 'b5'?",
        ),
        (
            "network: {name: fcn8s_vgg16, classifier_branches: 2}",
            "mine.yaml: network.classifier_branches: unknown key; valid keys: name, width, hidden, "
            "dropout, preprocessing, weights",
        ),
        (
            "network: {weights: {file: a.pth, sha256: abc}}",
            "mine.yaml: network.weights.sha256: 'abc' is no SHA-256: 64 hexadecimal digits",
        ),
        (
            "patches: {scale: {from: 2, to: 1}}",
            "mine.yaml: patches.scale: a range starts with the smaller scale, as in "
            "{from: 1, to: 2}",
        ),
        (
            "patches: {scale: {from: 2}}",
            "mine.yaml: patches.scale: a range has both ends, as in {from: 1, to: 2}",
        ),
        (
            "patches: {scale: [2, {from: 2, to: 1}]}",
            "mine.yaml: patches.scale: a range starts with the smaller scale, as in "
            "{from: 1, to: 2}",
        ),
        (
            "patches: {scale: [2, {from: 2}]}",
            "mine.yaml: patches.scale: a range has both ends, as in {from: 1, to: 2}",
        ),
        ("compatibility: paper", "mine.yaml: compatibility: must be one of none, authors_code, "
         "not 'paper'"),
    ],
)  # fmt: skip
def test_mistakes_in_networks_portions_and_scales_say_what_would_be_right(message, text, expected):
    found = message(text)
    assert expected in found.splitlines()
