"""What runs again after which change: the rows that docs/reruns.md shows and the tests prove.

Every row says how many jobs of each rule a change costs, written down by hand and not computed by
the plan. After a change of rows, `make rerun-table` writes the page anew.
"""

import ast
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

# --- the jobs of tests/configs/tiny.yaml: lse and source_zoom, two rounds each -------------------


def rules(text: str) -> Counter:
    """Jobs, one for each word: rules by name."""
    return Counter(text.split())


# What a round runs from each of its steps on; source_zoom reads no patches. In round 1 both
# experiments score the same model and select by the same rule: they share these two jobs. The
# result of lse is scored and checked once more.
LSE_RETRAIN = rules("retrain evaluate")
LSE_THRESHOLDS = rules("compute_thresholds check_round audit_pseudo_labels") + LSE_RETRAIN
LSE_PATCHES = rules("infer_patches") + LSE_THRESHOLDS
LSE_ROUND = rules("score_target select_images") + LSE_PATCHES
RESULT = rules("score_target check_round")
ZOOM_RETRAIN = rules("retrain evaluate")
ZOOM_ROUND = rules("score_target select_images") + ZOOM_RETRAIN

REPORT = rules("report")
CHECK = rules("check_data")
# what follows from a step of round 1 on, with all of round 2
LAST_OF_LSE = LSE_ROUND + RESULT + REPORT
LSE_FROM_RETRAINING = LSE_RETRAIN + LAST_OF_LSE
LSE_FROM_THRESHOLDS = LSE_THRESHOLDS + LAST_OF_LSE
LSE_FROM_PATCHES = LSE_PATCHES + LAST_OF_LSE
FROM_RETRAINING = LSE_FROM_RETRAINING + ZOOM_RETRAIN + ZOOM_ROUND
FROM_PATCHES = LSE_FROM_PATCHES + ZOOM_RETRAIN + ZOOM_ROUND
FROM_SELECTING = rules("select_images") + FROM_PATCHES
FROM_SCORING = rules("score_target") + FROM_SELECTING
FROM_ROUND_0 = rules("evaluate") + FROM_SCORING
FROM_TRAINING = rules("train_source") + FROM_ROUND_0
EVALUATIONS = rules("evaluate " * 5) + REPORT
SCANS = rules("scan_images scan_labels")
AUDITS = rules("audit_pseudo_labels " * 2)
NOTHING = Counter()


@dataclass(frozen=True)
class Row:
    """One row of the page.

    change: what a person reads; reruns: rule -> number of jobs; edits: settings row: dotted key ->
    another value, each of them a change of its own; beside: dotted key -> value, of settings that
    stand there before and after the change; do: data row: makes the change below a data root and
    returns the root; file, edit: code row: path below workflow_scripts and the text after the edit.
    """

    change: str
    reruns: Mapping[str, int]
    edits: dict[str, object] = field(default_factory=dict)
    beside: dict[str, object] = field(default_factory=dict)
    do: Callable[[Path], Path] | None = None
    file: str = ""
    edit: Callable[[str], str] | None = None

    def __str__(self) -> str:
        return self.change.replace("`", "")


# --- settings -------------------------------------------------------------------------------------

LSE = {"name": "lse", "role": "method"}
ZOOM = {
    "name": "source_zoom",
    "role": "control",
    "retraining": {"target_weight": 0, "source_zoom": 0.5},
}
# beside every run of the tests: a set in Cityscapes' layout, and a file of weights
FOLDER_SET = {"format": "cityscapes", "root": "city", "split": "train"}
WEIGHTS = {"file": "weights.safetensors"}


def under(section: str, **values: object) -> dict[str, object]:
    """Dotted key -> value."""
    return {f"{section}.{key}": value for key, value in values.items()}


def style(which: str) -> dict[str, object]:
    return under(f"data.{which}.style", focal=1.5, palette=0.4, illumination=0.4, gamma=1.1,
                 fog=0.1, texture=1.2, noise=4.0, saturation=0.8)  # fmt: skip


def drawing(which: str, split: str) -> dict[str, object]:
    return under(f"data.{which}", images=21, seed=7, split=split)


OPTIMIZER = {"learning_rate": 1.0e-3, "weight_decay": 0.1, "momentum": 0.8, "beta2": 0.99,
             "bias_rate": 2, "classifier_rate": 2}  # fmt: skip
SCHEDULE = {"name": "constant", "power": 0.5, "horizon": 77, "warmup": 2}
DROPS = {"drop_every": 10, "drop_factor": 0.5}
AUGMENTATION = {"flip": False, "scale": [0.8, 1.5], "brightness": 0.2, "contrast": 0.2,
                "saturation": 0.2, "channel_gain": 0.2, "gamma": 0.2, "blur": 1}  # fmt: skip


SETTINGS = [
    Row("`project`", REPORT, {"project": "another"}),
    Row(
        "`data.root`, where no set is a folder",
        NOTHING,
        {"data.root": "elsewhere"},
    ),
    Row(
        "`data.classes`: other classes, or another order of them",
        rules("scan_labels " * 3) + CHECK + FROM_TRAINING,
        {
            "data.classes": [
                {"name": name, "color": [k, 9 * k, 90]}
                for k, name in enumerate(
                    ["traffic sign", "traffic light", "road", "sidewalk", "building", "wall",
                     "fence", "pole", "vegetation", "terrain", "sky", "person", "rider", "car",
                     "truck", "bus", "train", "motorcycle", "bicycle"]
                )
            ]
        },
    ),  # fmt: skip
    Row("`data.subsets`", REPORT, {"data.subsets": {"cars": ["car", "truck"]}}),
    Row(
        "`data.size`",
        rules("make_streets " * 3) + SCANS + SCANS + SCANS + CHECK + FROM_TRAINING,
        {"data.size": [64, 96]},
    ),
    Row("`data.source_size`", FROM_TRAINING, {"data.source_size": [32, 64]}),
    Row(
        "`data.source`: images, seed, split or style of a drawn set",
        rules("make_streets") + SCANS + CHECK + FROM_TRAINING,
        {**drawing("source", "val"), "data.source.style": {"fog": 0.1}},
    ),
    Row(
        "`data.source.format`: a folder in its place",
        SCANS + CHECK + FROM_TRAINING,
        {"data.source.format": FOLDER_SET},
    ),
    Row(
        "`data.source.map`",
        rules("scan_labels") + CHECK + FROM_TRAINING,
        {"data.source.map": {"bicycle": "ignore"}},
    ),
    Row(
        "`data.target`: images, seed, split or style of a drawn set",
        rules("make_streets") + SCANS + CHECK + FROM_SCORING,
        {**drawing("target", "val"), **style("target")},
    ),
    Row(
        "`data.target.format`: a folder in its place",
        rules("scan_images") + CHECK + FROM_SCORING - AUDITS,
        {"data.target.format": FOLDER_SET},
    ),
    Row(
        "`data.target.map`: of the labels that its audit reads",
        rules("scan_labels") + AUDITS + REPORT,
        {"data.target.map": {"bicycle": "ignore"}},
    ),
    Row("`data.target.audit`: off", REPORT, {"data.target.audit": False}),
    Row(
        "`data.target.map`, where there is no audit",
        NOTHING,
        {"data.target.map": {"bicycle": "ignore"}},
        beside={"data.target.audit": False},
    ),
    Row(
        "`data.validation`: images, seed, split or style of a drawn set",
        rules("make_streets") + SCANS + CHECK + EVALUATIONS,
        {**drawing("validation", "train"), **style("validation")},
    ),
    Row(
        "`data.validation.format`: a folder in its place",
        SCANS + CHECK + EVALUATIONS,
        {"data.validation.format": FOLDER_SET},
    ),
    Row(
        "`data.validation.map`",
        rules("scan_labels") + CHECK + EVALUATIONS,
        {"data.validation.map": {"bicycle": "ignore"}},
    ),
    Row("`data.on_problem`", CHECK + REPORT, {"data.on_problem": "skip"}),
    Row(
        "`network`",
        FROM_TRAINING,
        {
            "network.name": {"name": "fcn8s_vgg16", "width": 8, "hidden": 16},
            **under("network", width=16, dropout=0.2, weights=WEIGHTS),
            **under("network.preprocessing", order="bgr", mean=[1, 2, 3], scale=[1, 2, 3]),
        },
    ),
    Row(
        "`precision`",
        FROM_TRAINING,
        under("precision", autocast="bfloat16", channels_last=False, compile=True),
    ),
    Row(
        "`source_training`",
        FROM_TRAINING,
        {
            **under("source_training", steps=31, batch=3, freeze_batchnorm=True, rare_classes=0.5),
            **under("source_training.optimizer", name="sgd", **OPTIMIZER),
            **under("source_training.schedule", **SCHEDULE),
            **under("source_training.augmentation", **AUGMENTATION),
        },
    ),
    Row(
        "`source_training.weights`: a file in the place of training",
        rules("import_weights") + FROM_ROUND_0,
        {"source_training.weights": WEIGHTS},
    ),
    Row(
        "`source_training.schedule`: drops, where it is no `step`",
        NOTHING,
        under("source_training.schedule", **DROPS),
    ),
    Row(
        "`source_training.schedule`: drops, where it is `step`",
        FROM_TRAINING,
        under("source_training.schedule", **DROPS),
        beside={"source_training.schedule.name": "step"},
    ),
    Row(
        "`source_training.schedule`: power and horizon, where it is no `poly`",
        NOTHING,
        under("source_training.schedule", power=0.5, horizon=77),
        beside={"source_training.schedule.name": "step"},
    ),
    Row(
        "`source_training.optimizer.beta2` with `sgd`",
        NOTHING,
        {"source_training.optimizer.beta2": 0.99},
        beside={"source_training.optimizer.name": "sgd"},
    ),
    Row(
        "`rounds.method: batch_norm`: one round, of both experiments the same",
        rules("reestimate_batchnorm evaluate") + CHECK + REPORT,
        {"rounds.method": "batch_norm"},
    ),
    Row(
        "`rounds.portions`: smaller in round 1",
        CHECK + FROM_SELECTING,
        {"rounds.portions": [0.5, 0.8]},
    ),
    Row(
        "`rounds.portions`: larger in round 2",
        rules("select_images select_images") + LSE_PATCHES + RESULT + ZOOM_RETRAIN + REPORT,
        {"rounds.portions": [0.6, 0.9]},
    ),
    Row(
        "`rounds`: on_collapse, health",
        rules("check_round " * 3) + REPORT,
        {
            "rounds.on_collapse": "stop",
            **under("rounds.health", kept=1.0e-6, histogram=1, agreement=None, entropy=1.0e-6),
            **under("rounds.health", source=1.5, classes=None),
        },
    ),
    Row(
        "`rounds.target_statistics`",
        rules("reestimate_batchnorm") + FROM_SCORING,
        {"rounds.target_statistics": 0.5},
    ),
    Row(
        "`rounds.statistics_layers`, where there are no `target_statistics`",
        NOTHING,
        {"rounds.statistics_layers": "shallow"},
    ),
    Row(
        "`rounds.statistics_layers`, where there are",
        rules("reestimate_batchnorm") + FROM_SCORING,
        {"rounds.statistics_layers": "shallow"},
        beside={"rounds.target_statistics": 0.5},
    ),
    Row(
        "`rounds.on_collapse`: revert, from or to the others",
        rules("check_round " * 4 + "accept_round " * 2 + "evaluate " * 2)
        + rules("select_images infer_patches compute_thresholds audit_pseudo_labels retrain")
        + rules("score_target")
        + REPORT,
        {"rounds.on_collapse": "revert"},
    ),
    Row(
        "`prediction`: scales, flip",
        FROM_SCORING,
        under("prediction", scales=[1, 1.5], flip=True),
    ),
    Row("`prediction.agreement`, of one view", NOTHING, {"prediction.agreement": True}),
    Row(
        "`prediction.agreement`, of several",
        LSE_FROM_PATCHES,
        {"prediction.agreement": True},
        beside={"prediction.flip": True},
    ),
    Row(
        "`selection`: scope, minimum_per_class, missing_classes",
        CHECK + FROM_SELECTING,
        under("selection", scope="global", minimum_per_class=2, missing_classes="trust"),
    ),
    Row(
        "`selection.minimum_per_class` with `scope: global`",
        NOTHING,
        {"selection.minimum_per_class": 2},
        beside={"selection.scope": "global"},
    ),
    Row("`selection.min_pixels`", FROM_SELECTING, {"selection.min_pixels": 9}),
    Row(
        "`selection.resample`: from round 2 on",
        LSE_PATCHES + RESULT + REPORT,
        {"selection.resample": True},
    ),
    Row("`selection.extra_images`", FROM_PATCHES, {"selection.extra_images": 1}),
    Row("`threshold.estimator`", LSE_FROM_THRESHOLDS, {"threshold.estimator": "pooled"}),
    Row("`threshold.pool`, where none are pooled", NOTHING, {"threshold.pool": 2}),
    Row(
        "`threshold.pool`, where they are",
        LSE_FROM_THRESHOLDS,
        {"threshold.pool": 2},
        beside={"threshold.estimator": "pooled"},
    ),
    Row("`threshold.constant_entropy`", FROM_SCORING, {"threshold.constant_entropy": "nan"}),
    Row(
        "`patches`: scale, claim_images",
        LSE_FROM_PATCHES,
        under("patches", scale=1.5, claim_images=3),
    ),
    Row(
        "`patches.per_image`: the number of steps follows from it",
        FROM_PATCHES,
        {"patches.per_image": 3},
    ),
    Row("`patches.reliability`", LSE_FROM_RETRAINING, {"patches.reliability": "bilinear"}),
    Row(
        "`retraining`: all but the next row",
        FROM_RETRAINING,
        {
            **under("retraining", epochs=2, source_batch=3, target_batch=3),
            **under("retraining", freeze_batchnorm=False, carry_optimizer=True),
            "retraining.target_colors": 0.5,
            **under("retraining", rare_classes=0.5, anchor=1),
            **under("retraining.optimizer", name="adamw", **OPTIMIZER),
            **under("retraining.schedule", **SCHEDULE),
            **under("retraining.augmentation", **AUGMENTATION),
        },
    ),
    Row(
        "`retraining`: empty_patch, focal, target_augmentation, class_mix, label_weights, teacher, "
        "consistency; what the control sets itself",
        LSE_FROM_RETRAINING,
        {
            **under("retraining", empty_patch="nan", target_weight=0.5, source_zoom=0.25),
            **under("retraining", class_mix=0.5, label_weights="confidence", consistency=0.1),
            "retraining.teacher.momentum": 0.9,
            **under("retraining.focal", beta=0.2, gamma=2, over="mean"),
            **under("retraining.target_augmentation", **AUGMENTATION),
        },
    ),
    Row(
        "`retraining.teacher.confidence`, `labels`, where there is no teacher",
        NOTHING,
        under("retraining.teacher", confidence=0.9, labels="soft"),
    ),
    Row(
        "`retraining.teacher.confidence`, `labels`, where there is one",
        LSE_FROM_RETRAINING,
        under("retraining.teacher", confidence=0.9, labels="soft"),
        beside={"retraining.teacher.momentum": 0.9},
    ),
    Row(
        "`retraining.schedule`: drops, where it is no `step`",
        NOTHING,
        under("retraining.schedule", **DROPS),
    ),
    Row(
        "`retraining.schedule`: drops, where it is `step`",
        FROM_RETRAINING,
        under("retraining.schedule", **DROPS),
        beside={"retraining.schedule.name": "step"},
    ),
    Row("`compatibility`", CHECK + FROM_SCORING, {"compatibility": "authors_code"}),
    Row("`evaluation`", EVALUATIONS, {"evaluation.pictures": 3}),
    Row(
        "`report`",
        REPORT,
        under("report", classes="16 classes", gallery=1),
    ),
    Row("`code`, with the code as it was", REPORT, {"code": {"train_source": "pinned"}}),
    Row(
        "`resources`",
        NOTHING,
        {
            **under("resources", threads=2, gpus_per_job=2, save_minutes=1, save_steps=10),
            **under("resources", deterministic=False, max_runtime=600, gpu_model="a100"),
            **under("resources", account="ours"),
            **under("resources.network_jobs", mem_mb=9000, runtime=9, partition="gpu"),
            **under("resources.other_jobs", mem_mb=900, runtime=9, partition="cpu"),
        },
    ),
]  # fmt: skip

EXPERIMENTS = [
    Row("a further seed", FROM_TRAINING, {"seeds": [0, 5]}),
    Row("a seed less", REPORT, {"seeds": [5]}, beside={"seeds": [0, 5]}),
    Row("another seed", FROM_TRAINING, {"seeds": [9]}),
    Row(
        "a further experiment, `patches: {scale: 1}`",
        LSE_FROM_PATCHES,
        {"experiments": [LSE, ZOOM, {"name": "self_training", "patches": {"scale": 1}}]},
    ),
    Row(
        "a further experiment with the settings of another",
        REPORT,
        {"experiments": [LSE, ZOOM, {"name": "again"}]},
    ),
    Row(
        "a further experiment of `role: ceiling`",
        # the labels of the target, which the audit reads, are looked at already
        CHECK + rules("train_source evaluate") + REPORT,
        {"experiments": [LSE, ZOOM, {"name": "ceiling", "role": "ceiling"}]},
    ),
    Row("an experiment less", REPORT, {"experiments": [LSE]}),
    Row(
        "another name, role (but `ceiling`), description or order of experiments",
        REPORT,
        {"experiments": [ZOOM, {**LSE, "name": "scale_2", "description": "in words"}]},
    ),
    Row(
        "a further round",
        # the result of two rounds is what the third one starts from: it is scored already
        LSE_ROUND - rules("score_target") + RESULT + ZOOM_ROUND + REPORT,
        {"rounds.portions": [0.6, 0.8, 0.9]},
    ),
    Row(
        "a round less: another is the last one",
        rules("check_round") + REPORT,
        {"rounds.portions": [0.6]},
    ),
]

# --- data: three folders, one experiment, one round -----------------------------------------------

NAMES = ["sky", "road", "car"]
ADAPTED = LAST_OF_LSE - rules("audit_pseudo_labels")  # no label of the target is read
ALL_TRAINED = rules("train_source evaluate") + ADAPTED
EVALUATED = rules("evaluate evaluate") + REPORT


def draw_scene(path: Path, label: Path | None, seed: int, size: tuple[int, int] = (32, 64)) -> None:
    """Write an image and its label map: sky over road, a car on it. Bitmaps are not compressed:
    any two of them are of the same size on disk."""
    generator = np.random.default_rng(seed)
    ids = np.zeros(size, np.uint8)
    ids[generator.integers(12, 18) :] = 1
    top, left = generator.integers(14, 22), generator.integers(5, 40)
    ids[top : top + 9, left : left + 16] = 2
    colors = np.array([[120, 160, 220], [90, 90, 90], [180, 30, 30]])
    pixels = np.clip(colors[ids] + generator.normal(0, 12, (*size, 3)), 0, 255)
    for file, array in ((path, pixels.astype(np.uint8)), (label, ids)):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(file)


def write_data(root: Path) -> None:
    """Source, target and validation set. The target has labels too, which nothing may read."""
    for which, start in (("source", 0), ("target", 100), ("validation", 200)):
        for number in range(8 if which != "validation" else 4):
            name = f"{number}.bmp"
            draw_scene(
                root / which / "images" / name, root / which / "labels" / name, start + number
            )


def data_settings(root: Path) -> dict:
    """The settings of the data rows."""

    def folder(name: str) -> dict:
        labels = {} if name == "target" else {
            "labels": "labels/{id}.bmp", "id_to_class": dict(enumerate(NAMES))
        }  # fmt: skip
        return {"format": "folder", "root": name, "images": "images/*.bmp", **labels}

    return {
        "project": "own",
        "data": {
            "root": str(root),
            "classes": [{"name": n, "color": [9 * i, 90, 30]} for i, n in enumerate(NAMES)],
            "size": [32, 64],
            "on_problem": "skip",
            **{which: folder(which) for which in ("source", "target", "validation")},
        },
        "network": {"width": 8},
        "source_training": {"steps": 4, "batch": 4},
        "rounds": {"portions": [1.0]},
        "selection": {"minimum_per_class": 1},
        "patches": {"per_image": 1, "claim_images": 2},
        "retraining": {"epochs": 1},
        "evaluation": {"pictures": 1},
        "experiments": [LSE],
        "report": {"gallery": 1},
        "resources": {"threads": 1},
    }


def replaced(file: str) -> Callable[[Path], Path]:
    """Other content of the same size, under the same name and time."""

    def do(root: Path) -> Path:
        path = root / file
        before = path.stat()
        is_label = path.parent.name == "labels"
        unused = root / "unused.bmp"
        draw_scene(unused if is_label else path, path if is_label else None, 999)
        unused.unlink(missing_ok=True)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
        return root

    return do


def added(which: str, labels: bool) -> Callable[[Path], Path]:
    def do(root: Path) -> Path:
        label = root / which / "labels" / "9.bmp" if labels else None
        draw_scene(root / which / "images" / "9.bmp", label, 998)
        return root

    return do


def deleted(*files: str) -> Callable[[Path], Path]:
    def do(root: Path) -> Path:
        for file in files:
            (root / file).unlink()
        return root

    return do


def touched(root: Path) -> Path:
    for path in root.rglob("*"):
        os.utime(path)
    return root


def moved(root: Path) -> Path:
    return root.rename(root.with_name(f"{root.name} elsewhere"))


def copied(root: Path) -> Path:
    return shutil.copytree(root, root.with_name(f"{root.name} copied"), copy_function=shutil.copy)


def labelled_set(which: str, number: int, after: Counter, note: str = "") -> list[Row]:
    """What can happen to a file of a set with labels; `after`: what follows from its tables."""
    image, label = (f"{which}/{kind}/{number}.bmp" for kind in ("images", "labels"))
    both, one = SCANS + CHECK + after, rules("scan_labels") + CHECK + after
    return [
        Row(f"a {which} image is replaced", both, do=replaced(image)),
        Row(f"a {which} image is added, with its label", both, do=added(which, True)),
        Row(f"a {which} image is deleted, with its label", both, do=deleted(image, label)),
        Row(f"a {which} label is replaced{note}", one, do=replaced(label)),
        Row(f"a {which} label is deleted (`on_problem: skip`)", one, do=deleted(label)),
    ]


DATA = [
    Row("every file is touched", NOTHING, do=touched),
    Row("the data root is moved, and `data.root` says so", NOTHING, do=moved),
    Row("the data root is copied, and `data.root` names the copy", NOTHING, do=copied),
    *labelled_set("source", 3, ALL_TRAINED),
    Row(
        "a target image is replaced",
        rules("scan_images") + CHECK + ADAPTED,
        do=replaced("target/images/3.bmp"),
    ),
    Row(
        "a target image is added", rules("scan_images") + CHECK + ADAPTED, do=added("target", False)
    ),
    Row(
        "a target image is deleted",
        rules("scan_images") + CHECK + ADAPTED,
        do=deleted("target/images/3.bmp"),
    ),
    Row(
        "a label of a target training image is replaced",
        NOTHING,
        do=replaced("target/labels/3.bmp"),
    ),
    Row(
        "labels of target training images are deleted",
        NOTHING,
        do=deleted("target/labels/3.bmp", "target/labels/4.bmp"),
    ),
    *labelled_set("validation", 2, EVALUATED, ": nothing is trained"),
]

# --- code -----------------------------------------------------------------------------------------


def meaning(text: str) -> str:
    """A statement more: other code."""
    return text + "\n_ADDED = 1\n"


def comment(text: str) -> str:
    return text + "\n# a comment\n"


def docstring(text: str) -> str:
    """Another docstring of the module, or one where there is none."""
    first = next(iter(ast.parse(text).body), None)
    has_one = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    rest = text.splitlines(keepends=True)[first.end_lineno if has_one else 0 :]
    return '"""Said in other words."""\n' + "".join(rest)


def layout(text: str) -> str:
    """The same syntax tree written out anew: other quotes, brackets and line breaks."""
    return "\n\n" + ast.unparse(ast.parse(text)) + "\n"


def files_below(folder: Path) -> list[Path]:
    """All files that may be code."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return sorted(found)


CONFIDENCE = "scalewise/selftraining/confidence.py"
CODE = [
    Row("`train_source.py`", FROM_TRAINING, file="train_source.py", edit=meaning),
    Row(
        "`train_source.py`, with `code: {train_source: pinned}`",
        REPORT,
        {"code": {"train_source": "pinned"}},
        file="train_source.py",
        edit=meaning,
    ),
    Row("`training/loop.py`", FROM_TRAINING, file="scalewise/training/loop.py", edit=meaning),
    Row("`selftraining/confidence.py`", FROM_ROUND_0, file=CONFIDENCE, edit=meaning),
    Row("a comment in it", NOTHING, file=CONFIDENCE, edit=comment),
    Row("another docstring of it", NOTHING, file=CONFIDENCE, edit=docstring),
    Row("the same code in another layout", NOTHING, file=CONFIDENCE, edit=layout),
    Row(
        "`selftraining/selection.py`",
        CHECK + FROM_SELECTING,
        file="scalewise/selftraining/selection.py",
        edit=meaning,
    ),
    Row("`retrain.py`", FROM_RETRAINING, file="retrain.py", edit=meaning),
    Row("`evaluation.py`", EVALUATIONS, file="scalewise/evaluation.py", edit=meaning),
    Row(
        "`reporting/page.html.j2`",
        REPORT,
        file="scalewise/reporting/page.html.j2",
        edit=lambda text: text + "<p>",
    ),
    Row("`config/sections.py`", NOTHING, file="scalewise/config/sections.py", edit=meaning),
    Row("`plan.py`", NOTHING, file="scalewise/plan.py", edit=meaning),
    Row("`job.py`", NOTHING, file="scalewise/job.py", edit=meaning),
]

# --- settings as files ----------------------------------------------------------------------------


def nested(values: Mapping[str, object]) -> dict:
    """Dotted keys -> nested sections. A mapping given for `name` or `format` is its whole section:
    the keys of another network or set are other ones."""
    result: dict = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        if name in ("name", "format") and isinstance(value, dict):
            *sections, name = sections
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return result


def write_settings(path: Path, *layers: Mapping[str, object]) -> Path:
    """A settings file with these dotted keys; later layers win."""
    merged = {key: value for layer in layers for key, value in layer.items()}
    path.write_text(yaml.safe_dump(nested(merged)), encoding="utf-8")
    return path


def leaves(content: Mapping, prefix: str = "") -> list[str]:
    """Dotted keys of all values of a configuration; an empty section is a value."""
    found = []
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            found += leaves(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found
