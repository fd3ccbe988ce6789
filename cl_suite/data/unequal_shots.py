"""Unequal numbers of shots: drawn from a range, or listed class by class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from cl_suite.errors import UserError

COUNTS = 2  # of the streams of random numbers of one seed
_RANGE = re.compile(r"([0-9]{1,6})\.\.([0-9]{1,6})")


def shot_range(text: str) -> range:
    """Return the numbers of shots from a lowest to a highest one, both included.

    Example:
        >>> shot_range("1..10")
        range(1, 11)

    Raises:
        UserError: if the text is not such a range.
    """
    found = _RANGE.fullmatch(text.strip())
    lowest, highest = map(int, found.groups()) if found else (1, 0)
    if not 1 <= lowest <= highest:
        raise UserError(
            "unequal_shots must be a range from a smaller to a larger number of shots like 1..10, "
            f"or a list of numbers, got '{text}'"
        )
    return range(lowest, highest + 1)


def shot_counts(
    given: str | Sequence[int], classes: Sequence[int], seed: int = 0
) -> dict[int, int]:
    """Return the number of shots of each class.

    Args:
        given: a range, from which each class's number is drawn, whatever the other classes are; or
            a list of numbers in the order of `classes`.
        classes: class ids in order of arrival.
        seed: seed of the draw.

    Raises:
        UserError: if the list has another length.

    Example:
        >>> shot_counts([3, 1], [8, 5])
        {8: 3, 5: 1}
    """
    if isinstance(given, str):
        numbers = shot_range(given)
        return {
            c: int(np.random.default_rng([seed, COUNTS, c]).integers(numbers[0], numbers[-1] + 1))
            for c in classes
        }
    if len(given) != len(classes):
        raise UserError(
            f"unequal_shots lists {len(given)} numbers for {len(classes)} classes with few shots; "
            "give one number for each, in order of arrival, or a range like 1..10"
        )
    return dict(zip(classes, given, strict=True))


def counts_note(counts: Mapping[int, int]) -> str:
    """Return how many shots the classes have, as a sentence.

    Example:
        >>> counts_note({0: 1, 1: 4})
        'unequal_shots: the 2 classes with few shots have 1 to 4, 2.5 on average'
    """
    numbers = list(counts.values())
    return (
        f"unequal_shots: the {len(numbers)} classes with few shots have {min(numbers)} to "
        f"{max(numbers)}, {sum(numbers) / len(numbers):.1f} on average"
    )
