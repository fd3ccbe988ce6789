"""Keeps a network as it was before tuning, so its features can stand beside the tuned ones."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cl_suite.models.adapters import without_adapters
from cl_suite.models.stages import cut


class Untouched(nn.Module):
    """The tensors in which a body will differ from what it is now; adapters are left out anyway.

    The blocks before the first one that differs run once for both.

    Args:
        body: the network, before it is trained.
        names: its tensors that will be trained.
        first: first block that will differ (see `stages.cut`); -1: what is before the blocks too.
    """

    def __init__(self, body: nn.Module, names: Collection[str], first: int) -> None:
        super().__init__()
        self.names = tuple(sorted(names))
        self.first = first
        state = body.state_dict()
        # a name of the body holds dots, which a buffer's may not
        for place, name in enumerate(self.names):
            self.register_buffer(f"tensor{place}", state[name].clone())

    def forward(self, body: nn.Module, x: Tensor, entry: int | None = None) -> Tensor:
        """Return tuned features and, beside them, those of before, `(batch, 2 * dim)`.

        Args:
            body: the network as it is now.
            x: a batch of inputs; of hidden values before block `entry`, if that is given.
        """
        stages = cut(body)
        start = self.first if entry is None else entry
        network: nn.Module = body if start < 0 else stages
        prefix = "" if start < 0 else "body."
        kept = {prefix + name: getattr(self, f"tensor{i}") for i, name in enumerate(self.names)}
        inputs: tuple[Tensor | int, ...] = (x,)
        if start >= 0:
            inputs = (stages.prefix(x, start) if entry is None else x), start
        tuned: Tensor = network(*inputs)
        with torch.no_grad(), without_adapters(body):
            before: Tensor = functional_call(network, kept, inputs)
        return torch.cat([tuned, before], dim=1)
