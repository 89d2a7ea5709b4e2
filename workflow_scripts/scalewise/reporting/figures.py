"""Figures as SVG and PNG: the same numbers give the same bytes.

Letters and axes of an SVG are drawn in `currentColor`: inside a page they take its ink, and alone
they show in a grey that reads on white and on black. A PNG is black on white, for papers. No figure
holds a date or refers to anything outside it.
"""

import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scalewise.reporting.tables import ALL_CLASSES

MOST_SHADED = 7
LONGEST_NAME = 42
DOTS_PER_INCH = 200  # of a PNG
# of shares and the like: its lightness alone tells the value, whatever the eye does with its hue
SCALE = "cividis"
# Of experiments, on white and in a dark page. The hues are those of Okabe and Ito's palette without
# black and yellow, and a grey, moved until every eye can tell any two apart and each from what is
# behind it: tests/test_chart_colors.py says how far.
COLORS = ("#255377", "#C48537", "#1E7B6F", "#B7500A", "#EA2FD7", "#1A8DFE", "#939393")
COLORS_ON_DARK = ("#236AA8", "#F5B720", "#21B271", "#C8550A", "#C67DC0", "#89C3F8", "#7B7B7B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SIGNS = "●■▲◆▼✚✖"  # the markers as text

_INK = "#010203"  # stands for `currentColor`, which matplotlib does not know
_STYLE = {
    # A reader's own matplotlibrc must not change the figures.
    **{k: v for k, v in matplotlib.rcParamsDefault.items() if "backend" not in k},
    "svg.hashsalt": "scalewise",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.7,
}


@dataclass(frozen=True)
class Drawing:
    """A figure; it is drawn where it is asked for. Make one inside `styled`."""

    figure: Figure

    @cached_property
    def svg(self) -> str:
        """SVG text."""
        buffer = io.StringIO()
        self._save(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'<g id="[^"]*"', "<g", text)
        text = text.replace("'DejaVu Sans'", "system-ui").replace(_INK, "currentColor")
        return text.replace("<svg ", '<svg style="color: #767676" ', 1)

    @cached_property
    def png(self) -> bytes:
        """PNG, black on white."""
        buffer = io.BytesIO()
        how = {"facecolor": "white", "dpi": DOTS_PER_INCH, "metadata": {"Software": None}}
        self._save(buffer, format="png", **how)
        return buffer.getvalue()

    def _save(self, buffer: io.IOBase, **how: Any) -> None:
        with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
            # A name in a script that the built-in font lacks is drawn by the reader's own font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            if self.figure.get_layout_engine():
                # where everything goes is found once, and not for each of the two formats
                self.figure.get_layout_engine().execute(self.figure)
                self.figure.set_layout_engine(None)
            self.figure.savefig(buffer, **how)


@contextmanager
def styled() -> Iterator[None]:
    """Within it figures are made in this report's style, whatever a reader's own is."""
    with matplotlib.rc_context(_STYLE):
        yield


def look(position: int) -> tuple[str, int]:
    """Colour of the experiment at this position, and the index of its marker: 49 pairs."""
    count = len(COLORS)
    return COLORS[position % count], (position + position // count) % len(MARKERS)


def looks(experiments: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, int]]:
    """Name -> `look`. The ablations, which share no figure with the others, come last: so the seven
    that a figure may have differ in colour, wherever ablations stand between them."""
    ordered = sorted(experiments, key=lambda e: e.get("role") == "ablation")
    return {e["name"]: look(i) for i, e in enumerate(ordered)}


def with_bars(experiments: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the experiments that `per_class_bars` draws: the first seven that are no ablation,
    since more bars than that beside each other cannot be told apart."""
    return _names(experiments)[:MOST_SHADED]


def _names(experiments: Sequence[Mapping[str, Any]], ablations: bool = False) -> list[str]:
    """Names of all but the ablations, which have `ablations` of their own; or of these alone."""
    return [e["name"] for e in experiments if (e.get("role") == "ablation") == ablations]


def lines(experiments: Sequence[Mapping[str, Any]], present: Iterable[str]) -> list[str]:
    """Names of the experiments that a figure has room for: of those present, the first seven that
    are no ablation."""
    present = set(present)
    return [name for name in _names(experiments) if name in present][:MOST_SHADED]


def _role(experiments: Sequence[Mapping[str, Any]], name: str) -> str | None:
    return next(e.get("role") for e in experiments if e["name"] == name)


def line_style(experiments: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """How the line of an experiment is drawn; that of a control is dashed, of a ceiling dotted."""
    color, marker = looks(experiments)[name]
    dashes = {"control": (0, (4, 2)), "ceiling": (0, (1, 2))}
    return {
        "color": color,
        "marker": MARKERS[marker],
        "linestyle": dashes.get(str(_role(experiments, name)), "-"),
        "linewidth": 1.8,
        "markersize": 5.5,
    }


def handle(style: Mapping[str, Any]) -> Line2D:
    """A line of a legend."""
    return Line2D([], [], **style)


def panels(
    table: pd.DataFrame,
    experiments: Sequence[Mapping[str, Any]],
    value: str,
    label: str,
    *,
    top: float | None = None,
    zero: bool = False,
) -> Drawing:
    """A small panel for each class: a quantity over the rounds, one line per experiment, the mean
    over seeds, with a dot for each seed where there are several.

    Args:
        table: columns experiment, seed, round, class and the quantity; what is not finite is left
            out.
        experiments: `Project.experiments`: names, roles, and the order of the colours.
        value: the quantity's column; label: what it is, with its unit.
        top: the highest value that there can be, where there is one; the lowest is 0 then.
        zero: a line at 0.
    """
    classes = list(dict.fromkeys(table["class"]))
    shown = lines(experiments, table["experiment"])
    table = table[np.isfinite(table[value].astype(float)) & table["experiment"].isin(shown)]
    classes = [name for name in classes if (table["class"] == name).any()]
    columns = min(4, max(len(classes), 1))
    rows = max(math.ceil(len(classes) / columns), 1)
    with styled():
        # neither shared axes nor a layout that is searched for: with as many panels as there are
        # classes both take long, and all that stands around a panel has a known size
        height = 0.5 + 1.25 * rows + 0.2 * math.ceil(len(shown) / 3)
        figure = blank(7.2, height, None)
        sides = _inches(7.2, height, 0.78, 0.1, 0.3 + 0.2 * math.ceil(len(shown) / 3), 0.47)
        grid = figure.add_gridspec(rows, columns, **sides, wspace=0.09, hspace=0.38)
        numbers = sorted(map(int, table["round"].unique()))
        low, high = (0.0, top) if top is not None else _range(table[value], zero)
        for k, name in enumerate(classes):
            axes = figure.add_subplot(grid[k])
            outer = {"labelbottom": k + columns >= len(classes), "labelleft": k % columns == 0}
            axes.tick_params(labelsize=8, **outer)
            for who in shown:
                own = table[(table["class"] == name) & (table["experiment"] == who)]
                mean = own.groupby("round")[value].mean()
                style = {**line_style(experiments, who), "linewidth": 1.2, "markersize": 3.5}
                if own["seed"].nunique() > 1:
                    dots = {"color": style["color"], "markersize": 2.5, "alpha": 0.6}
                    axes.plot(own["round"], own[value], ".", **dots)
                axes.plot(mean.index, mean, **style)
            axes.set_title(short(name, 20), fontsize=8.5, pad=3)
            axes.grid(axis="y")
            axes.set_xticks(numbers)
            if zero:
                axes.axhline(0, color=_INK, linewidth=0.7)
            # marks at either end are whole
            axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            axes.set_xlim(numbers[0] - 0.2, numbers[-1] + 0.2)
        figure.supxlabel("round", fontsize=9.5)
        figure.supylabel(label, fontsize=9.5)
        handles = [handle(line_style(experiments, who)) for who in shown]
        legend(figure, handles, shown, "outside upper center")
        return Drawing(figure)


def miou_over_rounds(
    table: pd.DataFrame,
    experiments: Sequence[Mapping[str, Any]],
    classes: str = ALL_CLASSES,
) -> Drawing:
    """Mean IoU after each round, one line per experiment that is no ablation.

    The line is the mean over seeds, the band one sample standard deviation to each side (where a
    round has two seeds or more, and no more than seven lines share the figure), each dot one seed.
    Controls are dashed; a ceiling has no rounds, and is a dotted line across.

    Args:
        table: from `tables.summary`; miou in percent.
        experiments: `Project.experiments`: names, roles, and the order of the colours.
        classes: "all" or the name of a subset.
    """
    table = table[table["classes"] == classes]
    with styled():
        names = _names(experiments)
        figure, axes = _figure(5.4, 2.9 + 0.2 * math.ceil(len(names) / _legend_columns(names)))
        handles = []
        for name in names:
            own = table[table["experiment"] == name].dropna(subset="miou")
            drawn = line_style(experiments, name)
            color = drawn["color"]
            handles.append(handle(drawn))
            per_round = own.groupby("round")["miou"]
            mean, sd = per_round.mean(), per_round.std(ddof=1)
            if sd.notna().any() and len(names) <= MOST_SHADED:
                axes.fill_between(
                    mean.index, mean - sd, mean + sd, color=color, alpha=0.14, linewidth=0
                )
                axes.plot(own["round"], own["miou"], ".", color=color, markersize=3.5, alpha=0.6)
            if _role(experiments, name) == "ceiling" and len(mean):
                axes.axhline(mean.iloc[0], color=color, linestyle=drawn["linestyle"], linewidth=1.2)
            axes.plot(mean.index, mean, **drawn)
        last = int(table["round"].max()) if len(table) else 0
        axes.set_xticks(range(last + 1), ["0\n(source-only)", *map(str, range(1, last + 1))])
        axes.set_xlim(-0.25, last + 0.25)
        axes.set_xlabel("round")
        axes.set_ylabel("mIoU (%)")
        axes.grid(axis="y")
        legend(figure, handles, names)
        return Drawing(figure)


def ablations(
    pairs: pd.DataFrame, experiments: Sequence[Mapping[str, Any]], reference: str
) -> Drawing:
    """How far each ablation ends from the method that it is set against, one row per ablation.

    The marker is the mean over paired seeds, the line one sample standard deviation to each side,
    each dot one seed.

    Args:
        pairs: from `tables.paired_differences`; differences in points of mIoU.
        experiments: `Project.experiments`: names, roles, and the order of the colours.
        reference: name of the method.
    """
    rows = _names(experiments, ablations=True)
    with styled():
        figure, axes = _figure(5.4, 0.8 + 0.27 * len(rows))
        for y, name in enumerate(rows):
            own = pairs.loc[pairs["experiment"] == name, "difference"].astype(float)
            if own.empty:
                continue
            color, marker = looks(experiments)[name]
            mean, sd = own.mean(), own.std(ddof=1)
            if len(own) > 1:
                axes.plot([mean - sd, mean + sd], [y, y], color=color, linewidth=1.8)
                axes.plot(own, [y + 0.22] * len(own), ".", color=color, markersize=3.5, alpha=0.8)
            axes.plot(mean, y, color=color, marker=MARKERS[marker], markersize=6)
        axes.axvline(0, color=_INK, linewidth=0.9)
        axes.set_yticks(range(len(rows)), [short(name, 28) for name in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"mIoU (%) above or below {short(reference, LONGEST_NAME)}")
        axes.grid(axis="x")
        return Drawing(figure)


def per_class_bars(table: pd.DataFrame, experiments: Sequence[Mapping[str, Any]]) -> Drawing:
    """IoU of each class: source-only against the last round, of the experiments `with_bars`.

    A bar is the mean over seeds of the experiment's last round, the upright line on it the mean of
    the same seeds before adaptation. A class without an IoU has neither.

    Args:
        table: from `tables.per_class_iou`; iou in percent.
        experiments: `Project.experiments`: names and the order of the colours.
    """
    classes = list(dict.fromkeys(table["class"]))
    shown = {name: looks(experiments)[name][0] for name in with_bars(experiments)}
    count = max(len(shown), 1)
    step = 0.8 / count
    with styled():
        height = len(classes) * max(0.24, 0.11 * count + 0.06)
        figure, axes = _figure(5.4, 1.0 + height + 0.1 * count)
        for i, (name, color) in enumerate(shown.items()):
            own = table[table["experiment"] == name]
            last = own[own["round"] == own["round"].max()]
            start = own[(own["round"] == 0) & own["seed"].isin(last["seed"])]
            at = np.arange(len(classes)) + (i - (count - 1) / 2) * step
            end, begin = (
                part.groupby("class")["iou"].mean().reindex(classes).to_numpy(dtype=float)
                for part in (last, start)
            )
            drawn = np.isfinite(end)
            axes.barh(at[drawn], end[drawn], height=step * 0.82, color=color)
            # a ceiling has not begun as a source-only network
            drawn = np.isfinite(begin) & (_role(experiments, name) != "ceiling")
            axes.vlines(
                begin[drawn], at[drawn] - step * 0.5, at[drawn] + step * 0.5, _INK, linewidth=1.6
            )
        axes.set_yticks(range(len(classes)), [short(name, 28) for name in classes])
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 100)
        axes.set_xlabel("IoU (%)")
        axes.grid(axis="x")
        handles = [Patch(color=color) for color in shown.values()]
        tick = Line2D([], [], color=_INK, marker="|", markersize=9, linestyle="", markeredgewidth=2)
        legend(figure, [tick, *handles], ["source-only", *shown], "outside upper center")
        return Drawing(figure)


def nothing(title: str) -> Drawing:
    """In the place of a figure that there are no numbers for: says so."""
    with styled():
        figure = blank(5.4, 1.2, None)
        words = f"{title}: there are no numbers to draw"
        figure.text(0.5, 0.5, words, ha="center", va="center")
        return Drawing(figure)


def _range(values: pd.Series, zero: bool) -> tuple[float, float]:
    """The lowest and the highest of the values, and 0 if it is to be in between."""
    ends = [values.min(), values.max(), *([0.0] if zero else [])]
    low, high = float(min(ends)), float(max(ends))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _inches(
    width: float, height: float, left: float, right: float, top: float, bottom: float
) -> dict[str, float]:
    """Margins of a figure, all in inches, as a grid of axes takes them."""
    return {
        "left": left / width,
        "right": 1 - right / width,
        "top": 1 - top / height,
        "bottom": bottom / height,
    }


def blank(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """A figure of width x height inches, drawn without pyplot and its global state."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasSVG(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = blank(width, height)
    return figure, figure.add_subplot()


def _legend_columns(names: Sequence[str]) -> int:
    longest = max((len(short(name, LONGEST_NAME)) for name in names), default=0)
    return max(1, min(len(names), 66 // (longest + 6)))


def legend(
    figure: Figure, handles: list, names: list[str], where: str = "outside lower center"
) -> None:
    """A legend outside of the axes."""
    # Names are set afterwards: matplotlib would leave out those that start with an underscore.
    if not handles:
        return
    columns = _legend_columns(names)
    names = [short(name, LONGEST_NAME) for name in names]
    blanks = ["n" * len(name) for name in names]
    made = figure.legend(handles, blanks, loc=where, ncols=columns, fontsize=9)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)


def short(name: str, most: int) -> str:
    """A name that would crowd out the figure is cut."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
