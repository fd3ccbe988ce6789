"""Exemplar selection: order the samples of a class, best first.

Avalanche's `HerdingSelectionStrategy` and `ClosestToCenterSelectionStrategy` give the same orders,
but they order the whole class, at a quadratic cost, and need a network and the name of a layer.
Here the order stops at the quota.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.errors import UserError

Selection = Literal["random", "closest", "herding"]
SELECTIONS: tuple[Selection, ...] = ("random", "closest", "herding")


def check_selection(selection: str, fixed_classes: int | None) -> None:
    """Raise `UserError` for an unknown selection or an invalid number of classes."""
    if selection not in SELECTIONS:
        raise UserError(f"selection '{selection}' is unknown; known: {', '.join(SELECTIONS)}")
    if fixed_classes is not None and fixed_classes < 1:
        raise UserError(f"fixed_classes must be at least 1 or null, got {fixed_classes}")


def ordered(features: Tensor, selection: Selection, limit: int) -> Tensor:
    """Return the first `limit` rows of one class's features `(n, dim)`, best first.

    Args:
        selection: closest (to the mean); or herding, on features of unit length.
    """
    if selection == "closest":
        distances = (features - features.mean(0)).square().sum(1)
        return distances.argsort(stable=True)[:limit].cpu()
    return herding(F.normalize(features), limit).cpu()


def herding(features: Tensor, limit: int) -> Tensor:
    """Return the rows `(limit,)` chosen one after another (iCaRL, algorithm 4).

    Each step chooses the row that brings the mean of the chosen rows nearest to the overall mean.
    """
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = torch.zeros(limit, dtype=torch.long, device=features.device)
    for k in range(limit):
        distances = ((total + features) / (k + 1) - mean).square().sum(1)
        best = distances.masked_fill(~free, torch.inf).argmin()
        chosen[k] = best
        free[best] = False
        total = total + features[best]
    return chosen


def interleave(
    old: Sequence[int], new: Sequence[int], weights: tuple[int, int]
) -> Iterator[tuple[bool, int]]:
    """Yield (is new, item) from two lists, mixed in the proportion of `weights` throughout.

    Example:
        >>> [item for _, item in interleave([1, 2, 3], [7, 8], (20, 10))]
        [1, 2, 7, 3, 8]
    """
    num = [0, 0]
    lists = old, new
    while any(num[i] < len(lists[i]) for i in (0, 1)):
        # the list that would be less ahead of its share; the old one if they are even
        late = weights[0] * (num[1] + 1) < weights[1] * (num[0] + 1)
        which = int(late if num[0] < len(old) and num[1] < len(new) else num[0] >= len(old))
        yield bool(which), lists[which][num[which]]
        num[which] += 1
