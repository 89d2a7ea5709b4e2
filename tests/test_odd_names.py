"""Odd names of everything, through the whole workflow, with the network out of reach."""

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from markupsafe import escape
from PIL import Image
from safetensors.torch import save_file

from scalewise.models import store
from workflow_runs import ROOT, finished, snakemake

# What a shell, a formatter, a glob, a table or a page would take for something else. Whatever is
# run by one of them leaves a file that is looked for.
TRAPS = "$(touch sprung) '$(touch sprung)' `touch sprung` ;touch sprung |touch sprung >sprung &"
ODD = f"{TRAPS} {{resources.what}} {{}} {{key!r}} %s 'q' \\ ~ # *?[x] <x-y>&amp; ü\u0301 \u202e 😀"
WITHOUT_BRACES = ODD.translate(str.maketrans("", "", "{}"))
IMAGES = [
    ODD,
    'double " quotes "',
    "-rf --help",
    "two\nlines\r\nand three",
    "a,\ttab, a comma",
    "a..∕b",
    "{id}",
    " spaces around ",
    "$HOME ${IFS} !! \\n \\",
    "e" * 200,
]
CLASSES = ["sky", "it's {0} $road `x`", 'car, or "van"']
SIZE = (40, 56)
# A program that every Python process runs as it starts: nothing may reach out, and what tries to
# is written down. Sockets between processes of one machine (AF_UNIX) are no network.
WATCH = """
import os, socket, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        reached = isinstance(arguments[1], tuple)
    else:
        reached = event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request")
    if reached:
        with open(os.environ["WATCH_FILE"], "a") as file:
            file.write(f"{event} {arguments} {sys.orig_argv}\\n")
        raise OSError("no network here")
sys.addaudithook(watch)
with open(os.environ["WATCH_FILE"] + ".seen", "a") as file:
    file.write(f"{sys.orig_argv}\\n")
"""


def write_set(root, names, seed, labels=True):
    """Made-up scenes: sky over road with a box on it; ids 5, 6, 7."""
    draw = np.random.default_rng(seed)
    for name in names:
        ids = np.full(SIZE, 5, np.uint8)
        ids[draw.integers(12, 24) :] = 6
        top, left = draw.integers(12, 24), draw.integers(2, 30)
        ids[top : top + 14, left : left + 20] = 7
        colors = np.array([[0, 0, 0]] * 5 + [[120, 160, 220], [90, 90, 90], [180, 30, 30]])
        pixels = np.clip(colors[ids] + draw.normal(0, 12, (*SIZE, 3)), 0, 255)
        for folder, content in (("images", pixels.astype(np.uint8)), ("labels", ids)):
            if folder == "images" or labels:
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(root / folder / f"{name}.png")


def configuration(weights):
    ids = {5: CLASSES[0], 6: CLASSES[1], 7: CLASSES[2]}

    def folder(name, labels=True):
        content = {"format": "folder", "root": name, "images": "images/*.png"}
        if labels:
            content.update(labels="labels/{id}.png", id_to_class=ids)
        return content

    return {
        "project": NAME[::-1],
        "data": {
            "classes": [{"name": n, "color": [9 * i, 90, 30]} for i, n in enumerate(CLASSES)],
            "size": [32, 48],
            "source": folder(f"-{ODD}"),
            "target": folder("the\ntarget", labels=False),
            "validation": folder("~ $HOME 'val'"),
        },
        "network": {"width": 8, "weights": {"file": weights}},
        "source_training": {"steps": 20, "batch": 4},
        "rounds": {"portions": [1.0]},
        "selection": {"minimum_per_class": 1},
        "patches": {"per_image": 1, "claim_images": 2},
        "retraining": {"epochs": 1, "target_batch": 2},
        "evaluation": {"pictures": 2},
        "experiments": [
            {"name": NAME, "role": "method", "description": ODD},
            {"name": "{", "role": "control", "rounds": {"method": "batch_norm"}},
        ],
        "resources": {"threads": 1},
    }


# of an experiment: it names a folder, so no slash, backslash or double quote, and 80 characters
NAME = "$(touch sprung) `touch sprung`; {resources.what} {} 'q' ~ # *?[x] <x-y>&amp; ü😀"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run: (place, run folder, what it printed, its configuration, files before)."""
    place = tmp_path_factory.mktemp("odd")
    # the program too: a folder that a checkout may lie in
    program = place / f"program {WITHOUT_BRACES}"
    for name in ("Snakefile", "config.yaml", "rules", "workflow_scripts", "profiles", "envs"):
        (shutil.copytree if (ROOT / name).is_dir() else copy)(ROOT / name, program / name)
    data = place / f"-data {ODD}\n\n"
    write_set(data / f"-{ODD}", IMAGES, 1)
    write_set(data / "the\ntarget", IMAGES, 2, labels=False)
    write_set(data / "~ $HOME 'val'", IMAGES[:3], 3)
    weights = f"w {ODD}\n.safetensors"
    network = store.build({"name": "compact", "width": 8, "dropout": 0.1}, len(CLASSES))
    save_file(network.state_dict(), data / weights)
    folder = place / f"run {WITHOUT_BRACES}"
    folder.mkdir()
    config = place / f"config {ODD}.yaml"
    content = configuration(weights)
    config.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    watch = place / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    before = {p for p in place.rglob("*") if "__pycache__" not in p.parts}
    # a name space without any network, where that is allowed
    alone = ["unshare", "--map-root-user", "--net"]
    if (
        not shutil.which(alone[0])
        or subprocess.run([*alone, "true"], capture_output=True).returncode
    ):
        alone = []
    done = subprocess.run(
        [
            *alone, sys.executable, "-m", "snakemake", "-s", str(program / "Snakefile"),
            "--workflow-profile", str(program / "profiles" / "default"), "--cores", "2",
            "--resources", "gpu=1", "--configfile", str(config), "--directory", str(folder),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(watch),
            "WATCH_FILE": str(watch / "tried"),
            "SCALEWISE_DATA": str(data),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return place, folder, done.stdout, content, before


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


@pytest.mark.slow
def test_nothing_in_a_name_is_run(run):
    place, *_ = run
    assert not [p for p in place.rglob("*") if p.name == "sprung"]


@pytest.mark.parametrize("quoted", ["{}", "'{}'", '"{}"'])
def test_the_trap_is_one_in_whatever_quotes_a_name_is_put(tmp_path, quoted):
    subprocess.run(["sh", "-c", "echo " + quoted.format(TRAPS)], cwd=tmp_path, capture_output=True)
    assert (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_nothing_is_written_outside_of_the_run_folders_results(run):
    place, folder, _, _, before = run
    after = {p for p in place.rglob("*") if "__pycache__" not in p.parts}
    new = {p for p in after - before if p.parent != place / "watch"}
    assert before <= after
    assert {p.relative_to(folder).parts[0] for p in new} == {"results", ".snakemake"}


@pytest.mark.slow
def test_every_image_is_in_the_tables_under_its_own_name(run):
    _, folder, _, _, _ = run
    for file, column in (("images.csv", "id"), ("scores.csv", "image")):
        tables = []
        for path in (folder / "results").rglob(file):
            if not path.parent.is_symlink():
                with open(path, encoding="utf-8", newline="") as opened:
                    tables.append({row[column] for row in csv.DictReader(opened)})
        assert set(IMAGES) in tables
        assert all(table <= set(IMAGES) for table in tables)
    assert (
        len(finished(folder)) == 3 + 2 + 1 + 1 + 3 + 5 + 1 + 1 + 3
    )  # two checks of lse, and its result scored


@pytest.mark.slow
def test_the_links_lead_from_the_names_of_project_and_experiment_to_the_results(run):
    _, folder, _, content, _ = run
    project = folder / "results" / "experiments" / content["project"]
    assert {p.name for p in project.iterdir()} == {NAME, "{"}
    assert (project / NAME / "seed0/round1/retrain/model.safetensors").is_file()
    plans = list((folder / "results/plans").glob("*.json"))
    assert json.loads(plans[0].read_text())["experiments"] == [NAME, "{"]


@pytest.mark.slow
def test_every_job_says_what_it_is_with_the_names_as_they_are(run):
    _, _, printed, content, _ = run
    assert f"{NAME} (+1), seed 0: training on the source, 20 steps" in printed
    assert "{, seed 0, round 1: re-estimating batch-norm statistics on the target" in printed
    assert f"looking at the source images of {printed_root(printed)}" in printed
    assert f"results/report/{content['project']}/index.html" in printed


def printed_root(printed):
    start = printed.index("-data $(touch")
    begin = printed.rindex(" of ", 0, start) + 4
    return printed[begin : printed.index("\n", start)]


@pytest.mark.slow
def test_the_page_shows_the_names_and_takes_none_for_its_own_marks(run):
    _, folder, _, content, _ = run
    page = (folder / "results/report" / content["project"] / "index.html").read_text("utf-8")
    assert "<x-y>" not in page and "default-src 'none'" in page
    for text in (NAME, content["project"], ODD, *CLASSES):
        assert str(escape(text)) in page


@pytest.mark.slow
def test_nothing_reaches_for_the_network(run):
    place, folder, _, _, _ = run
    tried = place / "watch" / "tried"
    assert not tried.exists(), tried.read_text()
    seen = tried.with_suffix(".seen").read_text()
    for stage in {stage for stage, _ in finished(folder)}:
        assert f"{stage.replace('reports', 'report')}.py" in seen


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.socket().connect(('127.0.0.1', 9))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
    ],
)
def test_the_watch_sees_what_reaches_for_the_network(tmp_path, program):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    environment = {"PYTHONPATH": str(tmp_path), "WATCH_FILE": str(tmp_path / "tried")}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True
    )
    assert done.returncode and b"no network here" in done.stderr
    assert program in (tmp_path / "tried").read_text()


@pytest.mark.parametrize("target", ["run", "report", "explain", "watch"])
def test_make_passes_the_name_of_a_settings_file_on_as_one_word(target):
    name = f"-{ODD}.yaml"
    command = ["make", "-n", "-s", "-C", str(ROOT), target, f"CONFIG={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if "--configfile" in line]
    words = shlex.split(line.lstrip("@"))
    assert words[words.index("--configfile") + 1] == name


def test_a_folder_with_braces_that_the_engine_cannot_work_in_is_refused_in_one_line(tmp_path):
    folder = tmp_path / "a {b}"
    folder.mkdir()
    status, printed = snakemake(folder, "-n")
    assert status != 0 and "Traceback" not in printed
    assert f"{folder}: the engine cannot work in a folder with braces: rename it" in printed
    assert not list(folder.glob("results"))
