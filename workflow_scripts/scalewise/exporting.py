"""A network as ONNX: logits at the size of the input, for any batch, height and width."""

import json
import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from scalewise.errors import UserError
from scalewise.models.network import normalise, upsample
from scalewise.models.store import LoadedModel

INPUT, OUTPUT = "images", "logits"
SMALLEST = 8  # pixels per side that every network takes
OPSETS = (18, onnx.defs.onnx_opset_version())  # the exporter writes the first, and translates up


class Exported(nn.Module):
    """The network with what this project does around it.

    preprocessing: whether the input is uint8 (N, H, W, 3) RGB, or float32 (N, 3, H, W) that is
    normalised already. The output is float32 (N, K, H, W) in both cases.
    """

    def __init__(self, model: LoadedModel, preprocessing: bool):
        super().__init__()
        self.network = model.network
        self._preprocessing = model.preprocessing if preprocessing else None

    def forward(self, images: Tensor) -> Tensor:
        if self._preprocessing is None:
            size, normalised = images.shape[2:], images
        else:
            size, normalised = images.shape[1:3], normalise(images, self._preprocessing)
        logits = self.network(normalised)
        return upsample(logits, size, align_corners=self.network.align_corners)


def export(model: LoadedModel, path: Path, *, preprocessing: bool, opset: int) -> None:
    """Write the model's network, and what it says of itself, as ONNX.

    Raises UserError where it cannot be written for any batch, height and width, or with this opset.
    """
    exported = Exported(model, preprocessing).eval()
    dim = torch.export.Dim
    batch, height, width = (dim("batch"), dim("height", min=SMALLEST), dim("width", min=SMALLEST))
    example = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    axes = {0: batch, 1: height, 2: width}
    if not preprocessing:
        example = normalise(example, model.preprocessing).contiguous()
        axes = {0: batch, 2: height, 3: width}
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it tells of operators of other packages
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                exported, (example,), str(path), input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes=(axes,), dynamo=True, opset_version=opset, external_data=False,
                verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(
            f"this network cannot be written as ONNX for any batch, height and width ({reason})"
        ) from None
    finally:
        exporter.setLevel(level)
    content = onnx.load(path)
    found = max(o.version for o in content.opset_import if not o.domain)
    if found != opset:  # it says so on standard error, and goes on
        raise UserError(f"--opset {opset}: this network cannot be written so, but with {found}")
    sides = content.graph.input[0].type.tensor_type.shape.dim
    fixed = [str(sides[axis].dim_value) for axis in axes if not sides[axis].dim_param]
    if fixed:  # the exporter takes from the network what it demands, against what was asked for
        raise UserError(
            "this network cannot be written as ONNX for any batch, height and width: it demands "
            + " x ".join(fixed)
        )
    _describe(content, model)
    onnx.save(content, path)
    onnx.checker.check_model(str(path))


def _describe(content: onnx.ModelProto, model: LoadedModel) -> None:
    """Name the sides of the output, say what the classes are, and leave out where in which file of
    this machine each operator came from."""
    shape = content.graph.output[0].type.tensor_type.shape.dim
    for side, name in ((0, "batch"), (2, "height"), (3, "width")):
        shape[side].dim_param = name
    for node in content.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*content.graph.value_info, *content.graph.input, *content.graph.output):
        del value.metadata_props[:]
    del content.graph.metadata_props[:]
    description = {"classes": model.classes, "size": model.size, "network": model.settings}
    texts = {name: json.dumps(value) for name, value in description.items()}
    onnx.helper.set_model_props(content, texts)


class Difference(NamedTuple):
    """Between the logits of a network and those of its ONNX file, over all pixels of all inputs.

    largest: absolute; logits: the largest absolute value among them; other: pixels whose most
    probable class is another one; pixels: of all; shapes: (batch, height, width) of the inputs.
    """

    largest: float
    logits: float
    other: int
    pixels: int
    shapes: list[tuple[int, int, int]]

    @property
    def share(self) -> float:
        """Of pixels with another most probable class, 0 to 1."""
        return self.other / self.pixels


def check_inputs(size: tuple[int, int]) -> Iterable[np.ndarray]:
    """uint8 (N, H, W, 3): images of the working size, one and three at once, of sizes that no
    stride divides, and of a larger one; every other one of noise, the rest of smooth colours."""
    draw = np.random.default_rng(0)
    height, width = size
    odd = max(SMALLEST, height // 2 + 1), max(SMALLEST, width // 3 + 2)
    shapes = ((1, height, width), (3, height, width), (2, *odd), (2, 37, 51),
              (1, height + height // 4 + 1, width + width // 4 + 3))  # fmt: skip
    for n, (batch, h, w) in enumerate(shapes):
        if n % 2:
            yield draw.integers(0, 256, (batch, h, w, 3), np.uint8)
        else:
            coarse = torch.from_numpy(draw.integers(0, 256, (batch, 3, 6, 8)).astype(np.float32))
            smooth = upsample(coarse, (h, w)).permute(0, 2, 3, 1)
            yield smooth.round().to(torch.uint8).contiguous().numpy()


@torch.inference_mode()
def compare(
    model: LoadedModel, path: Path, inputs: Iterable[np.ndarray], *, preprocessing: bool
) -> Difference:
    """Run the ONNX file and the network itself on uint8 (N, H, W, 3) images, on the CPU.

    Raises UserError where the file cannot be run.
    """
    exported = Exported(model, preprocessing).eval()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    total = Difference(0.0, 0.0, 0, 0, [])
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        for images in inputs:
            given = torch.from_numpy(images)
            if not preprocessing:
                given = normalise(given, model.preprocessing).contiguous()
            expected = exported(given).numpy()
            (found,) = session.run([OUTPUT], {INPUT: given.numpy()})
            if found.shape != expected.shape:
                raise UserError(f"its output for {images.shape} is {found.shape}")
            away = np.abs(found - expected).max()
            total = Difference(
                # NaN stays: no comparison with a limit lets it pass
                float(np.maximum(total.largest, away)),
                max(total.logits, float(np.abs(expected).max())),
                total.other + int((found.argmax(1) != expected.argmax(1)).sum()),
                total.pixels + expected[:, 0].size,
                [*total.shapes, images.shape[:3]],
            )
    except UserError:
        raise
    except Exception as error:
        # the runtime has exceptions of its own that share no public base
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise UserError(
            f"onnxruntime cannot run it ({' '.join(str(error).split())[:200]})"
        ) from None
    return total
