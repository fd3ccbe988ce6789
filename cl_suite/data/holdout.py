"""Which of a session's training samples are held out for validation."""

from __future__ import annotations

from collections.abc import Sequence

FEWEST = 5  # samples a class held out, where that leaves as many to learn from


def num_held_out(num: int, rate: float) -> int:
    """Return how many of a class's `num` samples are held out; one at least is left to learn from.

    Example:
        >>> [num_held_out(num, 0.2) for num in (1, 2, 10, 100)]
        [0, 1, 5, 20]
    """
    return min(max(round(rate * num), min(FEWEST, num // 2)), num - 1)


def held_out(targets: Sequence[int], rate: float) -> tuple[list[int], list[int]]:
    """Return the rows to learn from and those held out: the last ones of each class.

    The last ones in the data's order and not random ones, so that a scenario whose samples are made
    of shared pictures can put those of pictures of their own there. Where every class has one
    sample there is nothing to hold out, and the second list is empty.
    """
    left = {c: num_held_out(list(targets).count(c), rate) for c in set(targets)}
    kept: list[int] = []
    out: list[int] = []
    for row in reversed(range(len(targets))):
        target = targets[row]
        (out if left[target] > 0 else kept).append(row)
        left[target] -= 1
    return kept[::-1], out[::-1]
