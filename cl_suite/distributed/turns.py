"""Batches computed in turn by the processes of a run, and put in order again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from cl_suite.distributed import group

Item = TypeVar("Item")


def own_turns(items: Sequence[Item], batch_size: int) -> list[Item]:
    """Return the items of this process's batches: process k has batches k, k + size and so on.

    With fewer batches than processes, every process has all of them.
    """
    if not _takes_turns(len(items), batch_size):
        return list(items)
    step = group.size() * batch_size
    starts = range(group.rank() * batch_size, len(items), step)
    return [item for start in starts for item in items[start : start + batch_size]]


def all_turns(own: Iterator[Tensor], num_items: int, batch_size: int) -> Iterator[Tensor]:
    """Yield the results of all batches in order, in every process.

    Args:
        own: results `(rows of the batch, dim)` of this process's batches, in order.
        num_items: items of all batches together.
    """
    if not _takes_turns(num_items, batch_size):
        yield from own
        return
    last: Tensor | None = None
    for start in range(0, num_items, group.size() * batch_size):
        found = next(own, None)
        if found is None:
            assert last is not None  # there are as many batches as processes
            found = last[:0]
        last = found
        missing = batch_size - len(found)
        parts = group.gathered(torch.cat([found, found.new_zeros(missing, found.shape[1])]))
        for rank, part in enumerate(parts):
            left = num_items - start - rank * batch_size
            if left > 0:
                yield part[:left]


def _takes_turns(num_items: int, batch_size: int) -> bool:
    size = group.size()
    return size > 1 and num_items > (size - 1) * batch_size
