"""Confusion matrix, IoU, and the measured claim, by hand and against loops."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import evaluate
from scalewise.evaluation import class_iou, confusion_matrix
from scalewise.selftraining.claim import ClaimCounter
from scalewise.selftraining.confidence import Confidence

LABEL = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)


class TestConfusion:
    def test_rows_are_labels_and_columns_are_predictions(self):
        matrix = confusion_matrix(LABEL, PREDICTION, 4)
        assert matrix.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
        assert matrix.dtype == np.int64

    def test_ignored_pixels_do_not_count(self):
        assert (
            confusion_matrix(np.full((4, 5), 255, np.uint8), np.zeros((4, 5), np.uint8), 3).sum()
            == 0
        )

    def test_more_pixels_than_a_byte_holds_are_counted(self):
        label = np.full((300, 300), 18, np.uint8)
        assert confusion_matrix(label, label, 19)[18, 18] == 90_000

    @settings(max_examples=60, deadline=None)
    @given(st.data(), st.integers(1, 6))
    def test_it_is_what_a_plain_loop_counts(self, data, classes):
        shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
        labels = st.one_of(st.integers(0, classes - 1), st.just(255))
        label = data.draw(arrays(np.uint8, shape, elements=labels))
        prediction = data.draw(arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))
        expected = [[0] * classes for _ in range(classes)]
        for y in range(shape[0]):
            for x in range(shape[1]):
                if label[y, x] != 255:
                    expected[label[y, x]][prediction[y, x]] += 1
        matrix = confusion_matrix(label, prediction, classes)
        assert matrix.tolist() == expected
        for c, value in enumerate(class_iou(matrix)[0]):
            both = ((label == c) & (prediction == c)).sum()
            either = (((label == c) | (prediction == c)) & (label != 255)).sum()
            assert np.isnan(value) if either == 0 else value == pytest.approx(100 * both / either)

    def test_matrices_of_images_add_up_to_that_of_the_set(self):
        draws = np.random.default_rng(0)
        label, prediction = draws.integers(0, 5, (2, 4, 8, 8), np.uint8)
        parts = sum(confusion_matrix(a, b, 5) for a, b in zip(label, prediction, strict=True))
        assert np.array_equal(parts, confusion_matrix(label, prediction, 5))


def test_the_entropy_of_a_picture_is_normalised_within_each_predicted_class():
    # (more probable class, its lead in logits): the surest pixel of a class is 0, the least sure 1
    leads = np.array([[-4.0, -1.0, -2.0], [3.0, 0.5, 3.0]])
    output = torch.tensor(np.stack([np.zeros_like(leads), leads])[None])
    network = SimpleNamespace(align_corners=False)
    model = SimpleNamespace(size=(2, 3), network=network, classes=["road", "car"])

    def entropy(lead):
        p = 1 / (1 + np.exp(-abs(lead)))
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    low, middle, high = entropy(4), entropy(2), entropy(1)
    found = evaluate.entropy_of(output, model)
    assert found.dtype == np.float16 and found.shape == (2, 3)
    expected = [[0, 1, (middle - low) / (high - low)], [0, 1, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-3)


class TestIou:
    def test_by_hand(self):
        iou, intersection, union, pixels = class_iou(confusion_matrix(LABEL, PREDICTION, 4))
        assert iou[:3] == pytest.approx([100 / 3, 200 / 3, 0])
        assert intersection.tolist() == [1, 2, 0, 0]
        assert union.tolist() == [3, 3, 1, 0]
        assert pixels.tolist() == [2, 2, 1, 0]

    def test_a_class_in_neither_labels_nor_predictions_has_none(self):
        iou = class_iou(np.array([[5, 0], [0, 0]]))[0]
        assert iou[0] == 100 and np.isnan(iou[1])

    def test_a_class_that_is_only_predicted_or_only_labelled_has_zero(self):
        iou = class_iou(np.array([[5, 1, 0], [0, 0, 0], [2, 0, 0]]))[0]
        assert iou == pytest.approx([62.5, 0, 0])


class TestClaim:
    def counter(self) -> ClaimCounter:
        counter = ClaimCounter(3)
        predicted = torch.tensor([[[0, 0], [1, 0]]], dtype=torch.uint8)
        entropy = torch.tensor([[[0.1, 0.2], [0.5, 0.3]]])
        labels = torch.tensor([[[0, 0, 1], [1, 0, 0]]], dtype=torch.uint8)
        again = Confidence(
            torch.zeros(1, 3, 2, 3),
            torch.zeros(1, 2, 3),
            torch.tensor([[[0, 2, 1], [0, 0, 0]]], dtype=torch.uint8),
            torch.tensor([[[0.4, 0.8, 0.6], [1.0, 0.2, 0.6]]]),
        )
        counter.add(predicted, entropy, labels, again)
        self.added = predicted, entropy, labels, again
        return counter

    def test_one_image_by_hand(self):
        columns = self.counter().columns()
        assert columns["pixels"].tolist() == [3, 1, 0]
        assert columns["entropy"][:2] == pytest.approx([0.2, 0.5])
        assert columns["scaled_pixels"].tolist() == [4, 2, 0]
        assert columns["scaled_entropy"][:2] == pytest.approx([0.5, 0.8])
        assert columns["agreement"][:2] == pytest.approx([0.75, 0.5])
        for name in ("entropy", "scaled_entropy", "agreement"):
            assert np.isnan(columns[name][2])

    def test_images_add_up(self):
        counter = self.counter()
        before = counter.columns()
        counter.add(*self.added)
        after = counter.columns()
        assert np.array_equal(after["pixels"], 2 * before["pixels"])
        assert after["entropy"][:2] == pytest.approx(before["entropy"][:2])

    def test_nothing_added_is_nothing_known(self):
        columns = ClaimCounter(2).columns()
        assert columns["pixels"].tolist() == [0, 0] and np.isnan(columns["agreement"]).all()
