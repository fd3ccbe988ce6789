"""A recipe: one loss of `cl_suite.losses` with its settings, and what it needs from training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from cl_suite.parameters import Above, Parameters, Within

Pair = tuple[Tensor, Tensor]  # of the first and the second views, (batch, projection_dim) each


@dataclass(frozen=True, kw_only=True)
class ContrastBatch:
    """A batch as a loss sees it.

    Attributes:
        z: the network's projections, with gradient.
        labels: `(batch,)` class ids.
        log_prior: `(classes,)` log frequency of each class in the session's training data.
        progress: share of the session's epochs that are done.
        keys: the momentum copy's projections; None without one.
        memory: earlier `keys` `(n, projection_dim)`, their `labels` and `rows` `(n,)`.
        frozen: features of the network at the start of the session `(batch, dim)`; None without.
        rows: `(batch,)` positions in the session's training data; None if they are not asked for.
        groups: what the recipe noted of each training sample, `(samples,)` each.
        extras: the recipe's own parameters; None without any.
    """

    z: Pair
    labels: Tensor
    log_prior: Tensor
    progress: float = 0.0
    keys: Pair | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)
    frozen: Tensor | None = None
    rows: Tensor | None = None
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    extras: nn.Module | None = None

    def of_samples(self, name: str) -> Tensor | None:
        """Return what the recipe noted of this batch's samples, `(batch,)`; None if nothing yet."""
        if name not in self.groups:
            return None
        assert self.rows is not None, "a recipe with groups asks for rows"
        noted = self.groups[name]
        return noted[self.rows.to(noted.device)].to(self.labels.device)


@dataclass(kw_only=True, eq=False)
class ContrastRecipe(Parameters):
    """One loss with its settings.

    Attributes:
        has_frozen: whether it reads features of the network at the start of the session.
        has_rows: whether it must know which training samples a batch has.
        ce_weight: weight of the cross-entropy beside the loss, as in its paper.
        adjusts_logits: whether that cross-entropy adds log class frequencies to the logits.
    """

    has_frozen: ClassVar[bool] = False
    has_rows: ClassVar[bool] = False
    ce_weight: ClassVar[float] = 0.0
    adjusts_logits: ClassVar[bool] = False

    @property
    def supervised(self) -> bool:
        """Whether the loss reads labels."""
        return False

    def loss(self, batch: ContrastBatch) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError

    def make_extras(self, projection_dim: int) -> nn.Module | None:
        """Return parameters and buffers of the loss itself, such as a learned temperature."""
        return None

    def regroups(self, epoch: int, epochs: int) -> bool:
        """Return whether `grouped` is to be called before this epoch of the session."""
        return False

    def grouped(
        self, features: Tensor, labels: Tensor, known: Mapping[str, Tensor], epoch: int
    ) -> dict[str, Tensor]:
        """Return what to note of each training sample, from features `(n, dim)` of now.

        Args:
            known: what it returned before.
        """
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class KeyedRecipe(ContrastRecipe):
    """A loss against keys of a momentum copy, those of earlier batches included.

    Args:
        queue_size: keys of earlier batches; at most as many as the session has training samples,
            which are the two views of half of them.
        momentum: share of itself that the copy keeps in each step; both defaults are what is usual
            for small images (MoCo on ImageNet: 65536 and 0.999).
    """

    queue_size: Annotated[int, Within(1)] = 4096
    momentum: Annotated[float, Within(0, 1)] = 0.99

    def kept(self, labels: Tensor, counts: Tensor) -> Tensor:
        """Return the positions of the keys to keep, ascending.

        Args:
            labels: `(keys,)` class ids, from the oldest key to the newest.
            counts: `(classes,)` training samples of each class.
        """
        first = max(0, len(labels) - self.limit(counts))
        return torch.arange(first, len(labels), device=labels.device)

    def limit(self, counts: Tensor) -> int:
        """Return the number of keys of all classes together."""
        return min(self.queue_size, int(counts.sum()))


@dataclass(kw_only=True, eq=False)
class ScaledRecipe(ContrastRecipe):
    """A loss with a temperature.

    Args:
        temperature: divides the cosines.
    """

    temperature: Annotated[float, Above(0)] = 0.1


def both_ways(batch: ContrastBatch, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the mean of a loss of each view's projections and the copy's of the other view."""
    assert batch.keys is not None, "a keyed recipe has them"
    (z1, z2), (keys1, keys2) = batch.z, batch.keys
    return (loss(z1, keys2) + loss(z2, keys1)) / 2
