"""Adds low-rank adapters (LoRA, Hu et al., ICLR 2022, arXiv 2106.09685) to a network, with peft.

A layer's frozen weight `W` becomes `W + alpha / rank * B A` with trainable `A` `(rank, inputs)` and
`B` `(outputs, rank)`; `B` starts at zero, so a fresh adapter changes nothing.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.models.stages import cut
from cl_suite.parameters import Above, Parameters, Within

ALL_LINEAR = "all-linear"  # peft's word


@dataclass(frozen=True)
class LoRASettings(Parameters):
    """Which layers get an adapter, and the adapter's form.

    Args:
        rank: rank of the update.
        alpha: scale of the update: it is multiplied by `alpha / rank`.
        dropout: rate of dropout on the adapter's input while training.
        targets: layers in the body, by the end of a name as in peft (qkv for blocks.0.attn.qkv) or
            by a pattern of the whole name (`*` and `?`); all-linear names every linear layer. None
            depends on the network: query and value projections of a vision transformer, else
            convolutions (not grouped ones), else linear layers.
        exclude: layers that never get an adapter, named in the same way.
        start: first block that gets adapters, as in a slice: -6 is the sixth from the end.
        stop: first block after them, as in a slice.
        rslora: scale by `alpha / sqrt(rank)` instead (Kalajdzievski, 2023, arXiv 2312.03732).
    """

    rank: Annotated[int, Within(1)] = 16
    alpha: Annotated[float, Above(0)] = 16.0
    dropout: Annotated[float, Within(0, 1, open_end=True)] = 0.0
    targets: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    start: int = 0
    stop: int | None = None
    rslora: bool = False


class SplitQKV(nn.Module):
    """Splits timm's fused linear layer into query, key and value projections.

    The output is the same numbers in the same order; an adapter can act on some of the three.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        bias = fused.bias is not None
        biases = fused.bias.detach().chunk(3) if bias else (None, None, None)
        parts = []
        for weight, offset in zip(fused.weight.detach().chunk(3), biases, strict=True):
            part = nn.Linear(
                fused.in_features, len(weight), bias=bias, device=weight.device, dtype=weight.dtype
            )
            part.weight = nn.Parameter(weight.clone(), requires_grad=fused.weight.requires_grad)
            if offset is not None:
                part.bias = nn.Parameter(offset.clone(), requires_grad=fused.bias.requires_grad)
            parts.append(part)
        self.q, self.k, self.v = parts
        self.train(fused.training)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)


def add_lora(body: nn.Module, settings: LoRASettings) -> bool:
    """Freeze a body and put trainable adapters on some layers; return whether it had none before.

    A body that already has adapters is unchanged. Names in its `state_dict` change if a layer gets
    an adapter (`<layer>.base_layer.weight`) or a fused projection is split (`qkv.q`, `qkv.k`,
    `qkv.v`).

    Raises:
        UserError: if no layer fits the settings.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if has_lora(body):
        return False
    names = _split_and_choose(body, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number works, not ints alone
        lora_dropout=settings.dropout,
        target_modules="|".join(re.escape(name) for name in names),
        use_rslora=settings.rslora,
        bias="none",
    )
    modes = {part: part.training for part in body.modules()}
    inject_adapter_in_model(config, body)
    body.requires_grad_(False)
    for parameter in lora_parameters(body).values():
        parameter.requires_grad_(True)
    for part, mode in modes.items():
        part.training = mode
    return True


def has_lora(body: nn.Module) -> bool:
    """Return whether a body has adapters."""
    return any(_lora_layers(body))


def lora_parameters(body: nn.Module) -> dict[str, nn.Parameter]:
    """Return the adapters' parameters by name."""
    return {name: p for name, p in body.named_parameters() if ".lora_" in f".{name}"}


@contextmanager
def without_adapters(body: nn.Module) -> Iterator[None]:
    """Run a body as it was before adapters were added; `requires_grad` does not change."""
    # peft's own switch also changes `requires_grad`
    layers = [(layer, layer._disable_adapters) for layer in _lora_layers(body)]
    for layer, _ in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer, disabled in layers:
            layer._disable_adapters = disabled


@contextmanager
def adapting(body: nn.Module, *, dropout: bool = True) -> Iterator[None]:
    """Run a frozen body in eval mode (so BatchNorm is fixed), the adapters' dropout as in training.

    Every part's mode is restored afterwards.

    Args:
        dropout: whether the adapters' dropout acts.
    """
    modes = {part: part.training for part in body.modules()}
    body.eval()
    for layer in _lora_layers(body):
        layer.lora_dropout.train(dropout)
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return the number of trainable parameters and of all parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)


def _lora_layers(body: nn.Module) -> Iterator[Any]:
    from peft.tuners.lora import LoraLayer

    return (part for part in body.modules() if isinstance(part, LoraLayer))


def _split_and_choose(body: nn.Module, settings: LoRASettings) -> list[str]:
    """Return the names of the layers that get an adapter; split fused projections if needed."""
    stages = cut(body)
    blocks = range(stages.num_blocks)[settings.start : settings.stop]
    layers = {
        name: layer
        for name, layer in body.named_modules()
        if name
        and _can_adapt(layer)
        and not _fits(name, settings.exclude)
        and stages.stage_of(f"{name}.") in blocks
    }
    parts = {f"{name}.{part}": name for name in layers if _is_fused(body, name) for part in "qkv"}
    wanted = _wanted(layers, parts, settings.targets)
    if not wanted:
        asked = "the default" if settings.targets is None else f"targets {list(settings.targets)}"
        raise UserError(
            f"{type(body).__name__} has no layer for an adapter ({asked}; blocks {list(blocks)} "
            f"of {stages.num_blocks}); name linear or convolutional "
            f"layers{_examples(layers, parts)}, or choose other blocks"
        )
    for name in sorted({parts[part] for part in wanted if part in parts}):
        body.set_submodule(name, SplitQKV(layers[name]))  # type: ignore[arg-type]  # a module
    return wanted


def _wanted(
    layers: Mapping[str, nn.Module], parts: Mapping[str, str], targets: Sequence[str] | None
) -> list[str]:
    if targets is None:
        if parts:
            return [part for part in parts if not part.endswith(".k")]
        convolutions = [n for n, layer in layers.items() if isinstance(layer, nn.Conv2d)]
        return convolutions or list(layers)
    every_linear = ALL_LINEAR in targets
    whole = [
        name
        for name, layer in layers.items()
        if _fits(name, targets) or (every_linear and isinstance(layer, nn.Linear))
    ]
    return whole + [
        part for part, fused in parts.items() if _fits(part, targets) and fused not in whole
    ]


def _examples(layers: Mapping[str, nn.Module], parts: Mapping[str, str]) -> str:
    """Return words on how the layers' names look; "" if there are no layers."""
    first_of_end: dict[str, str] = {}
    for name in [*layers, *parts]:
        first_of_end.setdefault(name.rpartition(".")[2], name)
    names = " or ".join(f"'{name}'" for name in list(first_of_end.values())[:2])
    return f" such as {names}, by the end of a name or by a pattern with *" if names else ""


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) or f".{name}".endswith(f".{pattern}")
        for pattern in patterns
    )


def _is_fused(body: nn.Module, name: str) -> bool:
    layer = body.get_submodule(name)
    return (
        name.rpartition(".")[2] == "qkv"
        and isinstance(layer, nn.Linear)
        and layer.out_features % 3 == 0
    )


def _can_adapt(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1
    return isinstance(layer, nn.Linear)
