"""Splits a session's training samples into a part to learn from and a part for validation."""

from __future__ import annotations

from collections.abc import Sequence

FEWEST = 5  # least number held out of each class, if at least as many are left to learn from


def num_held_out(num: int, rate: float) -> int:
    """Return how many of a class's `num` samples are held out; at least one is left to learn from.

    Example:
        >>> [num_held_out(num, 0.2) for num in (1, 2, 10, 100)]
        [0, 1, 5, 20]
    """
    return min(max(round(rate * num), min(FEWEST, num // 2)), num - 1)


def held_out(targets: Sequence[int], rate: float) -> tuple[list[int], list[int]]:
    """Return the rows to learn from and the held-out rows, which are the last of each class.

    The choice is not random: if a scenario's samples share pictures, it can put samples made of
    separate pictures last. If every class has a single sample, the second list is empty.
    """
    left = {c: num_held_out(list(targets).count(c), rate) for c in set(targets)}
    kept: list[int] = []
    out: list[int] = []
    for row in reversed(range(len(targets))):
        target = targets[row]
        (out if left[target] > 0 else kept).append(row)
        left[target] -= 1
    return kept[::-1], out[::-1]
