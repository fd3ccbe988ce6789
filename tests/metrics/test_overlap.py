import numpy as np
import pytest

from cl_suite.metrics.overlap import base_overlap


def test_the_largest_cosine_counts_for_each_new_class() -> None:
    base = np.array([[2.0, 0.0], [0.0, 1.0]])
    new = np.array([[0.6, 0.8], [1.0, 0.0]])  # nearest: 0.8 and 1
    assert base_overlap(base, new) == pytest.approx(0.9)


def test_lengths_play_no_part() -> None:
    source = np.random.default_rng(0)
    base, new = source.normal(size=(5, 3)), source.normal(size=(4, 3))
    scaled = base_overlap(base * source.uniform(1, 9, (5, 1)), new * 7)
    assert scaled == pytest.approx(base_overlap(base, new))


def test_without_new_classes_there_is_none() -> None:
    assert np.isnan(base_overlap(np.ones((2, 2)), np.ones((0, 2))))
