"""Kept samples that join each batch of a session's own: which rows, and in which batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler

# a place in a data set; with a turn, if the pass may come to it several times
Place = int | tuple[int, int]


@dataclass(frozen=True)
class Memory:
    """The last rows of a data set, some of which join each batch of the rows before them.

    Attributes:
        first: the first of them; a pass goes through the rows before it.
        plan: returns the rows `(n,)` that join each batch. It is called once a pass, with the rows
            of all its batches, so the number of workers changes nothing. It draws from torch's
            global generator.
    """

    first: int
    plan: Callable[[Sequence[Tensor]], Sequence[Tensor]]

    def pass_of(self, batch_size: int) -> list[tuple[Tensor, Tensor]]:
        """Return a shuffled pass: each batch's rows of the data, and those that join it."""
        own = torch.split(torch.randperm(self.first), batch_size)
        return list(zip(own, self.plan(own), strict=True))

    def num_batches(self, batch_size: int) -> int:
        """Return the number of batches; a small last one is not left out: others join it."""
        return -(-self.first // batch_size)


class JoinedRows(Sampler[list[Place]]):
    """The batches of a pass with what joins them, drawn by `draw`."""

    def __init__(self, memory: Memory, batch_size: int) -> None:
        self.memory = memory
        self.batch_size = batch_size
        self.batches: list[list[Place]] = []

    def __len__(self) -> int:
        return self.memory.num_batches(self.batch_size)

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.batches)

    def draw(self) -> None:
        """Draw the next pass."""
        self.batches = [
            [*own.tolist(), *((row, turn) for row in others.tolist())]
            for turn, (own, others) in enumerate(self.memory.pass_of(self.batch_size))
        ]
