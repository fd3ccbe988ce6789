"""The Gaussian process of the suffix search: oracle O5, and an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from cl_suite.methods.modular.gaussian_process import (
    GaussianProcess,
    expected_improvement,
    fit,
    lower_bound,
)

DISTANCES = np.array([[0.0, 1.0], [1.0, 0.0]])
TARGETS = np.array([0.2, 0.8])
TO_QUERY = np.array([[0.1, 1.0]])


def points(seed: int, num: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, 2))


def mutual(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def test_o5_mean_and_deviation_of_a_query() -> None:
    mean, deviation = GaussianProcess(1.0, 1.0, 0.01).predict(DISTANCES, TARGETS, TO_QUERY)
    assert mean[0] == pytest.approx(0.211144, abs=5e-7)
    assert deviation[0] == pytest.approx(0.172126, abs=5e-7)
    assert np.sqrt(deviation[0] ** 2 - 0.01) == pytest.approx(0.140097, abs=5e-7)


def test_o5_lower_bound_and_expected_improvement() -> None:
    mean, deviation = GaussianProcess(1.0, 1.0, 0.01).predict(DISTANCES, TARGETS, TO_QUERY)
    assert lower_bound(mean, deviation)[0] == pytest.approx(-0.133107, abs=5e-7)
    assert expected_improvement(mean, deviation, 0.2)[0] == pytest.approx(0.062767, abs=5e-7)
    latent = np.sqrt(deviation**2 - 0.01)
    assert expected_improvement(mean, latent, 0.2)[0] == pytest.approx(0.050029, abs=5e-7)


def test_it_predicts_as_scikit_learn_does() -> None:
    seen, new = points(0, 6), points(1, 4)
    targets = np.sin(seen[:, 0])
    process = GaussianProcess(0.7, 1.3, 0.05)
    mean, deviation = process.predict(mutual(seen, seen), targets, mutual(new, seen))
    kernel = ConstantKernel(0.7) * RBF(1.3) + WhiteKernel(0.05)
    theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=0)
    theirs.fit(seen, targets - targets.mean())
    expected, expected_deviation = theirs.predict(new, return_std=True)
    assert mean == pytest.approx(expected + targets.mean())
    assert deviation == pytest.approx(expected_deviation)
    evidence = process.log_evidence(mutual(seen, seen), targets)
    assert evidence == pytest.approx(theirs.log_marginal_likelihood_value_)


def test_fitting_raises_the_evidence() -> None:
    seen = points(2, 12)
    targets = np.sin(3 * seen[:, 0])
    distances = mutual(seen, seen)
    before = GaussianProcess().log_evidence(distances, targets)
    assert fit(distances, targets).log_evidence(distances, targets) > before + 1


def test_points_at_no_distance_can_be_fitted() -> None:
    process = fit(np.zeros((3, 3)), np.array([0.1, 0.2, 0.4]))
    mean, deviation = process.predict(np.zeros((3, 3)), np.array([0.1, 0.2, 0.4]), np.zeros((1, 3)))
    assert np.isfinite([*mean, *deviation]).all()


def test_a_sure_loss_is_no_improvement() -> None:
    gain = expected_improvement(np.array([1.0]), np.array([0.01]), best=0.2)
    assert gain[0] == pytest.approx(0, abs=1e-12)
