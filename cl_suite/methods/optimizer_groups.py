"""Move parameters into their own group of an optimiser."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer


def own_group(optimizer: Optimizer, parameters: Sequence[nn.Parameter], **settings: float) -> None:
    """Move parameters into their own group: the first group's settings, changed by `settings`.

    Groups that become empty are dropped, so a repeated call adds no group.
    """
    chosen = {id(p) for p in parameters}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in chosen]
    first, *others = optimizer.param_groups
    optimizer.param_groups[1:] = [group for group in others if group["params"]]
    shared = {k: v for k, v in first.items() if k not in ("params", "initial_lr")}
    optimizer.add_param_group({**shared, **settings, "params": list(parameters)})
