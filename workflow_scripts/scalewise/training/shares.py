"""A step of training shared by the processes of a job, each with a device of its own.

The images of a step are dealt out. Losses are means over the pixels of all of them, and batch-norm
statistics and dropout are those of the whole batch, so that a step does what it does in one process
but for the rounding of sums. In one process all of this is the plain thing, in its bits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor, nn

from scalewise import processes
from scalewise.errors import UserError
from scalewise.training.randomness import derived_seed, generator


class Share(NamedTuple):
    """What this process has of a batch: its places in it, in order; and how many images of the same
    step come before that batch."""

    places: list[int]
    after: int


def dealt(images: int, after: int = 0) -> Share:
    """The share of this process of a batch: the images of a step are dealt to the processes in
    turn, so that two batches of one image each go to two processes."""
    rank, count = processes.rank(), processes.count()
    return Share([p for p in range(images) if (after + p) % count == rank], after)


def require_enough(images: int, key: str) -> None:
    """Raises UserError where a batch has fewer images than there are processes."""
    if images < processes.count():
        raise UserError(
            f"{key}: {images} images cannot be shared by {processes.count()} processes: lower "
            "resources.gpus_per_job, or raise the batch (which is another training)"
        )


class _Sum(torch.autograd.Function):
    """The sum over all processes. Each of them goes on with it, so its gradient is the sum of
    theirs: gradients grow by the number of processes, and DistributedDataParallel, which takes the
    mean of them, brings them back."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


class _LossSum(_Sum):
    """The same where all go on alike, as with a loss: their gradients are one and the same, so
    nobody has to ask, and a process without an image of a batch, which has none, is not missed."""

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient * processes.count()


def summed(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, for what becomes a loss in each of them alike."""
    return value if processes.count() == 1 else _LossSum.apply(value)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch-norm with the statistics of the whole batch. torch's own knows GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = _Sum.apply(values.new_tensor(values.numel() / values.shape[1]))
        mean = _Sum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class SharedDropout(nn.Dropout2d):
    """Dropout of whole channels: which, follows from seed, step and the image's place in the step,
    in whatever process, on whatever device, alone or with others it passes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if len(_now.images) != len(x):
            raise ValueError(f"begin_pass told of {len(_now.images)} images, and {len(x)} pass")
        _now.layer += 1
        draws = [
            generator(_now.seed, "dropout", i, _now.layer).random(x.shape[1]) for i in _now.images
        ]
        kept = torch.from_numpy(np.stack(draws) >= self.p).to(x.device, x.dtype)
        return x * (kept / (1 - self.p))[:, :, None, None]


class _Now:
    """The pass that goes on: the seed of its step, the images in it by their number in the step,
    and how many layers have drawn."""

    seed = layer = 0
    images: Sequence[int] = ()


_now = _Now()


def share_layers(network: nn.Module) -> None:
    """Have layers that look at a batch see the whole one, and layers that draw follow the images;
    parameters and buffers stay what they are. Dropout of single values, as SegFormer has it, is
    drawn by each process for itself."""
    for module in network.modules():
        if type(module) is nn.Dropout2d:
            module.__class__ = SharedDropout
        elif type(module) is nn.BatchNorm2d and processes.count() > 1:
            module.__class__ = SharedBatchNorm


def begin_step(seed: int) -> None:
    """Say what layers are to draw by in a step."""
    rank = processes.rank()
    # where a layer draws for its own images alone, each process draws otherwise
    torch.manual_seed(derived_seed(seed, rank) if rank else seed)
    _now.seed, _now.images = seed, ()


def begin_pass(*shares: Share) -> None:
    """Say that the images of these shares go through the network next, one after the other."""
    _now.images = [share.after + place for share in shares for place in share.places]
    _now.layer = 0


def add(total: dict[str, Tensor], part: dict[str, Tensor]) -> None:
    """Add the terms of a part to those of the parts before it."""
    for name, value in part.items():
        total[name] = total[name] + value if name in total else value


class Step(nn.Module):
    """A step as one module, for DistributedDataParallel: the sums of all parts of a loss."""

    def __init__(self, network: nn.Module, loss_parts):
        super().__init__()
        self.network, self._loss_parts = network, loss_parts

    def forward(self, batch) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for part in self._loss_parts(batch):
            add(total, part)
        return total


def in_parallel(network: nn.Module, loss_parts) -> nn.Module:
    """The step of a network on several devices: all gradients are the means over the processes."""
    return nn.parallel.DistributedDataParallel(
        Step(network, loss_parts), forward_sync_buffers=False
    )
