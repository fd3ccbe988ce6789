"""The figures by which runs are compared."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.metrics.headline import headline


def test_the_figures_of_a_run_by_hand() -> None:
    hits = Hits(
        np.array([[540, 0, 0], [510, 30, 0], [480, 25, 35]]),
        np.array([600, 50, 50]),
        np.arange(3),
    )
    figures = dataclasses.asdict(headline(hits))
    assert figures == pytest.approx(
        {
            "average": 0.8340659,
            "last": 0.7714286,
            "drop": 0.1285714,
            "harmonic": 0.6857143,
            "forgetting": 0.1,
            "last_macro": (0.8 + 0.5 + 0.7) / 3,
            # sessions of one class each: R is 1, and gAcc the mean of G(0) and G(1)
            "gacc": ((0 + 0.6 + 0.6) / 3 + (0.9 + 0.725 + 2 / 3) / 3) / 2,
            "retention": 0.7714286 / 0.9,
            "backward": -0.1,
        },
        abs=1e-7,
    )


def test_after_the_base_session_alone_some_are_undefined() -> None:
    figures = headline(Hits(np.array([[5, 0]]), np.array([10, 10]), np.arange(2)))
    assert figures.last == 0.5
    assert math.isnan(figures.harmonic)
    assert math.isnan(figures.forgetting)


def test_a_run_without_a_session_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one session"):
        headline(Hits(np.zeros((0, 2), int), np.ones(2, int), np.arange(2)))
