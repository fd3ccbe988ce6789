"""Means over seeds with confidence intervals from Student's t distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds.

    Attributes:
        mean: the mean.
        half_width: half the width of its confidence interval; NaN for a single value.
        standard_deviation: sample standard deviation (`ddof` 1); NaN for a single value.
        num: number of values.
    """

    mean: float
    half_width: float
    standard_deviation: float
    num: int


def mean_interval(values: Sequence[float], level: float = 0.95) -> MeanInterval:
    """Return the mean of these values with its confidence interval.

    Args:
        values: one per seed.
        level: probability that the interval covers the true mean, for normal values.

    Raises:
        ValueError: if there is no value, or the level is not between 0 and 1.

    Example:
        >>> interval = mean_interval([0.70, 0.72, 0.74])
        >>> f"{interval.mean:.2f} +- {interval.half_width:.4f}"
        '0.72 +- 0.0497'
    """
    if not len(values):
        raise ValueError("a mean needs at least one value, got none")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; use 0.95 for 95 %")
    mean, num = float(np.mean(values)), len(values)
    if num == 1:
        return MeanInterval(mean, math.nan, math.nan, 1)
    # scipy.special has the quantile too, and imports far faster than scipy.stats
    from scipy.special import stdtrit

    deviation = float(np.std(values, ddof=1))
    quantile = float(stdtrit(num - 1, (1 + level) / 2))
    return MeanInterval(mean, quantile * deviation / math.sqrt(num), deviation, num)


def paired_difference(
    first: Sequence[float], second: Sequence[float], level: float = 0.95
) -> MeanInterval:
    """Return the mean of `first - second`, paired by seed, with its confidence interval.

    Pairing removes the variation that both share for a seed, so it detects smaller differences than
    two separate intervals.

    Raises:
        ValueError: if the two differ in length, or are empty.
    """
    if len(first) != len(second):
        raise ValueError(
            f"{len(first)} values cannot be paired with {len(second)}; pass one of each per seed"
        )
    return mean_interval([a - b for a, b in zip(first, second, strict=True)], level)
