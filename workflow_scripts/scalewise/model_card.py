"""A page about an exported model: what it is, how to call it, what it was measured at."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from scalewise.artifacts import table
from scalewise.artifacts.hashing import content_hash
from scalewise.comparison import read_record
from scalewise.exporting import INPUT, OUTPUT, SMALLEST, Difference
from scalewise.models.store import LoadedModel
from scalewise.plan import RESULTS, SETTINGS_FILE


@dataclass(frozen=True)
class Origin:
    """What can be found of the result that a model file belongs to.

    record: its `settings.json`; iou: class -> IoU in percent (NaN: none) by its evaluation, and
    iou_file, where that stands. None where there is nothing.
    """

    record: dict | None
    iou: dict[str, float] | None
    iou_file: Path | None


def origin_of(model: Path, classes: Sequence[str]) -> Origin:
    """Look beside the model file, and for its evaluation in the same results/ or the one here.

    A record that does not know the file by its hash is another result's, and is not used.
    """
    folder = model.resolve().parent
    record = read_record(folder / SETTINGS_FILE)
    try:
        if record and record["files"][model.resolve().name]["hash"] != content_hash(model):
            record = None
    except (KeyError, TypeError):
        record = None
    files = [model.parent / "iou.csv"]
    for root in dict.fromkeys((folder.parents[1] if record else folder, Path(RESULTS).resolve())):
        files += _evaluations(root / "evaluate", record) if record else []
    for file in files:
        try:
            columns = table.read(file, {"class": str, "iou": float})
        except (OSError, ValueError):
            continue
        if columns["class"] == list(classes):
            iou = dict(zip(columns["class"], columns["iou"], strict=True))
            return Origin(record, iou, file)
    return Origin(record, None, None)


def _evaluations(folder: Path, record: Mapping) -> list[Path]:
    found = []
    for path in sorted(folder.glob(f"*/{SETTINGS_FILE}")):
        evaluation = read_record(path) or {"inputs": {}}
        read = evaluation["inputs"].get("model") or {}
        if (read.get("stage"), read.get("key")) == (record["stage"], record["key"]):
            found.append(path.parent / "iou.csv")
    return found


def card(
    name: str,
    model: LoadedModel,
    model_hash: str,
    origin: Origin,
    difference: Difference,
    versions: Mapping[str, str],
    *,
    preprocessing: bool,
    opset: int,
) -> str:
    """The page as Markdown.

    name: of the ONNX file; versions: of the packages that wrote and ran it.
    """
    settings = model.settings
    height, width = model.size
    sections = [
        f"# {_text(name)}",
        f"A network for semantic segmentation ({_text(settings['name'])}, {len(model.classes)} "
        f"classes), trained and written by Scalewise. Its working size is {height} x {width}; it "
        f"takes any batch, height and width (at least {SMALLEST} pixels). Opset {opset}.",
        "## Input and output",
        _table(
            ["", "name", "type", "shape", "what"],
            [
                ["input", INPUT, *_input(preprocessing)],
                ["output", OUTPUT, "float32", f"(N, {len(model.classes)}, H, W)",
                 "logits at the size of the input; the class is the arg-max over axis 1"],
            ],
        ),  # fmt: skip
        f"The evaluation scales images to {height} x {width} (bicubic with anti-aliasing) and the "
        "network's own logits to the labels' size (bilinear, "
        f"align_corners={model.network.align_corners}). This file scales them to the size of its "
        "input; scaled on from there, borders between classes can move by a pixel or so.",
        "## Preprocessing",
        _preprocessing(model.preprocessing, preprocessing),
        "## Classes",
        _classes(model.classes, origin),
        "## Where it comes from",
        _made(origin, model_hash),
        "## Checked",
        f"Against the network itself in torch, on the CPU, on {difference.pixels:,} pixels of "
        f"images of {', '.join('x'.join(map(str, s)) for s in difference.shapes)} (batch, height, "
        f"width): the largest difference of a logit is {difference.largest:.2g} (logits up to "
        f"{difference.logits:.3g}); the class is another one in {difference.other:,} pixels "
        f"({100 * difference.share:.2g} %). With "
        + ", ".join(f"{package} {version}" for package, version in versions.items()) + ".",
        "## Licence",
        "The licence of weights follows the data that they were trained on, and the weights that "
        "training began with; many data sets allow research alone. Nothing here grants a right to "
        "use these: whoever uses or passes on this file must check those licences.",
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _input(preprocessing: bool) -> list[str]:
    if preprocessing:
        return ["uint8", "(N, H, W, 3)", "RGB, 0 to 255"]
    return ["float32", "(N, 3, H, W)", "normalised as below"]


def _preprocessing(values: Mapping, within: bool) -> str:
    mean, scale = ([float(v) for v in values[name]] for name in ("mean", "scale"))
    text = (
        f"Channels in the order {values['order'].upper()}, values 0 to 255; minus the mean {mean}, "
        f"then divided by {scale}."
    )
    return text + (" The file does this itself." if within else " The file does not do this.")


def _classes(classes: Sequence[str], origin: Origin) -> str:
    if origin.iou is None:
        return _table(["index", "class"], [[str(k), name] for k, name in enumerate(classes)])
    rows = [[str(k), name, _percent(origin.iou[name])] for k, name in enumerate(classes)]
    there = [value for value in origin.iou.values() if not math.isnan(value)]
    mean = _percent(sum(there) / len(there)) if there else ""
    return _table(["index", "class", "IoU (%)"], [*rows, ["", f"mean of {len(there)}", mean]])


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _made(origin: Origin, model_hash: str) -> str:
    record = origin.record
    lines = [f"Weights: model.safetensors with BLAKE2b {model_hash}."]
    if origin.iou_file is not None:
        lines.append(
            "IoU: by the evaluation of this result on its validation set; an empty cell is a class "
            "that is neither in the labels nor in the predictions."
            if record
            else "IoU: from the iou.csv beside the model file; no settings.json says of what it is."
        )
    else:
        lines.append("No evaluation of it was found.")
    if record is None:
        return "\n\n".join([*lines, "No settings.json of the result was found beside it."])
    versions = record.get("versions") or {}
    facts = [
        ["result", f"{record['stage']}/{record['key']}"],
        ["what", record.get("title", "")],
        ["finished", record.get("finished", "")],
        ["device", record.get("device", "")],
        ["versions", ", ".join(f"{k} {v}" for k, v in versions.items())],
    ]
    config = record.get("config") or record["settings"]
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    fence = "`" * max(3, 1 + max(map(len, _runs_of_backticks(text)), default=0))
    return "\n\n".join(
        [*lines, _table(["", ""], facts), "Settings:", f"{fence}yaml\n{text}{fence}"]
    )


def _runs_of_backticks(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    """Any text as text, also in a table: no mark-up, no line end."""
    text = " ".join(html.escape(str(value), quote=False).split())
    return "".join(f"\\{c}" if c in "\\|`*_[]#~" else c for c in text)
