"""FCN-8s on VGG-16 (Long et al., CVPR 2015), with the released program's tensor names."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from scalewise.models.network import Network

# convolutions of each block, and their channels in units of the width
BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def _bilinear(classes: int, stride: int) -> nn.ConvTranspose2d:
    """A deconvolution that scales each class up by `stride`, bilinearly; it is not trained."""
    size = 2 * stride
    ramp = 1 - (torch.arange(size) - (size - 1) / 2).abs() / stride
    layer = nn.ConvTranspose2d(classes, classes, size, stride, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(classes)[:, :, None, None] * torch.outer(ramp, ramp))
    return layer.requires_grad_(False)


def _crop(x: Tensor, offset: int, size: torch.Size) -> Tensor:
    """The window of the given size that begins `offset` below and right of the corner."""
    return x[:, :, offset : offset + size[-2], offset : offset + size[-1]]


class FCN8s(Network):
    """134 M parameters at width 64 and 19 classes; logits at the size of the input, any size.

    The margin of 100 pixels lets fc6, which is 7 cells of 32 pixels wide, see small images too.

    Args:
        classes: number of classes.
        width: channels of the first layers; 64 is VGG-16.
        hidden: channels of fc6 and fc7; 4096 is VGG-16.
        dropout: share of the channels of fc6 and fc7 dropped while training.
    """

    def __init__(self, classes: int, width: int = 64, hidden: int = 4096, dropout: float = 0.5):
        super().__init__()
        channels = 3
        for block, (layers, factor) in enumerate(BLOCKS, 1):
            for layer in range(1, layers + 1):
                padding = 100 if (block, layer) == (1, 1) else 1
                convolution = nn.Conv2d(channels, factor * width, 3, padding=padding)
                self.add_module(f"conv{block}_{layer}", convolution)
                channels = factor * width
        self.fc6 = nn.Conv2d(channels, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout2d(dropout)
        for name, module in self.named_children():
            if name.startswith(("conv", "fc")):  # for use without pre-trained weights
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

        self.score_fr = nn.Conv2d(hidden, classes, 1)
        self.score_pool3 = nn.Conv2d(4 * width, classes, 1)
        self.score_pool4 = nn.Conv2d(8 * width, classes, 1)
        for parameter in self.classifier_parameters():
            # as in FCN: from 0 all classes begin even, and neither skip disturbs the other scores
            # before it has learnt; trained layers behind get their gradient from step 2 on
            nn.init.zeros_(parameter)
        self.upscore2 = _bilinear(classes, 2)
        self.upscore_pool4 = _bilinear(classes, 2)
        self.upscore8 = _bilinear(classes, 8)

    def _block(self, x: Tensor, block: int) -> Tensor:
        for layer in range(1, BLOCKS[block - 1][0] + 1):
            x = functional.relu(self.get_submodule(f"conv{block}_{layer}")(x), inplace=True)
        return functional.max_pool2d(x, 2, ceil_mode=True)

    def forward(self, images: Tensor) -> Tensor:
        # 0.01 and 0.0001: at one learning rate the large features of the pools would learn too fast
        pool3 = self._block(self._block(self._block(images, 1), 2), 3)
        pool4 = self._block(pool3, 4)
        x = self._block(pool4, 5)
        x = self.dropout(functional.relu(self.fc6(x), inplace=True))
        x = self.dropout(functional.relu(self.fc7(x), inplace=True))
        x = self.upscore2(self.score_fr(x))
        x = self.upscore_pool4(x + _crop(self.score_pool4(0.01 * pool4), 5, x.shape))
        x = self.upscore8(x + _crop(self.score_pool3(0.0001 * pool3), 9, x.shape))
        return _crop(x, 31, images.shape)

    def classifier_parameters(self) -> list[nn.Parameter]:
        scores = (self.score_fr, self.score_pool3, self.score_pool4)
        return [p for score in scores for p in score.parameters()]

    def fixed_parameters(self) -> list[nn.Parameter]:
        return [self.upscore2.weight, self.upscore_pool4.weight, self.upscore8.weight]
