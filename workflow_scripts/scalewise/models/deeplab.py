"""DeepLab-v2 on ResNet-101 (Chen et al., 2017), with the released program's tensor names."""

import torch.nn.functional as functional
from torch import Tensor, nn

from scalewise.models.network import Network

EXPANSION = 4
DILATIONS = (6, 12, 18, 24)
SMALLEST = 7  # pixels per side; from here on the logits have two rows and columns


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        outputs = EXPANSION * channels
        # the stride is the first convolution's, as in the first ResNet; torchvision moved it on
        self.conv1 = nn.Conv2d(inputs, channels, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return functional.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


def _layer(
    inputs: int, channels: int, blocks: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    outputs = EXPANSION * channels
    first = _Bottleneck(inputs, channels, stride, dilation)
    first.downsample = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )
    others = (_Bottleneck(outputs, channels, dilation=dilation) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


class _Classifier(nn.Module):
    """Atrous spatial pyramid pooling: the sum of the first `branches` dilated convolutions."""

    def __init__(self, inputs: int, classes: int, branches: int):
        super().__init__()
        self.branches = branches
        self.conv2d_list = nn.ModuleList(
            nn.Conv2d(inputs, classes, 3, padding=d, dilation=d) for d in DILATIONS
        )
        for convolution in self.conv2d_list:
            nn.init.zeros_(convolution.bias)
        self.conv2d_list[branches:].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return sum(convolution(x) for convolution in self.conv2d_list[: self.branches])


class DeepLab(Network):
    """44 M parameters at width 64 and 19 classes; logits at 1/8 of the input, rounded up.

    Args:
        classes: number of classes.
        width: channels of the first layers; 64 is ResNet-101.
        classifier_branches: 1 to 4 of the classifier's branches add to the logits; all four exist,
            as in the released weights (docs/method.md row 10).
        freeze_batchnorm_affine: keep scale and shift of the batch norms as they are.
    """

    align_corners = True

    def __init__(
        self,
        classes: int,
        width: int = 64,
        classifier_branches: int = 4,
        freeze_batchnorm_affine: bool = True,
    ):
        super().__init__()
        if not 1 <= classifier_branches <= len(DILATIONS):
            raise ValueError(f"classifier_branches is 1 to 4, not {classifier_branches}")
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _layer(width, width, 3)
        self.layer2 = _layer(4 * width, 2 * width, 4, stride=2)
        self.layer3 = _layer(8 * width, 4 * width, 23, dilation=2)
        self.layer4 = _layer(16 * width, 8 * width, 3, dilation=4)
        self.layer5 = _Classifier(32 * width, classes, classifier_branches)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # as in DeepLab: classes begin nearly even; and while the batch norms still know
                # nothing, larger weights would double the variance in each of the 33 blocks
                nn.init.normal_(module.weight, std=0.01)
            elif isinstance(module, nn.BatchNorm2d) and freeze_batchnorm_affine:
                module.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"an image of {height} x {width} is too small for DeepLab: it needs at least "
                f"{SMALLEST} pixels on each side"
            )
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        x = functional.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.layer5(x)

    def classifier_parameters(self) -> list[nn.Parameter]:
        return list(self.layer5.parameters())

    def shallow(self) -> list[nn.Module]:
        return [self.conv1, self.bn1, self.layer1]

    def fixed_parameters(self) -> list[nn.Parameter]:
        return list(self.layer5.conv2d_list[self.layer5.branches :].parameters())
