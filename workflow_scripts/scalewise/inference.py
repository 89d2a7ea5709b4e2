"""Run a network over the images of a set, at the working size, in the order of the set."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from scalewise.models.network import normalise, upsample
from scalewise.models.store import LoadedModel

BATCH = 8


def batches(
    load: Callable[[int], np.ndarray], numbers: Sequence[int], batch: int = BATCH
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the numbers and images, uint8 (n, H, W, 3), of one batch after the other.

    The next batch is read while the last one is worked on.
    """
    parts = [list(numbers[i : i + batch]) for i in range(0, len(numbers), batch)]

    def read(part: list[int]) -> Tensor:
        return torch.from_numpy(np.stack([load(number) for number in part]))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, parts[0]) if parts else None
        for i, part in enumerate(parts):
            images = waiting.result()
            if i + 1 < len(parts):
                waiting = pool.submit(read, parts[i + 1])
            yield part, images


@torch.inference_mode()
def logits(model: LoadedModel, images: Tensor, device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) -> logits (N, K, h, w) at the network's own stride, on the device."""
    x = normalise(images.to(device), model.preprocessing)
    return model.network(x.contiguous(memory_format=torch.channels_last))


@torch.inference_mode()
def full_logits(model: LoadedModel, images: Tensor, device: torch.device) -> Tensor:
    """As `logits`, scaled up to the working size: float32 (N, K, H, W)."""
    own = logits(model, images, device)
    return upsample(own, model.size, align_corners=model.network.align_corners)
