"""Blocks that run a module in eval mode, or in full float32, and then restore what was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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


@torch.no_grad()
def needs_two_samples(model: nn.Module, x: Tensor) -> bool:
    """Return whether a BatchNorm layer cannot train on a batch of one sample `x` `(1, ...)`.

    Such a layer sees one value per channel, as on maps of 1 x 1, and a variance needs two.
    """
    modes = {part: part.training for part in model.modules()}
    model.train()  # a frozen part stays in eval mode
    training = [layer for layer in batchnorms(model) if layer.training]
    for part, mode in modes.items():
        part.training = mode
    single: list[bool] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        single.append(inputs[0].numel() == inputs[0].shape[1])

    handles = [layer.register_forward_pre_hook(look) for layer in training]
    try:
        with evaluating(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return any(single)


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute convolutions in float32 on a GPU inside the block, instead of in TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
