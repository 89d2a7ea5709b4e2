"""Class, confidence and entropy of every pixel of an image of any size, as 8-bit maps.

A view is a rectangle of the image, seen by the network at some size, mirrored or not. The softmax
of all views that cover a pixel is averaged at the image's own size. There is one view, the whole
image at the working size, unless windows, scales or mirrored views are asked for.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scalewise.data.reading import UnreadableImage, resize_image
from scalewise.inference import BATCH, logits
from scalewise.models.network import upsample
from scalewise.models.precision import to_device
from scalewise.models.store import LoadedModel
from scalewise.selftraining.confidence import pixel_confidence

# Probabilities of at most so many pixels times classes are held at once, as float32: an image is
# put together in bands of rows, so that a large one needs little more memory than a small one.
BAND = 1 << 24


class How(NamedTuple):
    """What is averaged.

    window: height and width of a sliding window, in pixels of the image times the scale; None: the
    whole image at the working size. scales: sizes that the network sees, relative to that. flip:
    mirrored views too. batch: views that go through the network at once.
    """

    window: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    batch: int = BATCH


class View(NamedTuple):
    """A rectangle of an image, in its own pixels; the size at which the network sees it; whether
    mirrored."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    mirrored: bool


class Prediction(NamedTuple):
    """uint8 (H, W) each. label: class index, the lowest of those equally probable; confidence: the
    probability of that class, 255 is 1; entropy: of all classes' probabilities, divided by its
    largest possible value ln K, 255 is 1."""

    label: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray


def starts(length: int, window: int) -> list[int]:
    """First pixels of windows along a side: the fewest that overlap by a third or more, evenly
    spread from end to end."""
    if window >= length:
        return [0]
    last = length - window
    step = max(1, window * 2 // 3)
    gaps = -(-last // step)  # rounded up
    return [i * last // gaps for i in range(gaps + 1)]


def views(image: tuple[int, int], working: tuple[int, int], how: How) -> list[View]:
    """All views of an image of that height and width, from top to bottom.

    An image smaller than a window is one view, which is not enlarged.
    """
    found = []
    for scale in how.scales:
        box, size = image, _times(working, scale)
        if how.window:
            own = _times(how.window, 1 / scale)
            box = tuple(map(min, own, image))
            size = how.window if box == own else _times(box, scale)
        for top in starts(image[0], box[0]):
            for left in starts(image[1], box[1]):
                for mirrored in (False, True)[: 1 + how.flip]:
                    found.append(View(top, left, *box, size, mirrored))
    return sorted(found, key=lambda view: view.top)


def _times(size: Sequence[int], factor: float) -> tuple[int, int]:
    return tuple(max(1, round(side * factor)) for side in size)


def rows_of(
    own: Tensor, size: tuple[int, int], start: int, stop: int, *, align_corners: bool
) -> Tensor:
    """Rows start to stop of `upsample(own, size)`, float32 (N, K, stop - start, size[1]), without
    the memory for the others."""
    if (start, stop) == (0, size[0]):
        return upsample(own, size, align_corners=align_corners)
    if own.shape[2:] == tuple(size):
        return own[:, :, start:stop].float()
    last = own.shape[2] - 1
    rows = torch.arange(start, stop, dtype=torch.float64)
    if align_corners:
        at = rows * last / (size[0] - 1)
    else:
        at = ((rows + 0.5) * own.shape[2] / size[0] - 0.5).clamp(0, last)
    above = at.floor().long().clamp(max=last)
    below = (above + 1).clamp(max=last)
    share = (at - above)[:, None].to(own.device, torch.float32)
    above, below = above.to(own.device), below.to(own.device)
    mixed = own[:, :, above].float() * (1 - share) + own[:, :, below].float() * share
    return upsample(mixed, (stop - start, size[1]), align_corners=align_corners)


class Predictor:
    """Predicts with one network on one device. Calling it: see `__call__`."""

    def __init__(self, model: LoadedModel, device: torch.device, how: How, band: int = BAND):
        to_device(model.network.eval(), device)
        self._model, self._device, self._how, self._band = model, device, how, band

    def __call__(self, images: Sequence[np.ndarray]) -> Iterator[Prediction]:
        """Predictions of images, uint8 (H, W, 3) RGB, of any sizes, in order.

        Whole images share batches; the windows of each image have their own.

        Raises UnreadableImage where a view is smaller than the network takes; ValueError where the
        network gives NaN.
        """
        plans = [views(image.shape[:2], self._model.size, self._how) for image in images]
        seen: list[dict[View, Tensor]] = [{} for _ in images]
        if not self._how.window:
            each = [(n, view) for n, plan in enumerate(plans) for view in plan]
            for (n, view), own in zip(
                each, self._run([(images[n], view) for n, view in each]), strict=True
            ):
                seen[n][view] = own
        for image, plan, of_image in zip(images, plans, seen, strict=True):
            yield self._assembled(image, plan, of_image)

    @torch.inference_mode()
    def _assembled(self, image: np.ndarray, plan: list[View], seen: dict[View, Tensor]):
        """seen: logits of the views that went through the network; emptied on the way."""
        height, width = image.shape[:2]
        classes = len(self._model.classes)
        result = Prediction(*(np.empty((height, width), np.uint8) for _ in range(3)))
        rows = max(1, self._band // (classes * width))
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            inside = [v for v in plan if v.top < stop and v.top + v.height > start]
            missing = [view for view in inside if view not in seen]
            seen.update(zip(missing, self._run([(image, v) for v in missing]), strict=True))
            total = torch.zeros(1, classes, stop - start, width, device=self._device)
            count = torch.zeros(stop - start, width, device=self._device)
            for view in inside:
                first, end = max(start, view.top), min(stop, view.top + view.height)
                part = rows_of(
                    seen[view], (view.height, view.width), first - view.top, end - view.top,
                    align_corners=self._model.network.align_corners,
                )  # fmt: skip
                place = np.s_[first - start : end - start, view.left : view.left + view.width]
                total[:, :, *place] += part.softmax(1)
                count[place] += 1
                if end == view.top + view.height:
                    del seen[view]
            confidence = pixel_confidence(total / count)
            most = math.log(classes) or 1.0  # one class: there is nothing to be unsure of
            band = (
                confidence.prediction,
                _as_byte(confidence.maximum),
                _as_byte(confidence.entropy / most),
            )
            for whole, part in zip(result, band, strict=True):
                whole[start:stop] = part[0].cpu().numpy()
        return result

    def _run(self, inputs: list[tuple[np.ndarray, View]]) -> list[Tensor]:
        """Logits (1, K, h, w) at the network's own stride, mirrored back, of views of images."""
        result: list[Tensor] = [None] * len(inputs)
        of_size: dict[tuple[int, int], list[int]] = {}
        for number, (_, view) in enumerate(inputs):
            of_size.setdefault(view.size, []).append(number)
        for numbers in of_size.values():
            for i in range(0, len(numbers), self._how.batch):
                part = numbers[i : i + self._how.batch]
                stack = np.stack([_seen_by_network(*inputs[number]) for number in part])
                try:
                    output = logits(self._model, torch.from_numpy(stack), self._device)
                except ValueError as error:  # what networks raise for images too small for them
                    raise UnreadableImage(str(error)) from None
                for number, own in zip(part, output.split(1), strict=True):
                    result[number] = own.flip(-1) if inputs[number][1].mirrored else own
        return result


def _seen_by_network(image: np.ndarray, view: View) -> np.ndarray:
    cut = image[view.top : view.top + view.height, view.left : view.left + view.width]
    cut = resize_image(cut, view.size)
    return cut[:, ::-1] if view.mirrored else cut


def _as_byte(share: Tensor) -> Tensor:
    """0..1 as 0..255, rounded."""
    return (share.clamp(0, 1) * 255).round().to(torch.uint8)
