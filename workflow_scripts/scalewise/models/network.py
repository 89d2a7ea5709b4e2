"""What every network of this project is: images in, logits at the network's own stride out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class Network(nn.Module):
    """Base of all networks.

    `forward` takes normalised images, float (N, 3, H, W), and returns logits (N, K, h, w) at the
    network's own stride; `align_corners` says how they are to be scaled up. Raises ValueError for
    images smaller than it can take.
    """

    align_corners: bool = False
    # in what it computes once it is placed, see `scalewise.models.precision`
    autocast: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.channels_last
    size_option: str = "width"  # the option that weights files of this network differ in most

    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Those that belong to the classes; some recipes train them faster."""
        raise NotImplementedError

    def shallow(self) -> list[nn.Module]:
        """The modules that bring an image to a quarter of its size, where they have batch-norm."""
        return []

    def fixed_parameters(self) -> list[nn.Parameter]:
        """Those that no training sets, such as bilinear kernels: a weights file may lack them."""
        return []

    def is_of_a_larger_one(self, name: str) -> bool:
        """Whether a tensor that this network has not is one of the same network with more blocks:
        a part of such weights fits, and is worth nothing without the others."""
        return False


def upsample(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Scale logits (N, K, h, w) to (N, K, *size): bilinear, float32; a map of that size stays.

    align_corners: as the network was trained, `Network.align_corners`.
    """
    if logits.shape[2:] == tuple(size):
        return logits.float()
    if logits.shape[0] == 0:  # torch scales no empty batch
        return logits.new_zeros((0, logits.shape[1], *size), dtype=torch.float32)
    return functional.interpolate(
        logits.float(), size, mode="bilinear", align_corners=align_corners
    )


def normalise(images: Tensor, preprocessing: dict) -> Tensor:
    """uint8 (N, H, W, 3) RGB -> float32 (N, 3, H, W): channels in order, minus mean, by scale."""
    if preprocessing["order"] == "bgr":
        images = images.flip(-1)
    mean = torch.tensor(preprocessing["mean"], device=images.device)
    scale = torch.tensor(preprocessing["scale"], device=images.device)
    return ((images.float() - mean) / scale).permute(0, 3, 1, 2)


class DomainStatistics:
    """Batch-norm statistics of two domains for one set of weights: a network has those of the
    target, and those of the source while source images go through it (both frozen).

    Chang et al., "Domain-Specific Batch Normalization" (CVPR 2019), where they are learnt too.

    Args:
        network: with the statistics of the target.
        source: the same network with those of the source.
    """

    def __init__(self, network: nn.Module, source: nn.Module):
        self._network = network
        self._target = dict(network.named_buffers())
        self._source = {name: value.clone() for name, value in source.named_buffers()}

    @contextmanager
    def of_source(self) -> Iterator[None]:
        """Within this, the statistics are the source's."""
        self._set(self._source)
        yield
        self._set(self._target)

    def _set(self, values: dict[str, Tensor]) -> None:
        # other tensors, not other values: what went through may go backward later
        for name, value in values.items():
            module, _, buffer = name.rpartition(".")
            setattr(self._network.get_submodule(module), buffer, value)


def freeze_batchnorm(model: nn.Module) -> None:
    """Keep the statistics as they are: target patches in them would confound a comparison."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
