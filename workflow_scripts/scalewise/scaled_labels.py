"""The most probable class of scaled-up maps, without scaling all of them up."""

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # height, width


def scaled_labels(values: Tensor, size: Size, *, align_corners: bool = True) -> Tensor:
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

    small = values.argmax(dim=1).to(torch.uint8)
    upper, lower = small[:, top], small[:, bottom]
    labels = upper[:, :, left]
    same = (labels == upper[:, :, right]) & (labels == lower[:, :, left])
    same &= labels == lower[:, :, right]

    image, row, column = torch.nonzero(~same, as_tuple=True)
    above, below = (image * height + top[row]) * width, (image * height + bottom[row]) * width
    left, right = left[column], right[column]
    across, down = across[column], down[row]
    neighbours = torch.stack([above + left, above + right, below + left, below + right], dim=1)
    weights = torch.stack(
        [
            (1 - down) * (1 - across),
            (1 - down) * across,
            down * (1 - across),
            down * across,
        ],
        dim=1,
    )
    # An embedding bag is the weighted sum of a few rows of a table: here of the neighbours' rows
    # of K values. It gathers and adds in one pass.
    table = values.permute(0, 2, 3, 1).reshape(-1, classes)
    mixed = F.embedding_bag(neighbours, table, per_sample_weights=weights, mode="sum")
    labels[image, row, column] = mixed.argmax(dim=1).to(torch.uint8)
    return labels


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
