"""Runs a module in eval mode, then restores the mode of each of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put `module` in eval mode inside the block; restore each part's own mode after it."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def batchnorms(module: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers; a few shots would spoil their statistics."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [part for part in module.modules() if isinstance(part, _BatchNorm)]
