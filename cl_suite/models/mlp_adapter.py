"""A small trainable network on top of a frozen one: `--model.adapter mlp:256,128`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Adapted(nn.Sequential):
    """A network whose features go through another one; `stages.cut` sees these two as blocks.

    Args:
        network: maps inputs to features `(batch, dim)`.
        adapter: maps these to the features of the whole.
    """

    network: nn.Module
    adapter: nn.Module

    def __init__(self, network: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.add_module("network", network)
        self.add_module("adapter", adapter)


def make_adapter(form: str, dim: int) -> nn.Sequential:
    """Return linear layers with ReLU between them.

    Args:
        form: `mlp:` and the width of each layer's output, such as `mlp:256,128`.
        dim: width of the input.
    """
    layers: list[nn.Module] = []
    for width in map(int, form.removeprefix("mlp:").split(",")):
        layers += [nn.ReLU(inplace=True)] if layers else []
        layers.append(nn.Linear(dim, width))
        dim = width
    return nn.Sequential(*layers)


def split_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of a network and of the adapter on it; a network alone has none there."""
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "adapter": {}}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            return dict(state), {}
        parts[part][rest] = tensor
    return parts["network"], parts["adapter"]
