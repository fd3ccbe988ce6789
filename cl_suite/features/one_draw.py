"""A random transform that gives a sample the same outcome each time."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from torch import Tensor

from cl_suite.data.transforms import Transform
from cl_suite.models.digest import tensor_digest
from cl_suite.randomness import draws_apart, seed_draws

_drawing = threading.Lock()  # torch's generator is one for all threads


@dataclass(frozen=True)
class OneDraw:
    """Apply a random transform with random numbers that depend on the sample and a number alone.

    The global generators are left as they were.

    Args:
        transform: draws from the global generators.
        number: distinguishes the draws of a sample.
    """

    transform: Transform
    number: int
    batched: bool = False  # each sample has its own draw

    @property
    def steps(self) -> tuple[Transform, ...]:
        """The steps of the transform; their code identifies the outcome too."""
        return (self.transform, *getattr(self.transform, "steps", ()))

    def __call__(self, x: Tensor) -> Tensor:
        with _drawing, draws_apart():
            seed_draws(tensor_digest(x), self.number)
            return self.transform(x)
