"""Networks that start from random weights start plainly, without the tricks of long recipes.

Many of timm's networks start as their ImageNet recipe of some hundred epochs wants them. A network
that sees a few thousand images learns slowly or hardly from such a start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# arguments of timm's networks, by what they decide
SCALES = ("init_values", "ls_init_value", "layer_scale_init_value")
SMALL = 0.1  # the largest start of a layer's scale that timm's networks have


@torch.no_grad()
def start_plainly(body: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Undo what slows down a short training from random weights; named arguments decide first.

    - No normalisation starts at zero: all of a residual block's branches act from the first step
      (timm: `zero_init_last`).
    - A branch's own scale starts at one, not near zero (`init_values` and its other names).
    - No stochastic depth (`drop_path_rate`) and no dropout (`drop_rate`, `proj_drop_rate`, ...).

    Args:
        body: a network of timm with random weights.
        arguments: what the user passes to `timm.create_model`.
    """
    if "zero_init_last" not in arguments:
        _start_norms(body)
    if not any(name in arguments for name in SCALES):
        _start_scales(body)
    if not any("drop_path" in name for name in arguments):
        for part in body.modules():
            if type(part).__name__ == "DropPath":
                part.drop_prob = 0.0  # type: ignore[assignment]  # timm's attribute
    if not any("drop" in name and "drop_path" not in name for name in arguments):
        _drop_nothing(body)


def _start_norms(body: nn.Module) -> None:
    for part in body.modules():
        weight = getattr(part, "weight", None)
        is_norm = isinstance(getattr(part, "bias", None), nn.Parameter) and hasattr(part, "eps")
        if is_norm and isinstance(weight, nn.Parameter) and not weight.any():
            weight.fill_(1.0)


def _start_scales(body: nn.Module) -> None:
    for name, parameter in body.named_parameters():
        last = name.rpartition(".")[2]
        is_scale = last.startswith("gamma") or "layer_scale" in name
        if is_scale and bool((parameter.abs() <= SMALL).all()):
            parameter.fill_(1.0)


def _drop_nothing(body: nn.Module) -> None:
    for part in body.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        if isinstance(getattr(part, "drop_rate", None), float):
            part.drop_rate = 0.0  # type: ignore[assignment]  # timm's attribute
