"""A second frozen network whose features stand beside the first one's: `--model.beside NAME`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.models.settings import ModelConfig
from cl_suite.models.timm_networks import image_statistics


class Beside(nn.Module):
    """Two networks that see the same images; a feature is that of the first and of the second.

    Each part has length 1, so neither counts more in a distance than the other.

    Args:
        first, second: map images `(batch, channels, height, width)` to features `(batch, dim)`.
        scale, shift: bring a channel's values from the form that the first network expects into the
            second one's, `x * scale + shift`; shape `(channels)`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, first: nn.Module, second: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.first(x), self.second(x * self.scale + self.shift)
        return torch.cat([F.normalize(part, dim=1) for part in parts], dim=1)


def between(first: str, second: str) -> tuple[Tensor, Tensor]:
    """Return scale and shift from the images of one timm network to those of another.

    Raises:
        UserError: if it is not known how images are prepared for one of them.
    """
    mean, std = _statistics(first)
    own_mean, own_std = _statistics(second)
    return std / own_std, (mean - own_mean) / own_std


def _statistics(name: str) -> tuple[Tensor, Tensor]:
    found = image_statistics(name)
    if found is None:
        raise UserError(
            f"{option('model.beside')} joins two of timm's pretrained networks, and '{name}' is "
            "none; see `cl-suite list backbones`"
        )
    return found


def check_beside(settings: ModelConfig, shape: Sequence[int]) -> None:
    """Check that two networks can stand beside each other.

    Args:
        shape: of a prepared sample.

    Raises:
        UserError: if not; the message says why.
    """
    if settings.beside is None:
        return
    if not settings.pretrained and settings.weights is None:
        raise UserError(
            f"{option('model.beside')} joins pretrained networks; pass "
            f"{option('model.pretrained', 'true')}, or {option('model.weights', 'FILE')} and "
            f"{option('model.beside_weights', 'FILE')}"
        )
    if len(shape) != 3 or shape[0] != 3:
        raise UserError(
            f"{option('model.beside')} joins networks for colour images, and these samples have "
            f"shape {tuple(shape)}; pass {option('model.preprocessing', 'backbone')} if they are "
            "images, or leave it out"
        )
