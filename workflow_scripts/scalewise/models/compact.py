"""A compact residual network for small images: dilated, with ASPP and a skip at 1/4."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from scalewise.models.network import Network


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1):
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride,
            padding=dilation * (kernel // 2), dilation=dilation, bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.first = _convolution(channels, channels, dilation=dilation)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)), inplace=True)


class _Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: the same map at several dilations and as a whole."""

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, ...]):
        super().__init__()
        branch = inputs // 2
        self.point = _convolution(inputs, branch, kernel=1)
        self.dilated = nn.ModuleList(_convolution(inputs, branch, dilation=d) for d in dilations)
        # no batch-norm here: a mean over one pixel has no spread in a batch of one
        self.whole = nn.Sequential(nn.Conv2d(inputs, branch, 1), nn.ReLU(inplace=True))
        self.project = _convolution(branch * (len(dilations) + 2), outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([self.point(x), *(b(x) for b in self.dilated), whole], 1))


class Compact(Network):
    """0.36 M parameters at width 32 and 19 classes; logits at 1/4 of the input.

    Args:
        classes: number of classes.
        width: channels of the first layers; the deep layers have twice as many.
        dropout: share of the channels dropped before the classifier while training.
    """

    def __init__(self, classes: int, width: int = 32, dropout: float = 0.1):
        super().__init__()
        deep = 2 * width
        self.stem = nn.Sequential(
            _convolution(3, width, stride=2), _convolution(width, width, stride=2), _Residual(width)
        )
        self.body = nn.Sequential(
            _convolution(width, deep, stride=2),
            _Residual(deep),
            _Residual(deep, dilation=2),
            _Residual(deep, dilation=4),
        )
        fine = width + width // 2
        self.pyramid = _Pyramid(deep, fine, dilations=(2, 4, 8))
        self.skip = _convolution(width, width // 2, kernel=1)
        self.merge = _convolution(fine + width // 2, fine)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(fine, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.stem(images)
        coarse = self.pyramid(self.body(fine))
        coarse = functional.interpolate(
            coarse, fine.shape[2:], mode="bilinear", align_corners=False
        )
        merged = self.merge(torch.cat([coarse, self.skip(fine)], 1))
        return self.classifier(self.dropout(merged))

    def shallow(self) -> list[nn.Module]:
        return [self.stem]

    def classifier_parameters(self) -> list[nn.Parameter]:
        return list(self.classifier.parameters())
