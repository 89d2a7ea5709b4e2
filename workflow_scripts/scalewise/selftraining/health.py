"""Is a round still sound? Self-training can collapse, and its loss does not tell (docs/health.md).

A network that teaches itself agrees with itself more and more, whatever it says. So what it says of
the target is set against what the network of the round before said, and how it does on the source
against how the network did that the rounds began with; no label of the target is read.
Nothing here needs torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scalewise.artifacts.health_csv import OK, WARN, HealthRow

# classes that had a smaller share of all pixels than this come and go without a reason
RAREST = 1e-4
_NONE = math.nan


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network says of the target, and what a round makes of it.

    Attributes:
        pixels: (K,) int, pixels predicted as each class over all target images.
        entropy: mean entropy of all pixels, in nats.
        kept: share of the patches' pixels that may teach; None where no patches were made.
    """

    pixels: np.ndarray
    entropy: float
    kept: float | None = None


def overall_kept(kept: Sequence[float], seen: Sequence[int]) -> float:
    """The share of all pixels that is kept, from the share and the pixels of each class.

    Args:
        kept: (K,) share of the class's pixels, NaN where it has none.
        seen: (K,) pixels of the class.

    Returns: 0..1; NaN where there is no pixel.
    """
    kept, seen = np.asarray(kept, float), np.asarray(seen)
    there = seen > 0
    return float((kept * seen)[there].sum() / seen.sum()) if there.any() else _NONE


def overall_entropy(pixels: np.ndarray, entropy: np.ndarray) -> float:
    """The mean entropy of all pixels, from that of each image and class.

    Args:
        pixels: (n, K) int, pixels predicted as the class.
        entropy: (n, K) float, their mean entropy; NaN where there are none.

    Returns: in the unit of `entropy`; NaN where there is no pixel.
    """
    there = pixels > 0
    return float((pixels * entropy)[there].sum() / pixels.sum()) if there.any() else _NONE


def overall_loss(pixels: Sequence[int], loss: Sequence[float]) -> float:
    """The mean loss of all pixels, from that of each image: (n,) each; NaN where there are none."""
    return overall_entropy(np.asarray(pixels), np.asarray(loss, float))


def total_variation(pixels: np.ndarray, previous: np.ndarray) -> float:
    """Distance of two histograms: the share of the pixels that would have to change their class
    to make one of the other, 0..1; NaN where one has no pixel. pixels, previous: (K,) int."""
    if not (pixels.sum() and previous.sum()):
        return _NONE
    return float(np.abs(pixels / pixels.sum() - previous / previous.sum()).sum() / 2)


def agreement(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The share of pixels with the same class in both, 0..1; NaN where there is no pixel.

    pairs: two arrays of one shape each, together all that is compared.

    Raises: ValueError where shapes differ.
    """
    same = pixels = 0
    for one, other in pairs:
        if one.shape != other.shape:
            raise ValueError(f"predictions {one.shape} and {other.shape} differ in shape")
        same += int((one == other).sum())
        pixels += one.size
    return same / pixels if pixels else _NONE


def remaining(pixels: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """What each class still has of its share of the pixels, (K,) float: 1 is as before, more is
    more; NaN for a class that had less than `RAREST` of all pixels. pixels, previous: (K,) int."""
    left = np.full(len(pixels), _NONE)
    there = previous >= max(RAREST * previous.sum(), 1)
    if pixels.sum():
        # floats: the products of pixel counts pass the range of int64
        now, was = float(pixels.sum()), float(previous.sum())
        left[there] = pixels[there] * was / (previous[there] * now)
    return left


def check(
    now: Predictions,
    before: Predictions | None,
    agreed: float | None,
    losses: tuple[float, float] | None,
    limits: Mapping[str, float | None],
    classes: Sequence[str],
) -> list[HealthRow]:
    """The measures of a round, with their verdicts (docs/health.md).

    Args:
        now: of the network that labels in this round, or of the result.
        before: of the network that labelled in the round before; None in the first round, which
            has nothing to be compared with.
        agreed: from `agreement`; None in the first round.
        losses: on source images, of this network and of the one that the rounds began with; None
            in the first round.
        limits: kept, source, histogram, agreement, entropy and classes, as in `rounds.health`;
            None switches one off, and the measure is still taken.
        classes: K names.

    Returns: one row for each measure that could be taken. A value that is not a number is as bad
    as one beyond its limit.
    """
    rows = []
    if now.kept is not None:
        had = _NONE if before is None or before.kept is None else before.kept
        fact = f"{now.kept:.1%} of the patches' pixels are kept to teach{_after(had, '.1%')}"
        rows.append(_judged("kept", now.kept, limits, fact, "the lowest share is {:.1%}", had))
    if before is None:
        fact = f"the mean entropy is {now.entropy:.4g} nats"
        return [*rows, HealthRow("entropy", now.entropy, _NONE, _NONE, OK, fact)]
    rows.append(_of_source(*losses, limits))
    moved = total_variation(now.pixels, before.pixels)
    fact = f"the share of pixels that moved to other classes, net, is {moved:.1%} (total variation)"
    rows.append(_judged("histogram", moved, limits, fact, "the highest is {:.1%}", most=True))
    fact = f"{agreed:.1%} of the pixels have the same predicted class as in the round before"
    rows.append(_judged("agreement", agreed, limits, fact, "the lowest share is {:.1%}"))
    had = before.entropy
    fact = f"the mean entropy is {now.entropy:.4g} nats{_after(had, '.4g', ' nats')}"
    bound = "the lowest is {:.3g} times that"
    rows.append(_judged("entropy", now.entropy, limits, fact, bound, had, unit=had))
    rows.append(_of_classes(now.pixels, before.pixels, limits, classes))
    return rows


def _of_source(loss: float, begun: float, limits: Mapping[str, float | None]) -> HealthRow:
    """What became of the source: the loss is set against that before the rounds."""
    fact = f"the loss on source images is {loss:.4g} nats, {begun:.4g} before the rounds"
    bound = "the highest is {:.3g} times that"
    return _judged("source", loss, limits, fact, bound, begun, unit=begun, most=True)


def _of_classes(
    pixels: np.ndarray,
    previous: np.ndarray,
    limits: Mapping[str, float | None],
    classes: Sequence[str],
) -> HealthRow:
    """The class that lost most, and the names of all that lost nearly all they had."""
    left, limit = remaining(pixels, previous), limits["classes"]
    known = sorted(np.flatnonzero(~np.isnan(left)), key=lambda c: left[c])
    if not known:
        fact = "no class had so many pixels in the round before that it could lose them"
        return HealthRow("classes", _NONE, _NONE, _limit(limits, "classes"), OK, fact)
    lost = [c for c in known if limit is not None and left[c] < limit]
    names = ", ".join(f"{classes[c]} ({pixels[c]} of {previous[c]})" for c in lost or known[:1])
    what = "classes that lost nearly all of their" if lost else "the class that lost most of its"
    fact = f"{what} pixels since the round before: {names}"
    return _judged("classes", left[known[0]], limits, fact, "the lowest share left is {:.1%}")


def _judged(
    measure: str,
    value: float,
    limits: Mapping[str, float | None],
    fact: str,
    bound: str,
    previous: float = _NONE,
    *,
    unit: float = 1.0,
    most: bool = False,
) -> HealthRow:
    """The row of a measure: its limit times `unit` is the least that the value may be, or the
    most; `fact` is said of the value, and `bound` of the limit where it is passed."""
    limit, setting = _limit(limits, measure, unit), limits[measure]
    fine = setting is None or (value <= limit if most else value >= limit)
    if not fine:
        fact = f"{fact}; {bound.format(setting)} (rounds.health.{measure})"
    return HealthRow(measure, float(value), previous, limit, OK if fine else WARN, fact)


def _limit(limits: Mapping[str, float | None], measure: str, unit: float = 1.0) -> float:
    return _NONE if limits[measure] is None else limits[measure] * unit


def _after(previous: float, form: str, unit: str = "") -> str:
    return "" if math.isnan(previous) else f", after {previous:{form}}{unit} in the round before"
