"""A small network for log-mel maps, trained from scratch."""

from __future__ import annotations

from torch import nn

WIDTHS = (24, 48, 96, 128)


class MelConv(nn.Sequential):
    """Four blocks of 3 x 3 convolution, BatchNorm and ReLU on `(1, mels, frames)`, 128 features.

    The first convolution has stride 2; the next two blocks end in 2 x 2 max-pooling. The features
    are the mean over the remaining mels and frames, so sounds can have any length.
    """

    def __init__(self, in_channels: int) -> None:
        def block(inputs: int, width: int, *, stride: int = 1, pool: bool = False) -> nn.Module:
            layers: list[nn.Module] = [
                nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))

        first, second, third, last = WIDTHS
        super().__init__(
            block(in_channels, first, stride=2),
            block(first, second, pool=True),
            block(second, third, pool=True),
            block(third, last),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
