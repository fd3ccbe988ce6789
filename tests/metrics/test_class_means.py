"""Class means that leave a sample out, and the spread of features."""

from __future__ import annotations

import numpy as np
import pytest

from cl_suite.metrics.class_means import left_out_hits, mean_cosine


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def one_by_one(features: np.ndarray, labels: np.ndarray) -> list[bool]:
    """The same, by learning all class means again without each sample."""
    hits = []
    for row, x in enumerate(features):
        rest = np.arange(len(features)) != row
        means = {c: features[rest & (labels == c)].mean(axis=0) for c in set(labels[rest])}
        hits.append(max(means, key=lambda c: cosine(x, means[c])) == labels[row])
    return hits


def test_hits_by_hand() -> None:
    # the last sample lies at class 0, so the one before it is alone in its class
    features = np.array([[1.0, 0.0], [4.0, 0.4], [0.0, 1.0], [1.0, 0.0]])
    assert left_out_hits(features, np.array([0, 0, 1, 1])).tolist() == [True, True, False, False]


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_equals_leaving_out_one_by_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(5, size=40) * 3 + 1
    centres = generator.normal(size=(20, 6))
    features = centres[labels] + 1.2 * generator.normal(size=(40, 6))
    expected = one_by_one(features, labels)
    assert left_out_hits(features, labels).tolist() == expected
    assert 0 < sum(expected) < 40


def test_a_class_of_one_sample_is_a_miss() -> None:
    features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    assert left_out_hits(features, np.array([0, 0, 1])).tolist() == [True, True, False]


def test_samples_that_are_not_finite_are_misses() -> None:
    features = np.array([[1.0, 0.0], [1.0, np.nan], [1.0, 0.1], [0.0, 1.0], [0.0, 2.0]])
    found = left_out_hits(features, np.array([0, 0, 0, 1, 1]))
    assert found.tolist() == [True, False, True, True, True]


def test_equal_features_are_never_right() -> None:
    # rounding must not tell the classes apart
    x = np.random.default_rng(0).normal(size=(1, 7))
    assert not left_out_hits(np.repeat(x, 40, axis=0), np.arange(40) % 8).any()


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    features = np.random.default_rng(0).normal(size=(9, 4))
    pairs = [cosine(a, b) for i, a in enumerate(features) for j, b in enumerate(features) if i != j]
    assert mean_cosine(features) == pytest.approx(np.mean(pairs))
    assert mean_cosine(np.outer(np.arange(1, 6), np.ones(3))) == pytest.approx(1)
    assert mean_cosine(np.zeros((4, 3))) == 1
    assert mean_cosine(np.eye(3)[[0, 0]] * [[0], [1]]) == 0
