"""Calibration error, log loss and Brier score, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cl_suite.metrics.confidence import (
    brier_score,
    calibration_curve,
    calibration_error,
    log_loss,
)

P = np.array([0.95, 0.9, 0.85, 0.6, 0.55, 0.3])
HITS = np.array([1.0, 1, 0, 1, 0, 0])


def test_five_bins_of_equal_width() -> None:
    assert calibration_error(P, HITS, bins=5) == pytest.approx(0.1916666667, abs=1e-10)


def test_three_bins_of_equal_mass() -> None:
    assert calibration_error(P, HITS, bins=3, kind="mass") == pytest.approx(0.2416666667, abs=1e-10)


def test_the_order_of_the_samples_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(6)
    for kind in ("width", "mass"):
        expected = calibration_error(P, HITS, bins=4, kind=kind)  # type: ignore[arg-type]
        found = calibration_error(P[order], HITS[order], bins=4, kind=kind)  # type: ignore[arg-type]
        assert found == pytest.approx(expected)


def test_bins_of_equal_width_include_their_upper_end() -> None:
    # 0.2 lies in the first of five bins, just above it in the second
    assert calibration_error(np.array([0.2, 0.1]), np.array([0.0, 1]), bins=5) == pytest.approx(
        0.35
    )
    apart = calibration_error(np.array([0.2 + 1e-9, 0.1]), np.array([0.0, 1]), bins=5)
    assert apart == pytest.approx((0.2 + 0.9) / 2)


def test_more_bins_of_equal_mass_than_samples() -> None:
    assert calibration_error(P, HITS, kind="mass") == pytest.approx(abs(P - HITS).mean())


def test_without_samples_it_is_undefined() -> None:
    assert math.isnan(calibration_error(np.zeros(0), np.zeros(0)))


def test_the_curve_has_confidence_and_accuracy_of_each_bin() -> None:
    found = calibration_curve(P, HITS, bins=5)
    assert [each.num for each in found] == [0, 1, 2, 0, 3]
    assert found[2].confidence == pytest.approx(0.575)
    assert found[4].accuracy == pytest.approx(2 / 3)
    assert math.isnan(found[0].accuracy)


def test_the_curve_gives_the_calibration_error() -> None:
    random = np.random.default_rng(0)
    confidences, hits = random.random(500), random.integers(0, 2, 500).astype(float)
    found = [each for each in calibration_curve(confidences, hits) if each.num]
    gaps = sum(each.num * abs(each.accuracy - each.confidence) for each in found)
    assert gaps / 500 == pytest.approx(calibration_error(confidences, hits))


def test_log_loss_and_brier_score() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    columns = np.array([0, 1])
    assert log_loss(np.log(p), columns) == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2)
    first, second = 0.09 + 0.04 + 0.01, 0.01 + 0.49 + 0.36
    assert brier_score(p, columns) == pytest.approx((first + second) / 2)
    certain = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert brier_score(certain, np.array([0, 1])) == pytest.approx(1.0)
