"""Intervals over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_suite.metrics.intervals import mean_interval, paired_difference


def test_five_seeds_by_hand() -> None:
    interval = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    # t(0.975, 4) = 2.7764, standard deviation sqrt(2.5)
    assert interval.mean == 3
    assert interval.standard_deviation == pytest.approx(math.sqrt(2.5))
    assert interval.half_width == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert interval.num == 5


def test_one_seed_has_no_interval() -> None:
    interval = mean_interval([0.7])
    assert interval.mean == 0.7
    assert math.isnan(interval.half_width)
    assert math.isnan(interval.standard_deviation)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.floats(0.5, 0.99))
def test_it_agrees_with_scipy(values: list[float], level: float) -> None:
    from scipy import stats

    interval = mean_interval(values, level)
    quantile = stats.t.ppf((1 + level) / 2, len(values) - 1)
    assert interval.half_width == pytest.approx(quantile * stats.sem(values), rel=1e-6, abs=1e-12)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        interval = mean_interval(generator.normal(0.5, 0.1, 5).tolist())
        covered += abs(interval.mean - 0.5) <= interval.half_width
    # three standard deviations of a binomial of 1000 draws are 2.1 points
    assert covered / 1000 == pytest.approx(0.95, abs=0.021)


def test_pairing_removes_what_the_seeds_share() -> None:
    luck = np.array([0.0, 0.1, -0.2, 0.3])
    difference = paired_difference((0.6 + luck).tolist(), (0.5 + luck).tolist())
    assert difference.mean == pytest.approx(0.1)
    assert difference.half_width == pytest.approx(0, abs=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])
    with pytest.raises(ValueError, match=r"got 95; use 0\.95"):
        mean_interval([1.0], level=95)
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        paired_difference([1.0, 2.0], [1.0])
