"""Which samples of a class are kept: the order in which they are, best first.

Avalanche's `HerdingSelectionStrategy` and `ClosestToCenterSelectionStrategy` give the same orders,
but of a whole class, at a cost that grows with its square, and need a network and the name of a
layer to be made. Here the order stops where the quota does.
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
    """Raise `UserError` for an unknown selection, or no number of classes."""
    if selection not in SELECTIONS:
        raise UserError(f"selection '{selection}' is unknown; known: {', '.join(SELECTIONS)}")
    if fixed_classes is not None and fixed_classes < 1:
        raise UserError(f"fixed_classes must be at least 1 or null, got {fixed_classes}")


def ordered(features: Tensor, selection: Selection, limit: int) -> Tensor:
    """Return the first `limit` rows of one class's features `(n, dim)`, best first.

    Args:
        selection: closest to the mean; or herding, with features of unit length.
    """
    if selection == "closest":
        distances = (features - features.mean(0)).square().sum(1)
        return distances.argsort(stable=True)[:limit].cpu()
    return herding(F.normalize(features), limit).cpu()


def herding(features: Tensor, limit: int) -> Tensor:
    """Return the rows `(limit,)` chosen one after another (iCaRL, algorithm 4).

    Each time the one that brings the mean of those chosen nearest to the mean of all.
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
    """Yield (whether it is new, item) of two lists, each part of the result in this proportion.

    Example:
        >>> [item for _, item in interleave([1, 2, 3], [7, 8], (20, 10))]
        [1, 2, 7, 3, 8]
    """
    num = [0, 0]
    lists = old, new
    while any(num[i] < len(lists[i]) for i in (0, 1)):
        # the one that would be less ahead of its share; the old one where they are even
        late = weights[0] * (num[1] + 1) < weights[1] * (num[0] + 1)
        which = int(late if num[0] < len(old) and num[1] < len(new) else num[0] >= len(old))
        yield bool(which), lists[which][num[which]]
        num[which] += 1
