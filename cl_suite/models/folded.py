"""Folds BatchNorm layers into the convolutions before them, for a network that only infers.

In eval mode a BatchNorm is a fixed scale and shift of each channel, which the convolution can do
itself. Which convolution feeds which BatchNorm is seen in a pass, so it need not be declared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cl_suite.models.modes import evaluating

TOLERANCE = 1e-3  # relative to the largest feature; a wrong fold is off by its own size


@torch.no_grad()
def folded(network: nn.Module, probe: Tensor) -> nn.Module:
    """Return a copy of the network without the BatchNorms that can be folded, in eval mode.

    The network itself is returned if there is nothing to fold, or if the copy's output for the
    probe differs by more than rounding, as where a convolution has a second reader.

    Args:
        probe: an input batch; the copy takes inputs of other sizes too.
    """
    kinds = [type(part) for part in network.modules()]
    if not all(any(issubclass(k, kind) for k in kinds) for kind in (nn.Conv2d, nn.BatchNorm2d)):
        return network  # without a pass
    with evaluating(network):
        expected = network(probe)
        pairs = _pairs(network, probe)
        if not pairs:
            return network
        copied = copy.deepcopy(network).eval()
    modules = dict(copied.named_modules())
    for convolution, norm in pairs:
        whole = fuse_conv_bn_eval(modules[convolution], modules[norm])  # type: ignore[type-var]  # by name
        _replace(copied, convolution, whole)
        _replace(copied, norm, _rest_of(modules[norm]))
    try:
        found = copied(probe)
    except Exception:  # whatever its code expects of the layers that are gone
        return network
    error = (found - expected).abs().max()
    return copied if error <= TOLERANCE * expected.abs().max().clamp(min=1e-6) else network


def _pairs(network: nn.Module, probe: Tensor) -> list[tuple[str, str]]:
    """Return the names of each convolution and the BatchNorm that reads its output."""
    outputs: dict[int, str] = {}
    kept: list[Tensor] = []  # alive, so that no address is used twice
    calls: dict[str, int] = {}
    found: list[tuple[str, str]] = []

    def note_output(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            kept.append(output)
            outputs[id(output)] = name

        return hook

    def note_input(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls[name] = calls.get(name, 0) + 1
            if (source := outputs.get(id(inputs[0]))) is not None:
                found.append((source, name))

        return hook

    handles = []
    for name, module in network.named_modules():
        # subclasses of a convolution pad differently, but their weights act alike
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(note_output(name)))
        elif isinstance(module, nn.BatchNorm2d) and _can_fold(module):
            handles.append(module.register_forward_pre_hook(note_input(name)))
    try:
        network(probe)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in found if calls[pair[0]] == calls[pair[1]] == 1]


def _can_fold(norm: nn.BatchNorm2d) -> bool:
    known = type(norm) is nn.BatchNorm2d or hasattr(norm, "act")
    return known and norm.running_mean is not None


def _rest_of(norm: nn.Module) -> nn.Module:
    # timm's layers hold a dropout and an activation besides
    parts = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    parts = [part for part in parts if not isinstance(part, nn.Identity)]
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)
