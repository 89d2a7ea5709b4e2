"""Classes: their names, colours, label ids and the subsets over which a mean IoU is reported.

A class index ("train id") counts from 0 in the order of the names. `IGNORE` marks pixels that
belong to no class, everywhere in this project.
"""

from dataclasses import dataclass, field, replace

IGNORE = 255
IGNORE_NAME = "ignore"
ALL_CLASSES = "all"  # in tables, beside the names of subsets


@dataclass(frozen=True)
class Taxonomy:
    """A list of classes.

    Args:
        names: class names; the position is the class index.
        colors: one (red, green, blue) triple in 0..255 for each class.
        label_ids: label id in the data set's own files -> class index; an id mapped to `IGNORE`
            belongs to no class. An id that is not listed is an error of the data.
        subsets: name -> class names over which a further mean IoU is reported.
        absent: classes that have an id but occur in no file of the set.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    label_ids: dict[int, int] = field(default_factory=dict)
    subsets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


_CITYSCAPES_NAMES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
_CITYSCAPES_COLORS = (
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (102, 102, 156),
    (190, 153, 153),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
)
# Position: train id; value: the labelId in Cityscapes' `_gtFine_labelIds.png`, and in the palette
# images of GTA5.
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# Position: train id; value: the id in SYNTHIA-RAND-CITYSCAPES.
_SYNTHIA_IDS = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
_NOT_IN_SYNTHIA = ("terrain", "truck", "train")
_NOT_IN_13 = (*_NOT_IN_SYNTHIA, "wall", "fence", "pole")


def _by_id(ids: tuple[int, ...], count: int) -> dict[int, int]:
    """Label ids 0 .. count - 1 -> train id; those that are not listed are ignored."""
    return {i: ids.index(i) if i in ids else IGNORE for i in range(count)}


CITYSCAPES = Taxonomy(
    names=_CITYSCAPES_NAMES,
    colors=_CITYSCAPES_COLORS,
    # 34 occurs in GTA5 alone
    label_ids=_by_id(CITYSCAPES_LABEL_IDS, 35),
    subsets={
        "16 classes": tuple(n for n in _CITYSCAPES_NAMES if n not in _NOT_IN_SYNTHIA),
        "13 classes": tuple(n for n in _CITYSCAPES_NAMES if n not in _NOT_IN_13),
    },
)
# Cityscapes' `_gtFine_labelTrainIds.png`
CITYSCAPES_TRAIN_IDS = replace(
    CITYSCAPES, label_ids={**{i: i for i in range(len(_CITYSCAPES_NAMES))}, 255: IGNORE}
)
SYNTHIA = replace(CITYSCAPES, label_ids=_by_id(_SYNTHIA_IDS, 23), absent=_NOT_IN_SYNTHIA)

_CAMVID_NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
CAMVID = Taxonomy(
    names=_CAMVID_NAMES,
    colors=(
        (70, 130, 180),
        (70, 70, 70),
        (153, 153, 153),
        (128, 64, 128),
        (244, 35, 232),
        (107, 142, 35),
        (220, 220, 0),
        (190, 153, 153),
        (0, 0, 142),
        (220, 20, 60),
        (119, 11, 32),
    ),
    label_ids={**{i: i for i in range(len(_CAMVID_NAMES))}, 11: IGNORE},
)

TAXONOMIES = {"cityscapes": CITYSCAPES, "camvid": CAMVID}
