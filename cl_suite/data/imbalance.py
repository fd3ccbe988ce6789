"""Long-tailed training data: fewer samples of some classes, drawn by a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RANKS, ROWS = 0, 5  # streams of random numbers of one seed


def long_tail(
    rows: Mapping[int, Sequence[int]], ratio: float, seed: int = 0
) -> dict[int, list[int]]:
    """Return the rows that a long tail leaves of each class, in their order.

    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, section 5.1:
    the class of rank `r` of `C` keeps the share `ratio ** -(r / (C - 1))` of its samples, so the
    first keeps all, and the last `1 / ratio` of them. A seed draws the ranks and the samples, and
    every class keeps one at least. A higher ratio leaves a part of what a lower one leaves.

    Args:
        rows: samples of each class.
        ratio: samples of the most frequent class for each one of the rarest, at least 1.

    Example:
        >>> {c: len(kept) for c, kept in long_tail({0: range(8), 1: range(8)}, 4).items()}
        {0: 8, 1: 2}
    """
    classes = sorted(rows)
    order = np.random.default_rng([seed, RANKS]).permutation(len(classes))
    last = max(len(classes) - 1, 1)
    share = {classes[c]: ratio ** -(rank / last) for rank, c in enumerate(order)}
    return {c: _some(rows[c], share[c], [seed, ROWS, c]) for c in rows}


def _some(rows: Sequence[int], share: float, seed: Sequence[int]) -> list[int]:
    num = max(1, round(share * len(rows)))
    drawn = np.random.default_rng(seed).permutation(len(rows))[:num]
    return [rows[i] for i in sorted(drawn)]
