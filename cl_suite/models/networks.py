"""The field's small networks that timm lacks: Conv-4 and ResNet-20; registers MelConv too."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.sound_networks import MelConv


class Conv4(nn.Sequential):
    """Four blocks of 3 x 3 convolution, BatchNorm, ReLU and 2 x 2 max-pooling, then flattened.

    The few-shot field's small network (Vinyals et al., 2016); 28 x 28 inputs give `width` features.
    """

    def __init__(self, in_channels: int, width: int = 64) -> None:
        def block(inputs: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )

        super().__init__(block(in_channels), *(block(width) for _ in range(3)), nn.Flatten())


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (a 1 x 1 projection if the shape changes)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class ResNet20(nn.Sequential):
    """The CIFAR ResNet-20 of the FSCIL literature: 3 stages of 3 blocks, 64 features."""

    def __init__(self, in_channels: int) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        ]
        inputs = 16
        for width in (16, 32, 64):
            for position in range(3):
                stride = 2 if position == 0 and width > 16 else 1
                layers.append(BasicBlock(inputs, width, stride))
                inputs = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


OWN_BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "conv4": Conv4,
    "resnet20": ResNet20,
    "melconv": MelConv,
    "identity": lambda in_channels: nn.Flatten(),
}
