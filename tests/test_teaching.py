"""What later papers add to retraining: mixing, soft weights, a teacher, consistency, an anchor."""

import numpy as np
import pytest
import torch
from torch import nn

from scalewise.taxonomy import IGNORE
from scalewise.training.losses import (
    consistency,
    focal_term,
    labelled_mean,
    pixel_cross_entropy,
    soft_cross_entropy,
)
from scalewise.training.mixing import class_mask, fit
from scalewise.training.randomness import generator, rare_class_items
from scalewise.training.teacher import Teacher, labels_and_trust, wanted_probabilities


class TestClassMix:
    @pytest.mark.parametrize("count, chosen", [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3)])
    def test_half_of_the_classes_are_taken_whole(self, count, chosen):
        label = np.arange(count, dtype=np.uint8).repeat(6).reshape(count, 6)
        label[0, 0] = IGNORE
        for seed in range(5):
            mask = class_mask(label, generator(seed))
            taken = set(label[mask])
            assert len(taken) == chosen and IGNORE not in taken
            np.testing.assert_array_equal(mask, np.isin(label, list(taken)))

    def test_where_nothing_is_labelled_nothing_is_taken(self):
        assert not class_mask(np.full((3, 4), IGNORE, np.uint8), generator(0)).any()

    def test_every_class_is_taken_as_often_as_the_others(self):
        label = np.array([[0, 1, 2, 3]], np.uint8)
        times = sum(class_mask(label, generator(seed))[0].astype(int) for seed in range(400))
        assert abs(times - 200).max() < 45  # four standard deviations

    def test_a_source_image_of_another_size_is_brought_to_that_of_the_patch(self):
        image = np.zeros((4, 8, 3), np.uint8)
        image[:, 4:] = 200
        label = np.where(image[..., 0] > 0, 1, 0).astype(np.uint8)
        scaled, mapped = fit(image, label, (2, 4))
        assert mapped.tolist() == [[0, 0, 1, 1]] * 2
        assert scaled[:, :, 0].tolist() == [[0, 0, 200, 200]] * 2
        assert fit(image, label, (4, 8))[0] is image


class TestRareClasses:
    COUNTS = np.array([[90, 0, 0], [90, 10, 0], [90, 0, 0], [0, 0, 0]])

    def test_images_of_rare_classes_come_more_often_the_colder_it_is(self):
        def share(temperature):
            drawn = [rare_class_items(0, "x", s, self.COUNTS, temperature, 2) for s in range(300)]
            return np.mean(np.array(drawn) == 1)

        # class 1 has 10 of 280 pixels, class 0 the others: softmax of 0.964 and 0.036
        warm = 1 / (1 + np.exp(-(270 - 10) / 280))
        assert share(0.01) == 1.0
        assert share(1.0) == pytest.approx(warm + (1 - warm) / 3, abs=0.06)

    def test_a_step_is_a_function_of_seed_and_number(self):
        items = rare_class_items(3, "x", 7, self.COUNTS, 0.5, 4)
        assert items == rare_class_items(3, "x", 7, self.COUNTS, 0.5, 4)
        assert rare_class_items(3, "x", 7, self.COUNTS, 0.5, 2) == items[:2]
        drawn = {tuple(rare_class_items(s, "x", k, self.COUNTS, 0.5, 4)) for s, k in
                 [(3, 7), (3, 8), (4, 7), (4, 8)]}  # fmt: skip
        assert len(drawn) > 1 and all(3 not in items for items in drawn)

    def test_without_any_class_it_is_an_error(self):
        with pytest.raises(ValueError, match="no item holds"):
            rare_class_items(0, "x", 0, np.zeros((2, 3), int), 0.1, 2)


class TestTeacher:
    def test_it_follows_by_hand(self):
        student = nn.Linear(1, 1, bias=False)
        nn.init.constant_(student.weight, 1.0)
        teacher = Teacher(student, 0.75)
        for value, expected in [(3, 1.5), (5.5, 2.5), (2.5, 2.5)]:
            nn.init.constant_(student.weight, value)
            teacher.follow(student)
            assert teacher.network.weight.item() == pytest.approx(expected)

    def test_it_takes_statistics_as_they_are_and_is_never_trained(self):
        student = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
        teacher = Teacher(student, 0.9)
        student(torch.randn(4, 2, 3, 3))
        teacher.follow(student)
        assert torch.equal(teacher.network[0].running_mean, student[0].running_mean)
        assert not teacher.network.training
        assert not any(p.requires_grad for p in teacher.network.parameters())

    def test_an_image_weighs_by_its_share_of_sure_pixels(self):
        logits = torch.zeros(2, 2, 1, 4)
        logits[0, 1] = torch.tensor([10.0, 10.0, 0.1, 10.0])
        logits[1, 0] = 10.0
        outside = torch.zeros(2, 1, 4, dtype=torch.bool)
        outside[0, 0, 3] = True
        none = torch.zeros(2, dtype=torch.bool)
        labels, trust = labels_and_trust(logits, outside, 0.9, none)
        assert labels.tolist() == [[[1, 1, 1, IGNORE]], [[0, 0, 0, 0]]]
        assert trust.tolist() == pytest.approx([2 / 3, 1.0])
        assert labels.dtype == torch.uint8
        # a class that the source lacks is no label, however sure the teacher is
        labels, _ = labels_and_trust(logits, outside, 0.9, torch.tensor([True, False]))
        assert labels.tolist() == [[[1, 1, 1, IGNORE]], [[IGNORE] * 4]]


class TestSoftLabels:
    def test_of_sure_probabilities_it_is_the_cross_entropy_of_labels(self):
        torch.manual_seed(0)
        logits = torch.randn(2, 3, 4, 5)
        labels = torch.randint(0, 3, (2, 8, 10)).to(torch.uint8)
        labels[0, :2] = IGNORE
        everywhere, none = torch.ones(2, 8, 10).bool(), torch.zeros(3).bool()
        sure = wanted_probabilities(torch.randn(2, 3, 8, 10), labels, everywhere, none)
        torch.testing.assert_close(
            soft_cross_entropy(logits, sure, labels), pixel_cross_entropy(logits, labels)
        )

    def test_by_hand(self):
        logits = torch.tensor([1.0, 3.0]).log().view(1, 2, 1, 1)
        wanted = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
        losses = soft_cross_entropy(logits, wanted, torch.zeros(1, 1, 1).byte())
        assert float(losses) == pytest.approx(-0.5 * np.log(0.25) - 0.5 * np.log(0.75))
        assert float(soft_cross_entropy(logits, wanted, torch.full((1, 1, 1), IGNORE).byte())) == 0

    def test_pasted_pixels_want_their_label_and_the_others_what_the_teacher_says(self):
        logits = torch.zeros(1, 2, 1, 3)
        logits[0, 1] = 2.0
        labels = torch.tensor([[[0, 1, IGNORE]]]).byte()
        pasted, none = torch.tensor([[[True, False, False]]]), torch.zeros(2).bool()
        wanted = wanted_probabilities(logits, labels, pasted, none)
        sure = 1 / (1 + np.exp(-2))
        assert wanted[0, :, 0].T.tolist() == [
            [1, 0], pytest.approx([1 - sure, sure]), pytest.approx([1 - sure, sure]),
        ]  # fmt: skip
        # a class that the source lacks is wanted nowhere, however likely the teacher thinks it is
        lacking = torch.tensor([False, True])
        wanted = wanted_probabilities(logits, labels, torch.zeros(1, 1, 3).bool(), lacking)
        assert wanted[0, :, 0].T.tolist() == [[1, 0]] * 3


class TestWeights:
    def test_losses_count_by_their_weights_over_all_labelled_pixels(self):
        losses = torch.tensor([[[2.0, 4.0, 0.0]]])
        labels = torch.tensor([[[0, 1, IGNORE]]], dtype=torch.uint8)
        weights = torch.tensor([[[0.5, 0.25, 1.0]]])
        assert labelled_mean(losses, labels, weights=weights).item() == pytest.approx(1.0)
        assert labelled_mean(losses, labels).item() == 3.0
        ones = torch.ones_like(weights)
        assert torch.equal(
            focal_term(losses, labels, 0.1, 3, weights=ones), focal_term(losses, labels, 0.1, 3)
        )
        assert focal_term(losses, labels, 0.1, 3, weights=0 * weights).item() == 0


class TestConsistency:
    def test_it_is_the_cross_entropy_of_the_two_and_teaches_the_larger_alone(self):
        logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1).requires_grad_()
        smaller = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
        outside = torch.tensor([[[False, True]]])
        loss = consistency(logits, smaller, outside)
        p = torch.softmax(smaller.flatten(), 0)
        expected = -(p * torch.log_softmax(logits.flatten(), 0)).sum()
        assert loss.item() == pytest.approx(expected.item())
        loss.backward()
        assert smaller.grad is None and logits.grad.abs().sum() > 0

    def test_all_padding_is_no_loss(self):
        x = torch.zeros(1, 2, 2, 2, requires_grad=True)
        assert consistency(x, x, torch.ones(1, 2, 2, dtype=torch.bool)).item() == 0
