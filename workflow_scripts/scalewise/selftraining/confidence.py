"""How sure the network is: entropy per pixel, and per image and class what the selection needs."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# setting threshold.constant_entropy -> the normalised entropy where there is nothing to scale
CONSTANT_ENTROPY = {"zero": 0.0, "nan": math.nan}
BLOCK = 1 << 13  # pixels of one image at once on the CPU: all their classes stay in its cache


class Confidence(NamedTuple):
    """What a network says of N images, pixel by pixel.

    Attributes:
        probabilities: (N, K, H, W) float32, a distribution over the K classes.
        maximum: (N, H, W) float32, the probability of the predicted class.
        prediction: (N, H, W) uint8, the most probable class; the lowest index wins a tie.
        entropy: (N, H, W) float32, in nats.
    """

    probabilities: Tensor
    maximum: Tensor
    prediction: Tensor
    entropy: Tensor


@torch.no_grad()
def pixel_confidence(probabilities: Tensor) -> Confidence:
    """The highest probability, the predicted class and the entropy (the method, steps 1 and 3).

    The entropy is H = -sum p ln(p + 1e-12) (the method, step 3), in which the small constant keeps
    p = 0 finite.

    Args:
        probabilities: (N, K, H, W), any floating dtype; computed in float32 whatever it is.

    Raises:
        ValueError: not four dimensions, more than 255 classes, or a NaN.
    """
    if probabilities.ndim != 4:
        raise ValueError(f"expected (images, classes, H, W), got {tuple(probabilities.shape)}")
    if probabilities.shape[1] > 255:
        raise ValueError(f"{probabilities.shape[1]} classes; at most 255 fit a label map")
    probabilities = probabilities.float()
    images, classes, *size = probabilities.shape
    pixels = probabilities.flatten(2)
    count = pixels.shape[2]
    maximum, entropy = pixels.new_empty(2, images, count)
    prediction = pixels.new_empty((images, count), dtype=torch.uint8)
    # K for class 0 to 1 for the last: in whole bytes, several times as fast as the indices of `max`
    place = torch.arange(classes, 0, -1, dtype=torch.uint8, device=pixels.device)[:, None]
    step = BLOCK if pixels.device.type == "cpu" else max(count, 1)
    for image in range(images):
        for first in range(0, count, step):
            part = image, slice(first, first + step)
            p = pixels[image, :, part[1]]
            torch.amax(p, dim=0, out=maximum[part])
            prediction[part] = classes - ((p == maximum[part]) * place).amax(dim=0)
            entropy[part] = (p + 1e-12).log_().mul_(p).sum(dim=0).neg_()
    if maximum.isnan().any():
        raise ValueError("the network's output holds NaN: its weights or its input are broken")
    maps = (values.reshape(images, *size) for values in (maximum, prediction, entropy))
    return Confidence(probabilities, *maps)


def normalised_entropy(
    entropy: Tensor, prediction: Tensor, classes: int, *, constant_entropy: str = "zero"
) -> Tensor:
    """Entropy scaled to [0, 1] within each image and predicted class (the method, step 3).

    Args:
        entropy: (N, H, W) float.
        prediction: (N, H, W) integer, below `classes`.
        classes: number of classes K.
        constant_entropy: the value where a class has the same entropy in all its pixels of an
            image, a single pixel for instance: "zero", or "nan", the released program's 0 / 0
            (docs/method.md row 3).

    Returns:
        (N, H, W) float32.

    Raises:
        ValueError: shapes differ, a prediction is not below `classes`, or another
            `constant_entropy`.
    """
    if constant_entropy not in CONSTANT_ENTROPY:
        known = ", ".join(CONSTANT_ENTROPY)
        raise ValueError(f"unknown constant entropy {constant_entropy!r}; known are {known}")
    bucket = _buckets(prediction, classes)
    _require_shape("entropy", entropy, prediction)
    values = entropy.float().flatten()
    buckets = prediction.shape[0] * classes
    low = values.new_full((buckets,), torch.inf).scatter_reduce(0, bucket, values, "amin")
    high = values.new_full((buckets,), -torch.inf).scatter_reduce(0, bucket, values, "amax")
    span = (high - low)[bucket]
    scaled = (values - low[bucket]) / span
    # `== 0` and not `> 0` as the other branch: a NaN entropy must stay NaN, never become sure.
    return scaled.masked_fill_(span == 0, CONSTANT_ENTROPY[constant_entropy]).reshape(entropy.shape)


def class_statistics(
    prediction: Tensor, maximum: Tensor, normalised: Tensor, entropy: Tensor, classes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is recorded of each image and class (the method, step 1).

    The sums are float64 and on the CPU, in the order of the pixels, so the same input gives the
    same bits each time; a GPU would add in whatever order its threads arrive.

    Args:
        prediction: (N, H, W) integer, below `classes`.
        maximum: (N, H, W) float, the probability of the predicted class.
        normalised: (N, H, W) float, the normalised entropy.
        entropy: (N, H, W) float, in nats.
        classes: number of classes K.

    Returns:
        On the CPU, each (N, K): pixels predicted as the class, int64; the means over these of
        `maximum`, of `normalised` and of `entropy`, float64, NaN where there are no pixels.

    Raises:
        ValueError: shapes differ, or a prediction is not below `classes`.
    """
    shape = (prediction.shape[0], classes)
    buckets = shape[0] * classes
    bucket = _buckets(prediction, classes).cpu()
    pixels = torch.bincount(bucket, minlength=buckets).reshape(shape)

    def mean(name: str, values: Tensor) -> Tensor:
        _require_shape(name, values, prediction)
        weights = values.flatten().cpu().double()
        return torch.bincount(bucket, weights, minlength=buckets).reshape(shape) / pixels

    means = {"maximum": maximum, "normalised": normalised, "entropy": entropy}
    return pixels, *(mean(name, values) for name, values in means.items())


def _buckets(prediction: Tensor, classes: int) -> Tensor:
    """One number per pixel, flattened: image * classes + predicted class."""
    if prediction.ndim != 3:
        raise ValueError(f"expected predictions (images, H, W), got {tuple(prediction.shape)}")
    if prediction.numel() and int(prediction.max()) >= classes:
        # It would be counted for the next image.
        raise ValueError(f"a pixel is predicted as class {int(prediction.max())} of {classes}")
    first = torch.arange(prediction.shape[0], device=prediction.device) * classes
    return (first[:, None, None] + prediction).flatten()


def _require_shape(name: str, values: Tensor, prediction: Tensor) -> None:
    if values.shape != prediction.shape:
        raise ValueError(
            f"{name} is {tuple(values.shape)} where prediction is {tuple(prediction.shape)}"
        )
