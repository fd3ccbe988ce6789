"""What chance alone would explain."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from cl_suite.metrics.paired_test import chance_of_at_least, chance_of_losing


@pytest.mark.parametrize(
    ("count", "num", "p"), [(0, 0, 0.5), (3, 10, 0.2), (10, 10, 0.5), (7, 40, 1 / 7)]
)
def test_the_chance_is_the_tail_of_the_binomial(count: int, num: int, p: float) -> None:
    naive = sum(math.comb(num, k) * p**k * (1 - p) ** (num - k) for k in range(count, num + 1))
    assert chance_of_at_least(count, num, p) == pytest.approx(naive)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 0), (12, 3), (3, 12), (300, 250)])
def test_the_paired_test_is_one_side_of_the_exact_one(lost: int, gained: int) -> None:
    expected = 1.0
    if lost + gained:
        expected = stats.binomtest(lost, lost + gained, alternative="greater").pvalue
    assert chance_of_losing(lost, gained) == pytest.approx(expected)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="3 trials cannot have 4 successes"):
        chance_of_at_least(4, 3, 0.5)
