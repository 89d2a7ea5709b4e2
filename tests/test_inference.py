"""The mean over views of an image, against a walk over them and by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scalewise.inference import full_logits, predict
from scalewise.models import store
from scalewise.models.network import Network
from scalewise.models.store import LoadedModel

CPU = torch.device("cpu")
RAW = {"preprocessing": {"order": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1]}}
COMPACT = {"name": "compact", "width": 8, "dropout": 0.1, **RAW}


class Left(Network):
    """Two classes; the first is the surer the brighter, and on the left edge by 2 more."""

    def forward(self, images):
        first = images[:, :1].clone()
        first[..., 0] += 2
        return torch.cat([first, torch.zeros_like(first)], dim=1)


class Larger(Network):
    """Calls all of an image class 1 where it is wider than 4 pixels, else class 0."""

    def forward(self, images):
        logits = torch.zeros(len(images), 2, *images.shape[2:])
        logits[:, int(images.shape[3] > 4)] = 1
        return logits


def loaded(network: nn.Module, size=(2, 4)) -> LoadedModel:
    return LoadedModel(network.eval(), RAW, ["a", "b"], size)


def dark(count=1, size=(2, 4)):
    return torch.zeros(count, *size, 3, dtype=torch.uint8)


@pytest.fixture(scope="module")
def compact():
    torch.manual_seed(0)
    network = store.build(COMPACT, 3)
    network(torch.randn(4, 3, 32, 32) * 50)
    with torch.no_grad():
        logits = network.eval()(torch.rand(4, 3, 24, 32) * 255)
        network.classifier.bias -= logits.mean((0, 2, 3))  # so that each class is predicted
    return LoadedModel(network, COMPACT, ["a", "b", "c"], (24, 32))


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (5, 24, 32, 3), generator=generator).to(torch.uint8)


def test_one_view_is_the_softmax_of_the_logits_to_the_bit(compact, images):
    mean, agree = predict(compact, images, CPU, scales=[1.0], flip=False)
    assert torch.equal(mean, full_logits(compact, images, CPU).softmax(dim=1)) and agree is None
    _, agree = predict(compact, images, CPU, agreement=True)
    assert agree.all()


def test_a_mirror_image_is_turned_back_before_the_mean():
    mean, agree = predict(loaded(Left()), dark(), CPU, flip=True, agreement=True)
    sure = torch.tensor([2.0, 0.0]).softmax(0)[0].item()
    edge = (sure + 0.5) / 2
    assert mean[0, 0, 0].tolist() == pytest.approx([edge, 0.5, 0.5, edge])
    assert agree.all()  # a tie is class 0


def test_views_of_other_sizes_come_back_to_the_working_size_and_may_disagree():
    mean, agree = predict(loaded(Larger()), dark(3), CPU, scales=[1, 0.5, 2], agreement=True)
    sure = torch.tensor([1.0, 0.0]).softmax(0)
    expected = (2 * sure + sure.flip(0)) / 3  # of three views one is wider than 4
    assert mean.shape == (3, 2, 2, 4) and not agree.any()
    assert torch.allclose(mean, expected[None, :, None, None].expand_as(mean))
    _, agree = predict(loaded(Larger()), dark(3), CPU, scales=[1, 0.5], agreement=True)
    assert agree.all()


def test_sides_are_rounded_and_the_smallest_is_one_pixel():
    sizes = []

    class Noting(Larger):
        def forward(self, images):
            sizes.append(tuple(images.shape))
            return super().forward(images)

    predict(loaded(Noting(), (3, 10)), dark(8, (3, 10)), CPU, scales=[0.1, 0.75, 1.5, 1.01])
    assert sizes[:2] == [(8, 3, 1, 1), (8, 3, 2, 8)]
    assert sizes[2:5] == [(3, 3, 4, 15), (3, 3, 4, 15), (2, 3, 4, 15)]  # 8 / 1.5 ** 2 at once
    assert sizes[5:] == [(8, 3, 3, 10)]  # as large as the image: it is the image


def test_the_mean_over_views_equals_a_walk_over_them(compact, images):
    scales = [0.75, 1, 1.5]
    expected, classes = [], []
    pixels = images.permute(0, 3, 1, 2).float()
    with torch.no_grad():
        for scale in scales:
            for turn in (False, True):
                size = [round(24 * scale), round(32 * scale)]
                view = F.interpolate(pixels, size, mode="bilinear", align_corners=False)
                logits = compact.network(view.flip(3) if turn else view)
                logits = F.interpolate(logits, (24, 32), mode="bilinear", align_corners=False)
                logits = logits.flip(3) if turn else logits
                expected.append(logits.softmax(1))
                classes.append(logits.argmax(1))
    mean, agree = predict(compact, images, CPU, scales=scales, flip=True, agreement=True)
    assert torch.allclose(mean, torch.stack(expected).mean(0), atol=1e-5)
    same = (torch.stack(classes) == classes[0]).all(0)
    assert (agree == same).float().mean() > 0.99 and 0 < agree.float().mean() < 1


def test_no_scale_is_refused(compact, images):
    with pytest.raises(ValueError, match="no scale"):
        predict(compact, images, CPU, scales=[])
