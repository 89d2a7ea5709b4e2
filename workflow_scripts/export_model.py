"""export_model: a model.safetensors as ONNX, with a page that says what it is.

    python workflow_scripts/export_model.py MODEL --out model.onnx
    make export MODEL=.../model.safetensors OUT=model.onnx

Batch, height and width are free. Input `images`: float32 (N, 3, H, W),
normalised; with --preprocessing uint8 (N, H, W, 3) RGB, and the file
normalises. Output `logits`: float32 (N, K, H, W), scaled up to the size of the
input as this project does it.

The file is run by onnxruntime beside the network itself on images of several
sizes and batches. Where a logit differs by more than the tolerance (relative to
the largest logit where that is above 1), or the class in more than one pixel of
a thousand, nothing is written and the exit status is 1. model.md beside it says
what the model is, its input, output and classes, the settings and the IoU of
the result where these can be found, and the difference.
"""

import argparse
import math
from importlib import metadata
from pathlib import Path

from scalewise.artifacts.atomic import replacing, write_text
from scalewise.artifacts.hashing import content_hash
from scalewise.command_line import errors_as_text, load_model, parser_of, run_program
from scalewise.errors import UserError
from scalewise.exporting import OPSETS, Difference, check_inputs, compare, export
from scalewise.model_card import card, origin_of

TOLERANCE = 1e-3
OTHER_CLASS = 1e-3  # share of the pixels


def is_within(difference: Difference, tolerance: float) -> bool:
    """Whether the file may be used in place of the network."""
    limit = tolerance * max(1.0, difference.logits)
    return difference.largest <= limit and difference.share <= OTHER_CLASS


def in_words(difference: Difference) -> str:
    return (
        f"largest difference {difference.largest:.2g} (logits up to {difference.logits:.3g})\n"
        f"another class in {difference.other} of {difference.pixels} pixels "
        f"({100 * difference.share:.2g} %)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do as the command line says. Raises UserError."""
    path, out = arguments.model, arguments.out
    if out.suffix != ".onnx":
        raise UserError(f"{out}: the name is to end in .onnx; the page beside it ends in .md")
    model = load_model(path)
    origin = origin_of(path, model.classes)
    asked = {"preprocessing": arguments.preprocessing, "opset": arguments.opset}
    with replacing(out) as temporary:
        try:
            export(model, temporary, **asked)
            difference = compare(
                model, temporary, check_inputs(model.size), preprocessing=arguments.preprocessing
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        print(in_words(difference))
        if not is_within(difference, arguments.tolerance):
            raise UserError(
                f"{path}: the ONNX file differs too much from the network, so it was not kept; see "
                "--tolerance"
            )
        packages = ("torch", "onnx", "onnxruntime")
        versions = {package: metadata.version(package) for package in packages}
        page = card(out.name, model, content_hash(path), origin, difference, versions, **asked)
        write_text(out.with_suffix(".md"), page)
    found = "with" if origin.iou is not None else "without"
    print(f"{out}, and {out.with_suffix('.md').name} {found} the IoU of its evaluation")


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}': give a number from 0 on")
    return value


def parser() -> argparse.ArgumentParser:
    p = parser_of(__doc__)
    p.add_argument("model", metavar="MODEL", type=Path, help="model.safetensors of a result")
    p.add_argument("--out", metavar="FILE", type=Path, required=True, help="ends in .onnx")
    p.add_argument(
        "--preprocessing", action="store_true", help="take uint8 RGB images, and normalise them"
    )
    p.add_argument(
        "--opset",
        metavar="N",
        type=int,
        choices=range(OPSETS[0], OPSETS[1] + 1),
        default=OPSETS[0],
        help=f"version of ONNX' operators, {OPSETS[0]} to {OPSETS[1]} (default: {OPSETS[0]})",
    )
    p.add_argument(
        "--tolerance",
        metavar="T",
        type=_tolerance,
        default=TOLERANCE,
        help=f"largest difference of a logit (default: {TOLERANCE})",
    )
    return p


def main() -> None:
    arguments = parser().parse_args()
    with errors_as_text("stopped: nothing was written"):
        run(arguments)


if __name__ == "__main__":
    run_program(main)
