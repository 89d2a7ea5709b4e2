"""`optimizer.safetensors`: what an optimiser remembers, `<parameter>/<field>` -> tensor.

It holds nothing unless `retraining.carry_optimizer` is set.
"""

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from scalewise.artifacts.atomic import replacing

FORMAT = "scalewise optimizer 1"


def write(path: str | Path, tensors: dict[str, Tensor]) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"format": FORMAT})


def read(path: str | Path) -> dict[str, Tensor]:
    """Raises ValueError naming the file when it is of another format."""
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("format")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if found != FORMAT:
        raise ValueError(f"{path}: not a file of format '{FORMAT}'")
    return tensors
