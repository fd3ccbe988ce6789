"""Features of an image and of its mirror image, averaged: `--model.mirrored true`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.models.settings import ModelConfig


class Mirrored(nn.Module):
    """A network whose feature is the mean of an image's and of its mirror image's.

    So an image and its mirror image have one feature, but for rounding.

    Args:
        network: maps images `(batch, channels, height, width)` to features `(batch, dim)`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        # one pass: the bank folds BatchNorm layers only in a network that runs once
        features: Tensor = self.network(torch.cat([x, x.flip(-1)]))
        return features.view(2, len(x), -1).mean(dim=0)


def check_mirrors(settings: ModelConfig, info: StreamInfo) -> None:
    """Raise `UserError` if samples are to be mirrored that mean something else in a mirror."""
    if not settings.mirrored:
        return
    what = None
    if info.modality != "image":
        what = f"{info.modality} has no mirror image"
    elif not info.mirror_symmetric:
        what = "a mirrored image may belong to another class"
    if what is not None:
        raise UserError(
            f"{option('model.mirrored')} averages over mirror images, but in stream '{info.name}' "
            f"{what}; pass {option('model.mirrored', 'false')}"
        )
