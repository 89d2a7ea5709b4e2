"""What everything rests on, each against a slow and obvious version, edges included.

The modules' own tests have more of these; here are those over the whole range of what can come:
NaN, infinities, ties, one pixel, none, all ignored.
"""

import copy
import math
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as every_array
from PIL import Image

from rerun_rows import nested
from scalewise.compatibility import DIFFERENCES, released
from scalewise.config import merge
from scalewise.config.loading import resolve
from scalewise.config.messages import WHOLE
from scalewise.data.reading import UNDECLARED, decode_label, lookup_table
from scalewise.evaluation import class_iou, confusion_matrix
from scalewise.plan import digest
from scalewise.selftraining.confidence import (
    class_statistics,
    normalised_entropy,
    pixel_confidence,
)
from scalewise.selftraining.selection import counts_to_take, rank_images, select_images
from scalewise.selftraining.thresholds import class_thresholds, count_kept
from scalewise.taxonomy import IGNORE

SOME = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))
# mostly not empty
SHAPES = st.one_of(SOME, SOME, SOME, SOME, st.sampled_from([(0, 2, 2), (1, 0, 3), (1, 1, 1)]))
# few different values, so that ties are frequent
LEVELS = st.sampled_from([0.0, 0.5, 1.0])
ANY = st.one_of(LEVELS, st.sampled_from([math.nan, math.inf, -math.inf]))


def arrays(dtype, shape, elements=None):
    """Hypothesis' own, but each element is drawn: else most of them are equal."""
    return every_array(dtype, shape, elements=elements, fill=st.nothing())


def same(found, expected) -> None:
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


# --- selection ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data(), st.integers(0, 6), st.integers(1, 4), st.integers(0, 3), st.floats(0, 6))
def test_what_is_taken_are_the_best_of_each_class_by_counting_who_is_better(
    data, images, classes, min_pixels, portion
):
    """No sorting here: the place of an image is how many go before it."""
    shape = (images, classes)
    pixels = data.draw(arrays(np.int64, shape, elements=st.integers(0, 4)))
    # where there are too few pixels, the score may be anything at all
    scores = data.draw(arrays(np.float64, shape, elements=ANY))
    finite = data.draw(arrays(np.float64, shape, elements=LEVELS))
    in_source = data.draw(arrays(bool, classes))
    counts = (pixels > 0) & (pixels >= min_pixels) & in_source
    scores = np.where(counts, finite, scores)

    expected: dict[int, list[int]] = {}
    lengths = []
    for c in range(classes):
        able = [i for i in range(images) if counts[i, c]]
        lengths.append(len(able))

        def before(i, c=c, able=able):
            return sum(scores[j, c] > scores[i, c] or (scores[j, c] == scores[i, c] and j < i)
                       for j in able)  # fmt: skip

        taken = {before(i): i for i in able if before(i) < int(len(able) * portion / classes)}
        for place in range(len(taken)):
            expected.setdefault(taken[place], []).append(c)

    rankings = rank_images(pixels, scores, classes_in_source=in_source, min_pixels=min_pixels)
    assert [len(r) for r in rankings] == lengths
    take = counts_to_take(np.array(lengths, int), portion, classes, 0)
    selection = select_images(rankings, take, scores)
    assert selection.images.tolist() == list(expected)
    assert [list(c) for c in selection.classes] == list(expected.values())
    same(selection.score, [scores[i, c[0]] for i, c in expected.items()])


def test_equal_scores_keep_their_order_however_many_there_are():
    """An unstable sort keeps the order of a few."""
    scores = np.tile([0.5, 0.25, 0.5], 100)[:, None]
    (ranking,) = rank_images(
        np.ones((300, 1), int), scores, classes_in_source=np.array([True]), min_pixels=1
    )
    equal = scores[:, 0] == 0.5
    assert ranking.tolist() == [*np.flatnonzero(equal), *np.flatnonzero(~equal)]


# --- thresholds -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.data(),
    st.integers(0, 6),
    st.integers(1, 4),
    st.sampled_from(["at_rank", "pooled", "none"]),
    st.integers(0, 7),
    st.booleans(),
    st.booleans(),
)
def test_every_estimator_equals_a_walk_along_the_ranking_with_nan_and_infinity(
    data, images, classes, estimator, pool, has_previous, finite
):
    entropy = data.draw(arrays(np.float64, (images, classes), elements=ANY))
    previous = data.draw(arrays(np.float64, classes, elements=ANY)) if has_previous else None
    rankings = [
        np.array(data.draw(st.permutations(range(images))), int)[
            : data.draw(st.integers(0, images))
        ]
        for _ in range(classes)
    ]
    take = np.array([data.draw(st.integers(0, len(r))) for r in rankings])

    tau, deciding = [], []
    for c, ranking in enumerate(rankings):
        if estimator == "none":
            tau.append(math.inf)
            deciding.append(-1)
        elif not len(ranking):
            tau.append(1.0 if previous is None else previous[c])
            deciding.append(-1)
        else:
            rank = take[c] if take[c] < len(ranking) else len(ranking) - 1
            reach = pool if estimator == "pooled" else 0
            near = [entropy[i, c] for k, i in enumerate(ranking) if abs(k - rank) <= reach]
            with np.errstate(invalid="ignore"):
                tau.append(sum(near) / len(near))
            deciding.append(ranking[rank])

    arguments = {"estimator": estimator, "pool": pool, "finite": finite}
    broken = [c for c, value in enumerate(tau) if not math.isfinite(value)]
    with np.errstate(invalid="ignore"):
        if finite and estimator != "none" and broken:
            with pytest.raises(ValueError, match="not finite") as told:
                class_thresholds(rankings, take, entropy, previous, **arguments)
            assert str(broken) in str(told.value)
            return
        found, images_found = class_thresholds(rankings, take, entropy, previous, **arguments)
    np.testing.assert_allclose(found, tau, rtol=1e-12)
    assert images_found.tolist() == deciding


@settings(deadline=None)
@given(st.data(), SHAPES, st.integers(1, 4), st.booleans())
def test_what_a_threshold_keeps_is_counted_pixel_by_pixel(data, shape, classes, nan_is_reliable):
    kinds = st.integers(0, classes - 1) | st.just(IGNORE)
    predicted = data.draw(arrays(np.uint8, shape, elements=kinds))
    entropy = data.draw(arrays(np.float16, shape, elements=ANY))
    tau = data.draw(arrays(np.float64, classes, elements=ANY))
    seen, kept = [0] * classes, [0] * classes
    for c, value in zip(predicted.ravel().tolist(), entropy.ravel().tolist(), strict=True):
        if c == IGNORE:
            continue
        seen[c] += 1
        unsure = value >= tau[c] or value == math.inf
        kept[c] += (not unsure) if nan_is_reliable else value < tau[c]
    found = count_kept(predicted, entropy, tau, nan_is_reliable=nan_is_reliable)
    assert [f.tolist() for f in found] == [seen, kept]


# --- entropy --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data(), SHAPES, st.integers(1, 5))
def test_confidence_of_a_pixel_is_what_the_formula_says_in_plain_python(data, shape, classes):
    images, height, width = shape
    weights = data.draw(
        arrays(np.float32, (images, classes, height, width), elements=st.integers(0, 3))
    )
    weights[:, 0] += weights.sum(1) == 0  # a distribution has some mass
    values = weights / weights.sum(1, keepdims=True)
    found = pixel_confidence(torch.from_numpy(values))
    for n in range(images):
        for y in range(height):
            for x in range(width):
                p = [float(v) for v in values[n, :, y, x]]
                entropy = -sum(v * math.log(v + 1e-12) for v in p)
                assert found.entropy[n, y, x].item() == pytest.approx(entropy, abs=1e-5)
                assert found.maximum[n, y, x].item() == max(p)
                assert found.prediction[n, y, x].item() == p.index(max(p))  # the first of equals
    assert found.entropy.shape == shape


@settings(deadline=None)
@given(st.data(), SHAPES, st.integers(1, 3), st.sampled_from(["zero", "nan"]))
def test_normalised_entropy_and_its_means_equal_plain_loops_with_one_pixel_and_nan(
    data, shape, classes, constant_entropy
):
    prediction = data.draw(arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))
    entropy = data.draw(
        arrays(np.float32, shape, elements=LEVELS | st.just(math.nan))  # of a broken network
    )
    constant = 0.0 if constant_entropy == "zero" else math.nan
    expected = np.zeros(shape, np.float32)
    counts = np.zeros((shape[0], classes), np.int64)
    means = np.full((shape[0], classes), math.nan)
    for n in range(shape[0]):
        for c in range(classes):
            places = [p for p in np.ndindex(shape[1:]) if prediction[n][p] == c]
            values = [float(entropy[n][p]) for p in places]
            counts[n, c] = len(places)
            for place, value in zip(places, values, strict=True):
                if any(math.isnan(v) for v in values):
                    scaled = math.nan  # one that is not known makes none of them sure
                elif min(values) == max(values):
                    scaled = constant
                else:
                    scaled = (value - min(values)) / (max(values) - min(values))
                expected[n][place] = scaled
            if places:
                means[n, c] = sum(float(expected[n][p]) for p in places) / len(places)
    found = normalised_entropy(
        torch.from_numpy(entropy),
        torch.from_numpy(prediction),
        classes,
        constant_entropy=constant_entropy,
    )
    same(found, expected)
    pixels, _, mean, _ = class_statistics(
        torch.from_numpy(prediction), found, found, torch.from_numpy(entropy), classes
    )
    same(pixels, counts)
    np.testing.assert_allclose(mean, means, rtol=1e-12)


# --- confusion matrix -----------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data(), st.integers(1, 5), st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_the_confusion_matrix_and_iou_are_counted_pixel_by_pixel_though_all_is_ignored(
    data, classes, shape
):
    some = data.draw(st.booleans())
    labels = st.one_of(st.integers(0, classes - 1), st.just(255)) if some else st.just(255)
    label = data.draw(arrays(np.uint8, shape, elements=labels))
    prediction = data.draw(arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))
    pairs = list(zip(label.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    matrix = confusion_matrix(label, prediction, classes)
    assert matrix.shape == (classes, classes) and matrix.dtype == np.int64
    for row in range(classes):
        for column in range(classes):
            assert matrix[row, column] == pairs.count((row, column))
    iou, intersection, union, pixels = class_iou(matrix)
    for c in range(classes):
        mine = [(a, b) for a, b in pairs if a != 255 and c in (a, b)]
        both = mine.count((c, c))
        assert (intersection[c], union[c]) == (both, len(mine))
        assert pixels[c] == sum(a == c for a, _ in mine)
        assert math.isnan(iou[c]) if not mine else iou[c] == pytest.approx(100 * both / len(mine))


# --- look-up tables -------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4))),
    st.dictionaries(st.integers(0, 255), st.integers(0, 253) | st.just(IGNORE), max_size=40),
    st.booleans(),
)
@example(np.array([[255]], np.uint8), {}, True)
@example(np.array([[255, 0]], np.uint8), {255: 0, 0: 255}, False)
def test_a_label_file_becomes_classes_pixel_by_pixel(ids, label_ids, palette):
    image = Image.fromarray(ids)
    if palette:
        image = Image.frombytes("P", image.size, ids.tobytes())
        image.putpalette([255 - k % 256 for k in range(768)])
    file = BytesIO()
    image.save(file, format="PNG")
    read, _ = decode_label(file.getvalue())
    found = lookup_table({str(k): v for k, v in label_ids.items()})[read]
    assert found.dtype == np.uint8
    expected = [[label_ids.get(int(i), UNDECLARED) for i in row] for row in ids]
    assert found.tolist() == expected


# --- keys -----------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from([0.0, -0.0, 1.0, 1e300, math.inf])
    | st.text(max_size=3)
    | st.sampled_from(["", "1", "null", "true", "é", "e\u0301", "\ud800", '"', "[]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from("ab"), inner, max_size=3)
    ),
    max_leaves=8,
)


def equal(one, other) -> bool:
    """Whether two plain values are the same, types and all, but for the order of keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            any(k == q and equal(v, w) for q, w in other.items()) for k, v in one.items()
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, float):
        return one.hex() == other.hex()
    return one == other


def shuffled(content, data):
    """The same content with its keys in another order."""
    if isinstance(content, dict):
        order = data.draw(st.permutations(list(content)))
        return {k: shuffled(content[k], data) for k in order}
    return [shuffled(v, data) for v in content] if isinstance(content, list) else content


@settings(deadline=None)
@given(PLAIN, PLAIN)
@example({"a": 1}, {"a": 1.0})
@example({"a": True}, {"a": 1})
@example(0.0, -0.0)
@example("é", "e\u0301")
@example([[], []], [[[]]])
@example({"a": None}, {})
@example("1", 1)
def test_two_contents_have_one_key_exactly_where_they_are_the_same(one, other):
    assert (digest(one) == digest(other)) == equal(one, other)


@settings(deadline=None)
@given(PLAIN, st.data())
def test_a_key_does_not_change_with_the_order_or_by_being_written_and_read(content, data):
    key = digest(content)
    assert len(key) == 16 and set(key) <= set("0123456789abcdef")
    assert digest(shuffled(content, data)) == key
    assert digest(copy.deepcopy(content)) == key


# --- merging --------------------------------------------------------------------------------------

NAMES = ["a", "b", "network", "source", "format", "name", "id_to_class", "map", "subsets"]
LEAVES = st.integers(0, 2) | st.lists(st.integers(0, 2), max_size=2) | st.none()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)
SECTIONS = st.dictionaries(st.sampled_from(NAMES), TREES, max_size=4)


def merged_slowly(base, over):
    """Path by path over a copy: a section is gone into where both have it and it goes on with the
    same keys; all else takes the place of what was there."""
    result = copy.deepcopy(base)
    waiting = [(key,) for key in over]
    while waiting:
        path = waiting.pop(0)
        *parents, key = path
        there, said = result, over
        for parent in parents:
            there, said = there[parent], said[parent]
        new, old = said[key], there.get(key)
        goes_on = isinstance(new, Mapping) and isinstance(old, Mapping)
        if key in ("id_to_class", "map", "subsets"):
            goes_on = False
        if goes_on:
            kind = "name" if key == "network" else "format"
            if kind in new and (kind not in old or new[kind] != old[kind]):
                goes_on = new[kind] is None and kind not in old  # None says as much as nothing
        if goes_on:
            waiting += [(*path, inner) for inner in new]
        else:
            there[key] = copy.deepcopy(new)
    return result


@settings(deadline=None, max_examples=150)
@given(SECTIONS, SECTIONS)
@example({"source": {"format": 0, "a": 1}}, {"source": {"format": 1}})
@example({"source": {"format": 0, "a": 1}}, {"source": {"format": 0}})
@example({"network": {"name": 0, "a": 1}}, {"network": {"format": 1}})
@example({"a": {"map": {"a": 0}}}, {"a": {"map": {"b": 1}}})
@example({"a": {"b": 0}}, {"a": None})
def test_merging_equals_going_from_path_to_path(base, over):
    before = copy.deepcopy([base, over])
    found = merge(base, over)
    assert found == merged_slowly(base, over)
    assert [base, over] == before
    for name in found:  # a change to the result changes no layer
        if isinstance(found[name], dict) and name in over and name in base:
            found[name]["changed"] = True
    assert [base, over] == before


def test_the_sections_that_are_replaced_whole_are_the_ones_known_here():
    assert set(WHOLE) == {"id_to_class", "map", "style", "subsets"}


SWITCHES = [
    d.setting for d in DIFFERENCES if d.network is None and not d.setting.startswith("network")
]


def at(content, dotted):
    for part in dotted.split("."):
        content = content[part]
    return content


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(SWITCHES), st.integers(100, 109), max_size=4),
            st.sampled_from([None, "none", "authors_code"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_each_switch_has_the_value_of_the_last_that_says_something_of_it(layers):
    """Compatibility says something of every switch, in its layer, before the layer's own keys."""
    given_layers, expected = [], {}
    words = [word for _, word in layers]
    last = max((i for i, word in enumerate(words) if word), default=-1)
    authors = released("compact")
    for i, (values, word) in enumerate(layers):
        content = nested(values)
        if i == 0:
            content["network"] = {"name": "compact"}
        if word:
            content["compatibility"] = word
        if i == last and word == "authors_code":
            expected.update({s: at(authors, s) for s in SWITCHES})
        expected.update(values)
        given_layers.append((f"layer {i}", content))
    found = resolve(given_layers)
    for switch in SWITCHES:
        if switch in expected:
            assert at(found, switch) == expected[switch]
        else:
            with pytest.raises(KeyError):
                at(found, switch)
