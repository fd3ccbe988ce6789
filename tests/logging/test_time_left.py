"""The estimate of a run's remaining time."""

from __future__ import annotations

import pytest

from cl_suite.logging.time_left import TimeLeft
from cl_suite.runs.forecast import in_words


def test_remaining_epochs_count_by_their_samples() -> None:
    now = [0.0]
    left = TimeLeft([4, 2, 2], [100, 10, 10], clock=lambda: now[0])
    left.session_starts(0)
    assert left.seconds_left(0, 0) is None
    left.epoch(0, 5.0)  # 20 samples a second
    assert left.seconds_left(0, 1) == pytest.approx((300 + 20 + 20) / 20)


def test_what_a_session_takes_beside_its_training_counts_for_each_to_come() -> None:
    now = [0.0]
    left = TimeLeft([1, 1, 1], [10, 10, 10], clock=lambda: now[0])
    left.session_starts(0)
    left.epoch(0, 1.0)
    now[0] = 4.0  # three seconds of measuring
    left.session_ends()
    left.session_starts(1)
    left.epoch(1, 1.0)
    assert left.seconds_left(1, 1) == pytest.approx(1.0 + 2 * 3.0)


def test_a_run_that_says_nothing_of_its_sessions_has_no_estimate() -> None:
    left = TimeLeft([], [])
    left.session_starts(0)
    left.epoch(0, 1.0)
    assert left.seconds_left(0, 1) is None


def test_durations_are_readable() -> None:
    assert [in_words(s) for s in (5, 61, 1200, 7300)] == ["5 s", "1 min 1 s", "20 min", "2 h 1 min"]
