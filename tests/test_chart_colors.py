"""The colours of experiments in charts: apart for every eye, and seen on what is behind them.

Colour blindness is simulated as Machado, Oliveira and Fernandes do ("A Physiologically-based Model
for Simulation of Color Vision Deficiency", 2009, severity 1, on linear RGB). Differences are
Euclidean in OKLab (B. Ottosson, 2020), in which black and white are 1 apart; contrast is WCAG's.
"""

import re
from itertools import combinations

import matplotlib
import numpy as np
import pytest

from scalewise.reporting import figures, page
from test_reporting import LSE, evaluation, experiment, project

LEAST_DIFFERENCE = 0.1
LEAST_CONTRAST = 3.0  # of graphics, by WCAG 2.1, 1.4.11
EYES = {
    "all cones": np.eye(3),
    "no red (protan)": np.array(
        [[0.152286, 1.052583, -0.204868],
         [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "no green (deutan)": np.array(
        [[0.367322, 0.860646, -0.227968],
         [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue (tritan)": np.array(
        [[1.255528, -0.076749, -0.178779],
         [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
TO_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929],
     [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
TO_OKLAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468],
     [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
PALETTES = {"light": figures.COLORS, "dark": figures.COLORS_ON_DARK}


def linear(color):
    """#RRGGBB -> linear RGB, 0..1."""
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    return TO_OKLAB @ np.cbrt(TO_CONES @ rgb)


def difference(one, other, eye):
    seen = [np.clip(EYES[eye] @ linear(color), 0, 1) for color in (one, other)]
    return np.linalg.norm(oklab(seen[0]) - oklab(seen[1]))


def contrast(one, other):
    dark, bright = sorted(linear(color) @ [0.2126, 0.7152, 0.0722] for color in (one, other))
    return (bright + 0.05) / (dark + 0.05)


def made():
    evaluations = [evaluation(name, 0, r, 20.0 + r) for name in ("lse", "zoom") for r in (0, 1)]
    return page.build(project(LSE, experiment("zoom"), rounds=1), evaluations, [], {})


def papers(text):
    """Backgrounds of the page, light and dark."""
    light, dark = re.findall(r"--paper: (#[0-9a-f]{6});", text)[:2]
    return {"light": light, "dark": dark}


def test_the_measures_are_those_that_were_published():
    white, black = "#FFFFFF", "#000000"
    assert contrast(white, black) == pytest.approx(21)
    assert difference(white, black, "all cones") == pytest.approx(1, abs=1e-3)
    assert oklab(linear("#FF0000")) == pytest.approx([0.628, 0.225, 0.126], abs=1e-3)
    for matrix in EYES.values():  # grey stays grey
        assert matrix.sum(axis=1) == pytest.approx(1, abs=1e-5)
    # what they are for: red and green of one lightness
    assert difference("#B06060", "#6C8050", "no green (deutan)") < 0.5 * difference(
        "#B06060", "#6C8050", "all cones"
    )


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("palette", PALETTES)
def test_any_two_experiments_can_be_told_apart(palette, eye):
    found = {pair: difference(*pair, eye) for pair in combinations(PALETTES[palette], 2)}
    assert len(found) == 21 and min(found.values()) >= LEAST_DIFFERENCE, min(found, key=found.get)


@pytest.mark.parametrize("palette", PALETTES)
def test_each_can_be_seen_on_the_page(palette):
    behind = papers(made())[palette]
    found = {color: contrast(color, behind) for color in PALETTES[palette]}
    assert min(found.values()) >= LEAST_CONTRAST, found


def test_figures_and_marks_of_a_page_have_the_colours_of_its_background():
    text = made()
    light, dark, paper = re.findall(r"--series-0: (#\w{6});", text)
    assert (light, dark, paper) == (figures.COLORS[0], figures.COLORS_ON_DARK[0], light)
    assert "var(--series-0)" in text and 'style="color: var(--series-1)"' in text
    # nowhere but in the style sheet
    assert text.lower().count(figures.COLORS[1].lower()) == 2


def test_no_shade_of_a_matrix_is_taken_for_an_experiment():
    scale = matplotlib.colormaps[figures.SCALE](np.arange(256))
    shades = {matplotlib.colors.to_hex(color) for color in scale}
    assert not shades & {color.lower() for color in figures.COLORS}
