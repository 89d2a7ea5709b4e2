"""From the scores of a round to who is taken: shared by the selection and the thresholds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalewise.artifacts import labels_csv, scores_csv
from scalewise.artifacts.scores_csv import Scores
from scalewise.selftraining.selection import (
    Selection,
    counts_to_take,
    image_scores,
    rank_images,
    select_globally,
    select_images,
)
from scalewise.selftraining.thresholds import class_thresholds, rate_thresholds

SCOPES = ("class", "global")
MISSING_CLASSES = ("ignore", "trust")


@dataclass(frozen=True, eq=False)
class Ranking:
    """The images of a round, ranked and counted, of n images and K classes.

    Attributes:
        scores: what it was made from.
        in_source: (K,) bool, which classes the source has.
        rankings: for each class image indices, best first; a class that the source lacks has none.
        take: (K,) int64, how many of each ranking are taken.
        taken: int64, the images taken in their order, where all classes share one order (scope
            global); None where each class has its own.
        divisor: K in n_c = int(N_c p / K); 1 for the scope global.
    """

    scores: Scores
    in_source: np.ndarray
    rankings: list[np.ndarray]
    take: np.ndarray
    taken: np.ndarray | None
    divisor: int

    def selection(self) -> Selection:
        """The images taken (the method, step 2)."""
        if self.taken is None:
            return select_images(self.rankings, self.take, self.scores.mean_probability)
        overall = image_scores(self.scores.pixels, self.scores.mean_probability)
        return select_globally(self.taken, self.rankings, self.take, overall)

    def thresholds(
        self,
        previous: np.ndarray | None,
        settings: Mapping,
        count_entropy: Callable[[], np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The thresholds (the method, step 3).

        settings: estimator, pool, constant_entropy, missing_classes, and portion where the
        estimator is "rate". Where missing classes are ignored, the threshold of a class that the
        source lacks is 0: it is never a pseudo-label.

        count_entropy: gives the counts of the patches' pixels, as `thresholds.count_entropy`;
        called by the estimator "rate" alone.

        Returns: as `thresholds.class_thresholds`; no image decides where the estimator is "rate".
        """
        if settings["estimator"] == "rate":
            tau = rate_thresholds(count_entropy(), settings["portion"], previous)
            image = np.full(len(tau), -1, dtype=np.int64)
        else:
            tau, image = class_thresholds(
                self.rankings,
                self.take,
                self.scores.mean_entropy,
                previous,
                estimator=settings["estimator"],
                pool=settings["pool"] if settings["estimator"] == "pooled" else 0,
                finite=settings["constant_entropy"] == "zero",
            )
        if settings["missing_classes"] == "ignore":
            tau = np.where(self.in_source, tau, 0.0)
        return tau, image


def source_classes(pixels: Iterable[Sequence[int]], classes: int) -> np.ndarray:
    """bool (K,): which classes have a pixel in some source label. pixels: per image (K,)."""
    seen = np.zeros(classes, np.int64)
    for counts in pixels:
        seen += counts
    return seen > 0


def rank_and_count(scores: Scores, in_source: np.ndarray, settings: Mapping) -> Ranking:
    """Rank the images and count how many are taken (the method, step 2).

    settings:
        portion: p.
        scope: "class", the paper's way: each class ranks the images by its own score, and takes
            n_c = int(N_c p / K) of N_c. "global": one order for all, by the mean highest
            probability over all pixels of an image, of which the first int(N p) of N are taken.
            The ranking of a class is then that order without the images that lack the class, so
            that its threshold comes from the first image not taken that shows it.
        minimum_per_class: take at least so many; read by scope "class" alone.
        min_pixels: with fewer pixels of a class an image is not ranked for it.
        missing_classes: "ignore": K counts the classes that the source has. "trust", the released
            program: K counts all classes (docs/method.md row 7). Classes that the source lacks
            rank nothing either way.

    Raises: ValueError for an unknown scope or rule, and as the functions of `selection`.
    """
    for name, known in (("scope", SCOPES), ("missing_classes", MISSING_CLASSES)):
        if settings[name] not in known:
            raise ValueError(f"unknown {name} {settings[name]!r}; known are {', '.join(known)}")
    pixels, mean_probability = scores.pixels, scores.mean_probability
    rankings = rank_images(
        pixels,
        mean_probability,
        classes_in_source=in_source,
        min_pixels=settings["min_pixels"],
    )
    if settings["scope"] == "class":
        ignore = settings["missing_classes"] == "ignore"
        divisor = int(in_source.sum()) if ignore else len(in_source)
        take = counts_to_take(
            np.array([len(r) for r in rankings]),
            settings["portion"],
            divisor,
            settings["minimum_per_class"],
        )
        return Ranking(scores, in_source, rankings, take, None, divisor)
    order = np.argsort(-image_scores(pixels, mean_probability), kind="stable")
    (count,) = counts_to_take(np.array([len(order)]), settings["portion"], 1, 0)
    place = np.argsort(order)
    rankings = [ranking[np.argsort(place[ranking])] for ranking in rankings]
    take = np.array([(place[r] < count).sum() for r in rankings], dtype=np.int64)
    return Ranking(scores, in_source, rankings, take, order[:count], 1)


def read_ranking(
    scores_path: Path, source_labels_path: Path, classes: list[str], settings: Mapping
) -> Ranking:
    """`rank_and_count` of a `scores.csv` and the `labels.csv` of the source."""
    scores = scores_csv.read(scores_path, classes)
    labels = labels_csv.rows(source_labels_path, classes)
    in_source = source_classes((row.pixels for row in labels), len(classes))
    return rank_and_count(scores, in_source, settings)
