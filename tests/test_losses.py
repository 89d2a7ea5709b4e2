"""Loss functions on logits small enough to be worked out by hand."""

import math

import pytest
import torch

from scalewise.training.losses import (
    cross_entropy,
    focal_term,
    labelled_mean,
    pixel_cross_entropy,
)

LN3 = math.log(3)


def patch_loss(logits, labels, beta, gamma, over="pixels", empty="zero"):
    """Both terms of a patch, as retraining takes them from the losses per pixel."""
    losses = pixel_cross_entropy(logits, labels)
    plain = labelled_mean(losses, labels, empty)
    return plain, focal_term(losses, labels, beta, gamma, over, empty)


def one_pixel_per_class(*rows: tuple[float, float]) -> torch.Tensor:
    """Logits (1, 2, 1, W) of W pixels."""
    return torch.tensor(rows).T[None, :, None, :].contiguous()


# softmax of (ln 3, 0) is (3/4, 1/4)
LOGITS = one_pixel_per_class((LN3, 0.0), (0.0, 0.0))
LABELS = torch.tensor([[[0, 1]]], dtype=torch.uint8)
CE = (math.log(4 / 3), math.log(2))


def test_cross_entropy_is_the_mean_over_pixels():
    assert cross_entropy(LOGITS, LABELS).item() == pytest.approx(sum(CE) / 2)
    wrong = torch.tensor([[[1, 1]]], dtype=torch.uint8)
    assert cross_entropy(LOGITS, wrong).item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_ignored_pixels_do_not_count():
    labels = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    assert cross_entropy(LOGITS, labels).item() == pytest.approx(CE[0])
    losses = pixel_cross_entropy(LOGITS, labels)
    assert losses[0, 0].tolist() == pytest.approx([CE[0], 0])
    assert labelled_mean(losses, labels).item() == pytest.approx(CE[0])
    other = LOGITS.clone()
    other[..., 1] = 50.0
    assert torch.equal(cross_entropy(other, labels), cross_entropy(LOGITS, labels))


def test_the_mean_is_over_the_pixels_of_the_whole_batch():
    labels = torch.tensor([[[0, 1]], [[0, 255]]], dtype=torch.uint8)
    loss = cross_entropy(LOGITS.repeat(2, 1, 1, 1), labels)
    assert loss.item() == pytest.approx((CE[0] + CE[1] + CE[0]) / 3)


@pytest.mark.parametrize("over", ["pixels", "mean"])
def test_a_patch_without_a_reliable_pixel_gives_exactly_zero_and_no_gradient(over):
    logits = LOGITS.clone().requires_grad_()
    plain, focal = patch_loss(logits, torch.full((1, 1, 2), 255, dtype=torch.uint8), 0.1, 3, over)
    assert plain.item() == 0 and focal.item() == 0
    (plain + focal).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("beta, gamma", [(0.1, 3), (1.0, 0.5), (0.5, 0), (2.0, 1)])
def test_the_focal_term_is_the_mean_over_pixels_of_the_formula(beta, gamma):
    plain, focal = patch_loss(LOGITS, LABELS, beta, gamma)
    assert plain.item() == pytest.approx(sum(CE) / 2)
    by_hand = beta * sum(c * (1 - math.exp(-c)) ** gamma for c in CE) / 2
    assert focal.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("over", ["pixels", "mean"])
def test_an_empty_patch_is_nan_where_asked_and_leaves_the_sources_gradient_alone(over):
    source, patch = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    alone = cross_entropy(source, LABELS)
    (expected,) = torch.autograd.grad(alone, source)
    # one pass for both, as in training
    logits = torch.cat([source, patch])
    labels = torch.cat([LABELS, torch.full_like(LABELS, 255)])
    losses = pixel_cross_entropy(logits, labels)
    plain = labelled_mean(losses[1:], labels[1:], "nan")
    focal = focal_term(losses[1:], labels[1:], 0.1, 3, over, "nan")
    total = labelled_mean(losses[:1], labels[:1]) + plain + focal
    assert plain.isnan() and focal.isnan() and total.isnan()
    total.backward()
    assert torch.equal(source.grad, expected)
    assert torch.equal(patch.grad, torch.zeros_like(patch))


def test_a_plain_mean_over_nothing_is_nan_and_has_no_gradient_in_torch_either():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.full((4,), 255), ignore_index=255)
    (loss + 0.1 * loss * (1 - torch.exp(-loss)) ** 3).backward()
    assert loss.isnan()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_patch_with_a_reliable_pixel_is_the_same_under_both_rules():
    labels = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    for over in ("pixels", "mean"):
        zero = patch_loss(LOGITS, labels, 0.1, 3, over, "zero")
        assert patch_loss(LOGITS, labels, 0.1, 3, over, "nan") == zero


@pytest.mark.parametrize("beta, gamma", [(0.1, 3), (1.0, 0.5), (0.5, 0), (2.0, 1)])
def test_over_the_mean_the_focal_term_is_one_number_of_the_batch(beta, gamma):
    labels = torch.tensor([[[0, 1]], [[0, 255]]], dtype=torch.uint8)
    mean = (CE[0] + CE[1] + CE[0]) / 3
    focal = patch_loss(LOGITS.repeat(2, 1, 1, 1), labels, beta, gamma, "mean")[1]
    assert focal.item() == pytest.approx(beta * mean * (1 - math.exp(-mean)) ** gamma, rel=1e-5)
    per_pixel = patch_loss(LOGITS.repeat(2, 1, 1, 1), labels, beta, gamma)[1]
    assert (focal.item() == pytest.approx(per_pixel.item(), rel=1e-3)) == (gamma == 0)


def test_the_focal_term_of_one_pixel_in_numbers():
    # p = 3/4: 0.1 * ln(4/3) * (1/4) ** 3
    labels = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    focal = patch_loss(LOGITS, labels, 0.1, 3)[1]
    assert focal.item() == pytest.approx(0.1 * 0.2876820724 / 64, rel=1e-5)


def test_without_beta_there_is_no_focal_term():
    plain, focal = patch_loss(LOGITS, LABELS, 0, 3)
    assert focal.item() == 0 and plain.item() > 0


@pytest.mark.parametrize("over", ["pixels", "mean"])
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 3])
@pytest.mark.parametrize("margin", [0.0, 1e-4, 16.0, 40.0, 1000.0, -1000.0])
def test_gradients_are_finite_however_sure_the_network_is(gamma, margin, over):
    logits = one_pixel_per_class((margin, 0.0), (LN3, 0.0)).requires_grad_()
    labels = torch.tensor([[[0, 0]]], dtype=torch.uint8)
    plain, focal = patch_loss(logits, labels, 0.1, gamma, over)
    (plain + focal).backward()
    assert torch.isfinite(plain) and torch.isfinite(focal)
    assert torch.isfinite(logits.grad).all()


def test_the_gradient_of_the_focal_term_is_that_of_its_formula():
    logits = LOGITS.double().requires_grad_()

    def focal(x):
        p = x.softmax(1)[0, [0, 1], 0, [0, 1]]
        return 0.1 * (-p.log() * (1 - p) ** 3).mean()

    (expected,) = torch.autograd.grad(focal(logits), logits)
    measured = LOGITS.clone().requires_grad_()
    patch_loss(measured, LABELS, 0.1, 3)[1].backward()
    assert torch.allclose(measured.grad.double(), expected, rtol=1e-4, atol=1e-8)


def test_logits_are_scaled_to_the_labels_and_the_loss_is_float32():
    constant = torch.zeros(1, 2, 2, 3)
    constant[:, 0] = LN3
    labels = torch.zeros(1, 7, 9, dtype=torch.uint8)
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        loss = cross_entropy(constant.to(kind), labels)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(CE[0], abs=3e-3)
    assert pixel_cross_entropy(constant, labels).shape == labels.shape


def test_logits_between_two_pixels_are_mixed_bilinearly():
    # widths 2 -> 4, pixel centres at 1/8 .. 7/8: weights of the second are 0, 1/4, 3/4, 1
    logits = one_pixel_per_class((0.0, 0.0), (4.0, 0.0))
    losses = pixel_cross_entropy(logits, torch.zeros(1, 1, 4, dtype=torch.uint8))
    expected = [math.log(1 + math.exp(-x)) for x in (0, 1, 3, 4)]
    assert losses[0, 0].tolist() == pytest.approx(expected, rel=1e-5)
