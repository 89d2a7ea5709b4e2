"""Run a network over the images of a set, at the working size, in the order of the set."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from scalewise import processes
from scalewise.errors import UserError
from scalewise.made_ahead import made_ahead
from scalewise.models.network import normalise, upsample
from scalewise.models.precision import forward
from scalewise.models.store import LoadedModel
from scalewise.resuming import Items

BATCH = 8
Found = TypeVar("Found")


def in_batches(numbers: Sequence[int], batch: int = BATCH) -> list[list[int]]:
    """The numbers, so many together."""
    return [list(numbers[i : i + batch]) for i in range(0, len(numbers), batch)]


def batches(
    load: Callable[[int], np.ndarray], parts: Sequence[list[int]]
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the numbers and images, uint8 (n, H, W, 3), of one batch after the other.

    Images are read by several threads, see `made_ahead`.
    """
    numbers = (number for part in parts for number in part)
    # all of a batch at once; more would only take memory
    with closing(made_ahead(load, numbers, max(map(len, parts), default=0))) as read:
        for part in parts:
            images = [image for _, image in islice(read, len(part))]
            yield part, torch.from_numpy(np.stack(images))


def made_of_batches(
    work: Items,
    load: Callable[[int], np.ndarray],
    numbers: Sequence[int],
    make: Callable[[list[int], Tensor], Found],
) -> Iterator[tuple[list[int], Found]]:
    """Yield the numbers of one batch after the other with what `make` makes of it, and say to
    `work` that it is done when the next is asked for.

    Where a job has several processes they take the batches in turn and the leader yields all of
    them; the others yield nothing. A batch is the same images whichever process has it, so results
    do not depend on the number of processes.

    Raises:
        UserError: an image could not be read; what was made before it has been yielded.
        KeyboardInterrupt: see `Items.advance`.
    """
    parts, rank, count = in_batches(numbers), processes.rank(), processes.count()
    mine = batches(load, parts[rank::count])
    for first in range(0, len(parts), count):
        turn = parts[first : first + count]
        found, told = None, ""
        if rank < len(turn):
            try:
                found = make(*next(mine))
            except UserError as error:
                told = str(error)
        failed = processes.any_of(*(bool(told) and k == rank for k in range(count)))
        founds = processes.with_leader(found)
        for k, part in enumerate(turn):
            if failed[k]:
                raise UserError(processes.first_of(told))
            if founds:
                yield part, founds[k]
            work.advance(len(part))


@torch.inference_mode()
def logits(model: LoadedModel, images: Tensor, device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) -> logits, float32 (N, K, h, w) at the network's own stride, on the
    device."""
    x = normalise(images.to(device), model.preprocessing)
    return forward(model.network, x)


@torch.inference_mode()
def full_logits(model: LoadedModel, images: Tensor, device: torch.device) -> Tensor:
    """As `logits`, scaled up to the working size: float32 (N, K, H, W)."""
    own = logits(model, images, device)
    return upsample(own, model.size, align_corners=model.network.align_corners)


@torch.inference_mode()
def predict(
    model: LoadedModel,
    images: Tensor,
    device: torch.device,
    *,
    scales: Sequence[float] = (1,),
    flip: bool = False,
    agreement: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The probabilities from which labels, scores and entropy come: the mean over several views.

    A view is the image scaled bilinearly by one of `scales`, each side rounded, and, with `flip`,
    the mirror image of that. Its logits are scaled to the working size before the softmax, so one
    view at scale 1 is the softmax of `full_logits` and nothing else.

    Args:
        images: uint8 (N, H, W, 3), at the working size.
        scales: at least one, above 0.
        flip: mirror images too.
        agreement: ask where all views agree.

    Returns:
        The mean, float32 (N, K, H, W); and, where asked for, bool (N, H, W): whether the most
        probable class is the same in all views. Both on the device.

    Raises:
        ValueError: no scale.
    """
    if not scales:
        raise ValueError("there is no scale to predict at")
    total = first = agree = None
    for scale in scales:
        for mirrored in (False, True) if flip else (False,):
            view = _view(model, images, device, scale, mirrored).softmax(dim=1)
            if agreement:
                predicted = view.argmax(dim=1)
                first = predicted if first is None else first
                same = predicted == first
                agree = same if agree is None else agree & same
            total = view if total is None else total.add_(view)
    count = len(scales) * (2 if flip else 1)
    return (total if count == 1 else total.div_(count)), agree


def _view(
    model: LoadedModel, images: Tensor, device: torch.device, scale: float, mirrored: bool
) -> Tensor:
    """The logits of one view, turned and scaled back: float32 (N, K, H, W)."""
    height, width = model.size
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    if size == (height, width):
        found = full_logits(model, images.flip(2) if mirrored else images, device)
        return found.flip(-1) if mirrored else found
    align = model.network.align_corners
    parts = []
    # fewer at once where they are larger, so that a view needs no more memory than the image itself
    for part in images.split(max(int(len(images) / max(scale, 1) ** 2), 1)):
        x = normalise(part.to(device), model.preprocessing)
        x = functional.interpolate(x, size, mode="bilinear", align_corners=align)
        x = x.flip(-1) if mirrored else x
        own = forward(model.network, x)
        parts.append(upsample(own, model.size, align_corners=align))
    found = torch.cat(parts)
    return found.flip(-1) if mirrored else found
