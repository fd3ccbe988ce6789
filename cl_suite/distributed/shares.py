"""A network's pass over a batch, shared among the processes of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cl_suite.distributed import group
from cl_suite.distributed.as_one import AsOne
from cl_suite.distributed.rows import join_rows, shared_tensors, take_rows


@dataclass
class _Pass:
    """The shared pass under way.

    Attributes:
        num_rows: of the batch whose shares are being computed, 0 outside of a pass.
        sync_batchnorm: whether training BatchNorm layers see the whole batch.
        draws_by_itself: networks that draw random numbers in a way that cannot be shared.
    """

    num_rows: int = 0
    sync_batchnorm: bool = True
    draws_by_itself: WeakSet[nn.Module] = field(default_factory=WeakSet)


_pass = _Pass()


def synchronise_batchnorm(wanted: bool) -> None:
    """Choose the statistics by which training BatchNorm layers normalise.

    Args:
        wanted: those of the whole batch, as in one process. Otherwise each process normalises its
            own rows, and the running statistics are averaged: fewer messages, other values.
    """
    _pass.sync_batchnorm = wanted


def in_shares(network: nn.Module, compute: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Return `compute(batch)`; each process computes its share of the rows, all receive all rows.

    Values and gradients are those of one process, up to the order of sums. A batch with fewer than
    two rows a process, and a network that draws random numbers in a way that cannot be split, are
    computed whole by every process.

    Args:
        network: holds the parameters that `compute` uses.
        compute: maps rows to rows, each by itself but for BatchNorm.
    """
    size = group.size()
    if size == 1 or _pass.num_rows or len(batch) < 2 * size or _is_transformed():
        return compute(batch)
    is_training = any(part.training or _has_no_averages(part) for part in network.modules())
    if is_training and network in _pass.draws_by_itself:
        return compute(batch)
    own = take_rows(batch)
    _pass.num_rows = len(batch)
    try:
        with _shared_parameters(network):
            if not is_training:
                return join_rows(compute(own), len(batch))
            before = _before(network, batch.device)
            sync = _pass.sync_batchnorm
            with AsOne(len(batch), len(own), batch.device, sync_batchnorm=sync) as mode:
                found = compute(own)
        if not mode.drew_apart():
            if not _pass.sync_batchnorm:
                _average(network)
            return join_rows(found, len(batch))
    finally:
        _pass.num_rows = 0
    _restore(before, batch.device)
    _pass.draws_by_itself.add(network)
    return compute(batch)


def whole_rows(own: Tensor) -> Tensor:
    """Return all rows of a value inside a shared pass, such as hidden values; else the value."""
    return join_rows(own, _pass.num_rows) if _pass.num_rows else own


@contextlib.contextmanager
def _shared_parameters(network: nn.Module) -> Iterator[None]:
    """Put tensors in the place of trained parameters whose gradients are summed."""
    places = []
    if torch.is_grad_enabled():
        for module in network.modules():
            for name, tensor in module._parameters.items():
                if tensor is not None and tensor.requires_grad:
                    places.append((module, name, tensor))
    if not places:
        yield
        return
    tied = {id(tensor): tensor for _, _, tensor in places}
    shared = dict(zip(tied, shared_tensors(list(tied.values())), strict=True))
    try:
        for module, name, tensor in places:
            module._parameters[name] = shared[id(tensor)]  # type: ignore[assignment]  # for this pass
        yield
    finally:
        for module, name, tensor in places:
            module._parameters[name] = tensor


def _is_transformed() -> bool:
    # torch.func's transforms (`grad`, `vmap`) cannot look into messages between processes
    return torch._C._functorch.maybe_current_level() is not None


def _training_norms(network: nn.Module) -> list[Any]:
    return [
        part
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.training and part.track_running_stats
    ]


def _has_no_averages(part: nn.Module) -> bool:
    """Return whether a BatchNorm layer normalises by the batch in eval mode too."""
    return isinstance(part, _BatchNorm) and part.running_mean is None


Before = tuple[list[Tensor], list[tuple[Tensor, Tensor]]]


def _before(network: nn.Module, device: torch.device) -> Before:
    """Return the random states and the buffers, to undo a pass with `_restore`."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states, [(buffer, buffer.clone()) for buffer in network.buffers()]


def _restore(before: Before, device: torch.device) -> None:
    states, buffers = before
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
    for buffer, value in buffers:
        buffer.copy_(value)


@torch.no_grad()
def _average(network: nn.Module) -> None:
    """Give every process the mean of the running statistics, all in one message."""
    layers = _training_norms(network)
    if not layers:
        return
    tensors = [t for layer in layers for t in (layer.running_mean, layer.running_var)]
    flat = group.add_up(torch.cat([t.double() for t in tensors])) / group.size()
    for tensor, mean in zip(tensors, torch.split(flat, [len(t) for t in tensors]), strict=True):
        tensor.data.copy_(mean)  # the backward pass to come looks at versions, not at these values
