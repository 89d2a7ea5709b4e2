"""Classes: their names, colours, label ids and the subsets over which a mean IoU is reported.

A class index ("train id") counts from 0 in the order of the names. `IGNORE` marks pixels that
belong to no class, everywhere in this project.
"""

from dataclasses import dataclass, field

IGNORE = 255
IGNORE_NAME = "ignore"


@dataclass(frozen=True)
class Taxonomy:
    """A list of classes.

    Args:
        names: class names; the position is the class index.
        colors: one (red, green, blue) triple in 0..255 for each class.
        label_ids: label id in the data set's own files -> class index; an id mapped to `IGNORE`
            belongs to no class. An id that is not listed is an error of the data.
        subsets: name -> class names over which a further mean IoU is reported.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    label_ids: dict[int, int] = field(default_factory=dict)
    subsets: dict[str, tuple[str, ...]] = field(default_factory=dict)


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
# Position: train id; value: the labelId in Cityscapes' `_gtFine_labelIds.png`.
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_NOT_IN_SYNTHIA = ("terrain", "truck", "train")
_NOT_IN_13 = (*_NOT_IN_SYNTHIA, "wall", "fence", "pole")

CITYSCAPES = Taxonomy(
    names=_CITYSCAPES_NAMES,
    colors=_CITYSCAPES_COLORS,
    label_ids={
        label_id: CITYSCAPES_LABEL_IDS.index(label_id)
        if label_id in CITYSCAPES_LABEL_IDS
        else IGNORE
        for label_id in range(35)
    },
    subsets={
        "16 classes": tuple(n for n in _CITYSCAPES_NAMES if n not in _NOT_IN_SYNTHIA),
        "13 classes": tuple(n for n in _CITYSCAPES_NAMES if n not in _NOT_IN_13),
    },
)

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
