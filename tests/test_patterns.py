"""Patterns of file names: the id of an image, and the label that belongs to it."""

import glob
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalewise.patterns import image_id, label_path, wildcards

# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "pattern", "name"),
    [
        ("images/00001.png", "images/*.png", "00001"),
        ("00001.png", "*.png", "00001"),
        ("a/b/c.png", "**/*.png", "a/b/c"),
        ("c.png", "**/*.png", "c"),
        (
            "leftImg8bit/val/ulm/a_1_leftImg8bit.png",
            "leftImg8bit/val/**/*_leftImg8bit.png",
            "ulm/a_1",
        ),
        ("leftImg8bit/val/a_leftImg8bit.png", "leftImg8bit/val/**/*_leftImg8bit.png", "a"),
        ("frame_12.png", "frame_*.png", "12"),
        ("x/frame_12_l.png", "x/frame_*_l.png", "12"),
        ("a/one/rgb/7.png", "a/*/rgb/*.png", "one/rgb/7"),
        ("seq_1/frame_2.png", "seq_*/frame_*.png", "seq_1/frame_2"),
        ("a/1_b_2.png", "a/*_b_*.png", "1_b_2"),
        ("a/x3.png", "a/x[0-9].png", "3"),
        ("a/x3y.png", "a/x[0-9]?.png", "3y"),
        ("a/b.png", "a/*", "b.png"),
        ("日本/é.png", "日本/*.png", "é"),
        ("a/.png", "a/*.png", ""),
    ],
)
def test_the_id_is_what_the_stars_stand_for(path, pattern, name):
    assert image_id(path, pattern) == name


PART = st.text("ab_.1", min_size=1, max_size=3)
PATTERNS = st.lists(
    st.lists(st.sampled_from(["*", "?", "a", "_", "b1", ".png"]), min_size=1, max_size=4).map(
        "".join
    )
    | st.just("**"),
    min_size=1,
    max_size=4,
).map("/".join)


@given(PATTERNS.filter(lambda p: "*" in p), st.lists(st.lists(PART, min_size=6, max_size=6)))
def test_an_id_gives_its_path_back_with_what_all_paths_have_in_common(pattern, fillings):
    """Fill the wild cards of a pattern with any text."""
    plain = pattern.replace("**", "*")
    start, end = plain.split("*")[0].split("?")[0], plain.split("*")[-1].split("?")[-1]
    paths = set()
    for filling in fillings:
        rest = iter(filling * 5)
        paths.add("".join(next(rest) if c in "*?" else c for c in plain))
    ids = {path: image_id(path, pattern) for path in paths}
    assert len(set(ids.values())) == len(paths)
    for path, name in ids.items():
        before = path[: len(path) - len(end) - len(name)]
        assert start.startswith(before) and path == before + name + end


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("images/*.png", ["*"]),
        ("a/*/rgb/*.png", ["*", "*"]),
        ("**/*_rgb.jpg", ["**/", "*"]),
        ("a/**", ["**"]),
        ("a/**b.png", ["*"]),
        ("a**/*.png", ["*", "*"]),
        ("x?[0-9]*[!a]", ["?", "[0-9]", "*", "[!a]"]),
        ("[]]x[", ["[]]"]),
        ("plain/name.png", []),
    ],
)
def test_the_wildcards_of_a_pattern_are_found_in_order(pattern, found):
    assert wildcards(pattern) == found


@pytest.mark.parametrize(
    ("image", "images", "labels", "label"),
    [
        ("images/7.png", "images/*.png", "labels/{id}.png", "labels/7.png"),
        ("a/one/rgb/7.png", "a/*/rgb/*.png", "a/*/label/*.png", "a/one/label/7.png"),
        ("x/y/7_rgb.jpg", "**/*_rgb.jpg", "**/*_mask.png", "x/y/7_mask.png"),
        ("7_rgb.jpg", "**/*_rgb.jpg", "**/*_mask.png", "7_mask.png"),
        ("7_rgb.jpg", "**/*_rgb.jpg", "masks/**/*.png", "masks/7.png"),
        ("i/a/b.png", "i/**", "l/**", "l/a/b.png"),
        ("day_1/f_2.png", "day_?/f_[0-9].png", "gt/?/[0-9].png", "gt/1/2.png"),
        # the first of two neighbours takes as much as it can
        ("a_b_c.png", "*_*.png", "*-*.png", "a_b-c.png"),
        ("i/日 本.é.png", "i/*.png", "l/*.bmp", "l/日 本.é.bmp"),
        ("i/a\nb.png", "i/*.png", "l/*.png", "l/a\nb.png"),
        ("i/a+(b).png", "i/*+(b).png", "l/*+(b).png", "l/a+(b).png"),
    ],
)
def test_a_label_has_what_the_wildcards_of_the_image_stand_for(image, images, labels, label):
    assert label_path(image, images, labels) == label


def test_a_path_that_does_not_match_is_an_error():
    with pytest.raises(ValueError, match="a/b/c.png does not match a/"):
        label_path("a/b/c.png", "a/*.png", "l/*.png")


NAME = st.text("ab_1", min_size=1, max_size=3)


@given(
    st.sets(st.lists(NAME, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6),
    st.sampled_from(
        [
            ("**/*.png", "**/*.png"),
            ("*.png", "*.png"),
            ("*/*.png", "*/*.png"),
            ("**/?*.png", "**/?*.png"),
            ("**/[ab]*.png", "**/[ab]*.png"),
            ("**/*a*.png", "**/*a*.png"),
            ("*/**/*.png", "*/**/*.png"),
        ]
    ),
)
def test_every_image_of_a_parallel_tree_finds_the_label_of_its_name(names, pattern):
    """Against real files: the label of i/NAME.png is l/NAME.png, whatever the pattern."""
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            path = Path(root, "i", f"{name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        images, labels = f"i/{pattern[0]}", f"l/{pattern[1]}"
        for image in glob.glob(images, root_dir=root, recursive=True):
            assert label_path(image, images, labels) == "l" + image[1:]
