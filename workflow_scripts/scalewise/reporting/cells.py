"""Numbers as the page writes them."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

NONE = "–"
NOT_EVALUATED = "n/a"


def number(value: float, digits: int = 1) -> str:
    """Empty for NaN."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def count(value: float) -> str:
    """A mean of counts: whole where it is, and grouped by thousands."""
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:.1f}"


def signed(value: float) -> str:
    """With a sign that is as wide as a digit, none for 0.0; empty for NaN."""
    if pd.isna(value):
        return ""
    value = round(value, 1)
    return f"{value:+.1f}".replace("-", "−") if value else "0.0"


def share(share: float) -> str:
    """0..1 in percent."""
    return "<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}"


def tone(change: float) -> str:
    """Shade of a change: up or down, in three steps (from 0.05, 2 and 5 points)."""
    if pd.isna(change) or abs(change) < 0.05:
        return ""
    step = 1 + (abs(change) >= 2) + (abs(change) >= 5)
    return f"{'up' if change > 0 else 'down'}{step}"


def duration(seconds: float) -> str:
    """In the largest unit that is full, and the next."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def mean(values: Iterable[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    known = [v for v in values if not pd.isna(v)]
    return float(np.mean(known)) if known else np.nan
