"""Where the released program differs in numbers, as data: one row for each setting that differs.

The rows are numbered as in docs/method.md ("Where this project differs from the released program"),
which names the same settings and values. `compatibility: authors_code` sets each of them to the
released value. Differences that change no number, such as crashes and lost files, have no setting.
"""

from typing import NamedTuple

Value = bool | int | str


class Difference(NamedTuple):
    """One setting.

    Attributes:
        row: number of the row in docs/method.md; two settings may make one row.
        setting: dotted key in the configuration.
        ours: the default of this project.
        released: what the released program does.
        why: why ours is another, or that it is not.
        network: the only network that it is about; None: every network.
    """

    row: int
    setting: str
    ours: Value
    released: Value
    why: str
    network: str | None = None


_DEEPLAB = "deeplabv2_resnet101"

DIFFERENCES = (
    Difference(1, "selection.resample", False, True, "drawing anew leaves a third of them out"),
    Difference(2, "selection.extra_images", 0, 1, "only what was selected was found confident"),
    Difference(3, "threshold.constant_entropy", "zero", "nan", "NaN switches the filter off"),
    Difference(3, "selection.min_pixels", 10, 1, "the entropy of a few pixels says nothing"),
    Difference(5, "threshold.estimator", "at_rank", "at_rank", "the same; pooled is less noisy"),
    Difference(6, "selection.minimum_per_class", 0, 0, "the same; 1 gives rare classes an image"),
    Difference(7, "selection.missing_classes", "ignore", "trust", "predictions of them are wrong"),
    Difference(8, "patches.reliability", "nearest", "bilinear", "unreliable regions would shrink"),
    Difference(9, "retraining.focal.over", "pixels", "mean", "one number knows no class", _DEEPLAB),
    Difference(10, "network.classifier_branches", 4, 2, "the paper of DeepLab has four", _DEEPLAB),
    Difference(11, "retraining.empty_patch", "zero", "nan", "the logged loss would be NaN"),
    Difference(14, "retraining.carry_optimizer", False, True, "a round has its inputs alone"),
)


def _nested(column: str, network: str) -> dict:
    """{"selection": {"resample": False, ...}, ...}, of the rows that are about this network."""
    settings: dict = {}
    for difference in DIFFERENCES:
        if difference.network in (None, network):
            *sections, name = difference.setting.split(".")
            inner = settings
            for section in sections:
                inner = inner.setdefault(section, {})
            inner[name] = getattr(difference, column)
    return settings


def released(network: str) -> dict:
    """The settings of `compatibility: authors_code` for a network, as nested overrides."""
    return _nested("released", network)


def ours(network: str) -> dict:
    """The defaults of the same settings."""
    return _nested("ours", network)
