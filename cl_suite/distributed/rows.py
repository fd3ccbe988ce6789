"""Rows of a batch, shared among the processes and put together again; gradients follow.

Each function and the one that undoes it are the other's derivative: the loss is the same in every
process, so a process's own rows have a part of the gradient, and the sum of the parts is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cl_suite.distributed import group


def share_of(num: int, rank: int, size: int) -> slice:
    """Return one process's rows of a batch of `num`; shares differ by one row at most."""
    return slice(rank * num // size, (rank + 1) * num // size)


def own_share(num: int) -> slice:
    """Return this process's rows of a batch of `num`."""
    return share_of(num, group.rank(), group.size())


def all_rows(own: Tensor, num: int) -> Tensor:
    """Return the batch `(num, ...)` that the processes' own rows make up, without gradient."""
    size = group.size()
    shares = [share_of(num, rank, size) for rank in range(size)]
    lengths = [share.stop - share.start for share in shares]
    if missing := max(lengths) - len(own):
        own = torch.cat([own, own.new_zeros(missing, *own.shape[1:])])
    parts = group.gathered(own)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def take_rows(batch: Tensor) -> Tensor:
    """Return this process's rows of a batch that every process holds."""
    taken: Tensor = _Take.apply(batch)
    return taken


def join_rows(own: Tensor, num: int) -> Tensor:
    """Return the batch `(num, ...)` that the processes' own rows make up."""
    joined: Tensor = _Join.apply(own, num)
    return joined


def shared_tensors(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return tensors that every process holds, to be used on own rows.

    Their gradients are summed over the processes, all in one message.
    """
    shared: tuple[Tensor, ...] = _Share.apply(*tensors)
    return shared


class _Take(Function):
    @staticmethod
    def forward(ctx: Any, batch: Tensor) -> Tensor:
        ctx.num = len(batch)
        return batch[own_share(len(batch))].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return join_rows(gradient, ctx.num)


class _Join(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, num: int) -> Tensor:
        return all_rows(own, num)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return take_rows(gradient), None


class _Share(Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        # a tensor without gradient stays so: an optimiser leaves it alone
        ctx.set_materialize_grads(False)
        ctx.layouts = [(tensor.shape, tensor.stride()) for tensor in tensors]
        # a view could lose the strides of dimensions of length 1, and with them the memory order
        return tuple(tensor.detach() for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        found = list(gradients)
        kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for place, gradient in enumerate(gradients):
            if gradient is not None:
                kinds.setdefault((gradient.dtype, gradient.device), []).append(place)
        for places in kinds.values():
            parts = [
                _flat(gradient, ctx.layouts[place][1])
                for place in places
                if (gradient := gradients[place]) is not None
            ]
            total = _Sum.apply(torch.cat(parts))
            pieces = torch.split(total, [part.numel() for part in parts])
            for place, piece in zip(places, pieces, strict=True):
                found[place] = _unflat(piece, *ctx.layouts[place])
        return tuple(found)


def _memory_order(stride: Sequence[int]) -> list[int]:
    """Return the dimensions of a tensor from the longest step in memory to the shortest."""
    return sorted(range(len(stride)), key=lambda dim: -stride[dim])


def _flat(tensor: Tensor, stride: Sequence[int]) -> Tensor:
    """Return the numbers of a tensor in the order in which these strides put them in memory.

    A gradient in its weight's own order needs no copy, neither here nor when it is kept.
    """
    return tensor.permute(_memory_order(stride)).reshape(-1)


def _unflat(numbers: Tensor, shape: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Return the tensor of this shape whose numbers `_flat` has put in a row."""
    order = _memory_order(stride)
    back = sorted(range(len(order)), key=order.__getitem__)
    return numbers.view([shape[dim] for dim in order]).permute(back)


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return group.add_up(own.clone() if own.requires_grad else own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # every process has the whole gradient of the sum, and so of its own part
        return gradient
