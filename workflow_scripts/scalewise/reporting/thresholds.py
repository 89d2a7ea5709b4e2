"""How sure a pixel must be to teach: the entropy threshold of each class, round by round."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalewise.artifacts import thresholds_csv
from scalewise.reporting import cells
from scalewise.reporting.rounds import RoundFiles, by_class, frame


def read(rounds: Iterable[RoundFiles]) -> pd.DataFrame:
    """Columns experiment, seed, round, class, tau (normalised entropy; infinite: off; NaN: not
    defined), kept (percent of the patches' pixels of the class; NaN where it has none)."""
    rows = []
    for one in rounds:
        path = one.find("compute_thresholds", "thresholds.csv")
        if path is not None:
            rows += [
                (*one.who, row.name, row.tau, 100 * row.kept) for row in thresholds_csv.read(path)
            ]
    return frame(rows, "class", "tau", "kept")


def tables(table: pd.DataFrame, experiments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each experiment with thresholds: classes x rounds, means over seeds."""
    return [shown for _, shown in by_class(table, experiments, _cell)]


def _cell(part: pd.DataFrame) -> dict[str, Any]:
    tau = cells.mean(part["tau"])
    return {
        "tau": "off" if np.isinf(tau) else cells.number(tau, 3) or cells.NONE,
        "value": tau,
        "kept": cells.number(cells.mean(part["kept"])) or cells.NONE,
    }
