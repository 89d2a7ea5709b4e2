"""In which precision and memory layout a network computes.

What follows the network (softmax, entropy, loss) is float32 whatever it is: `forward` gives
float32.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.amp import GradScaler

from scalewise.errors import UserError
from scalewise.models.network import Network

log = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COMPILED = "results/compiled"  # what torch.compile made
FLOAT32 = {"autocast": "float32", "channels_last": True, "compile": False}


def to_device(
    network: Network,
    device: torch.device,
    precision: Mapping = FLOAT32,
    warn: Callable[[str], None] = log.warning,
) -> None:
    """Bring a network to its device, to compute there as the settings say.

    precision: `autocast`, a name of `DTYPES`: of convolutions and products, while weights stay
    float32; `channels_last`: the memory layout; `compile`: with torch.compile, at the first images.
    A CUDA device without bfloat16 computes in float16, and `warn` is told so.

    What is compiled is kept in `COMPILED`.

    Raises: UserError where compiling is asked for and there is no C++ compiler.
    """
    dtype = DTYPES[precision["autocast"]]
    if dtype is torch.bfloat16 and device.type == "cuda" and not _has_bfloat16():
        warn("precision.autocast: this device has no bfloat16, so it computes in float16")
        dtype = torch.float16
    network.autocast = dtype
    network.memory_format = (
        torch.channels_last if precision["channels_last"] else torch.contiguous_format
    )
    network.to(device, memory_format=network.memory_format)
    if precision["compile"]:
        _require_compiler()
        # read when the compiler starts, which has a process for each core otherwise, and would keep
        # what it made, and runs, where others can write
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(torch.get_num_threads()))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.abspath(COMPILED))
        network.compile()


def forward(network: Network, images: Tensor) -> Tensor:
    """The logits of normalised images, in the precision that the network was placed with.

    images: float32 (N, 3, H, W) on the network's device; returns float32 (N, K, h, w) at the
    network's own stride. The backward pass needs no context.
    """
    lower = network.autocast is not torch.float32
    with torch.autocast(images.device.type, network.autocast) if lower else nullcontext():
        return network(images.contiguous(memory_format=network.memory_format)).float()


def gradient_scaler(network: Network) -> GradScaler:
    """Scales losses up and gradients back down where the network computes in float16, in which
    small gradients are zeros; one that does nothing for all others."""
    device = next(network.parameters()).device.type
    return GradScaler(device, enabled=network.autocast is torch.float16)


def _has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _require_compiler() -> None:
    compiler = os.environ.get("CXX")
    names = [compiler] if compiler else ["g++", "clang++", "c++"]
    if not any(map(shutil.which, names)):
        raise UserError(
            f"precision.compile: torch.compile needs a C++ compiler, and there is no "
            f"{' or '.join(names)}: install one (Debian: g++), or set compile: false"
        )
