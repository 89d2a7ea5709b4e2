"""The most probable class of scaled-up maps, without scaling all of them up."""

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # height, width
_MIXED = 255  # no class: at most 255 of them are numbered from 0
_BLOCK = 1 << 15  # pixels at borders at once: what is made of them stays in the cache


def scaled_labels(
    values: Tensor, size: Size, *, align_corners: bool = True, highest: Tensor | None = None
) -> Tensor:
    """The class with the highest value after bilinear scaling to `size` (the method, step 4).

    A bilinear value is a convex combination of four neighbours, which keeps the order of two
    classes: where the four share their highest class, that is the label. So only the pixels
    at the borders between classes are interpolated. The result is that of scaling everything, but
    for pixels where two classes tie up to the rounding of float32.

    Args:
        values: (N, K, h, w) float, probabilities or logits, K at most 255; computed in float32.
        size: (H, W), larger or smaller: scaled down, a value still is one of four neighbours'.
        align_corners: the grid, as in torch's `interpolate`: true, that where the corners of both
            coincide; false, their edges.

    Returns:
        (N, H, W) uint8; of classes that tie, as where the four agree, the lowest.

    Raises:
        ValueError: not four dimensions, or more than 255 classes.
    """
    if values.ndim != 4 or values.shape[1] > 255:
        raise ValueError(f"expected (images, at most 255 classes, h, w), got {tuple(values.shape)}")
    values = values.float()
    classes, height, width = values.shape[1:]
    top, bottom, down = _neighbours(height, size[0], align_corners, values.device)
    left, right, across = _neighbours(width, size[1], align_corners, values.device)

    if highest is None:
        highest = values.max(dim=1).indices.to(torch.uint8)  # several times as fast as argmax
    mixed = _mixed(highest)
    # first all columns of the few rows, since whole rows are copied faster than single values
    labels = highest.masked_fill(mixed, _MIXED)[:, :, left].index_select(1, top)

    # An embedding bag is the weighted sum of a few rows of a table: here of the neighbours' rows
    # of K values. It gathers and adds in one pass.
    table = values.permute(0, 2, 3, 1).reshape(-1, classes)
    places = torch.nonzero(labels == _MIXED)
    for part in places.split(_BLOCK):
        image, row, column = part.unbind(1)
        above, below = (image * height + top[row]) * width, (image * height + bottom[row]) * width
        west, east = left[column], right[column]
        neighbours = torch.stack([above + west, above + east, below + west, below + east], dim=1)
        x, y = across[column], down[row]
        weights = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], dim=1)
        sums = F.embedding_bag(neighbours, table, per_sample_weights=weights, mode="sum")
        labels[image, row, column] = sums.max(dim=1).indices.to(torch.uint8)
    return labels


def _mixed(highest: Tensor) -> Tensor:
    """bool (N, h, w): whether a pixel and those to its right and below are not of one class."""
    mixed = torch.zeros_like(highest, dtype=torch.bool)
    mixed[:, :, :-1] |= highest[:, :, :-1] != highest[:, :, 1:]
    mixed[:, :-1] |= highest[:, :-1] != highest[:, 1:]
    mixed[:, :-1, :-1] |= highest[:, :-1, :-1] != highest[:, 1:, 1:]
    return mixed


def _neighbours(
    before: int, after: int, align_corners: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `after` positions the two of `before` around it and the weight of the second.

    In float32 as torch's own bilinear scaling does it, so that both use the same weights.
    """
    numbers = torch.arange(after, dtype=torch.float32)
    if align_corners:
        place = numbers * (torch.tensor(before - 1, dtype=torch.float32) / max(after - 1, 1))
    else:
        step = torch.tensor(before, dtype=torch.float32) / after
        place = ((numbers + 0.5) * step - 0.5).clamp(min=0)
    first = place.long().clamp(max=before - 1)
    weight = place - first
    # A neighbour of weight 0 does not matter: name the first one twice.
    second = torch.where(weight > 0, (first + 1).clamp(max=before - 1), first)
    return first.to(device), second.to(device), weight.to(device)
