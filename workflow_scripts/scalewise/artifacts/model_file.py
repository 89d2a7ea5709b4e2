"""`model.safetensors`: weights, and all else that is needed to predict with them."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from scalewise.artifacts.atomic import replacing

FORMAT = "scalewise model 1"


@dataclass(frozen=True)
class ModelFile:
    """Weights by name, and what they belong to.

    description: network (name, options, and preprocessing: channel order, mean and scale for
    0..255 images), classes (names) and size (working height and width) as plain JSON values.
    """

    tensors: dict[str, Tensor]
    description: dict


def write(path: str | Path, model: ModelFile) -> None:
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.tensors.items()}
    # one JSON string: safetensors keeps several metadata entries in no fixed order
    metadata = {"scalewise": json.dumps({"format": FORMAT, **model.description}, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def read(path: str | Path) -> ModelFile:
    """Raises ValueError naming the file when it is cut short or was not written by this project."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(metadata.get("scalewise", "{}"))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if description.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: not a model file of format '{FORMAT}'")
    return ModelFile(tensors, description)
