"""Gaussian process regression on points known only by their pairwise distances.

The kernel is `k = v exp(-d^2 / (2 l^2))` with noise, and targets are centred. Variance, length and
noise maximise the evidence (Rasmussen and Williams, 2006, eq. 2.23 to 2.30).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.stats import norm

Array = NDArray[np.float64]
BOUNDS = (1e-6, 1e4)  # of each of the three numbers


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process with fixed kernel parameters.

    Args:
        variance, length: `v` and `l` of the kernel.
        noise: variance of an observation around the function.
    """

    variance: float = 1.0
    length: float = 1.0
    noise: float = 0.01

    def kernel(self, distances: Array) -> Array:
        """Return the covariances of function values at these distances."""
        covariances: Array = self.variance * np.exp(-0.5 * (distances / self.length) ** 2)
        return covariances

    def predict(self, distances: Array, targets: Array, to_new: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation `(m,)` of observations at new points, with noise.

        Args:
            distances: of the observed points, `(n, n)`.
            targets: observed values `(n,)`.
            to_new: distances of new points to the observed ones, `(m, n)`.
        """
        mean = targets.mean()
        factor = self._factor(distances)
        cross = self.kernel(to_new)
        centre: Array = mean + cross @ cho_solve(factor, targets - mean)
        variance = self.variance - (cross * cho_solve(factor, cross.T).T).sum(1)
        return centre, np.sqrt(np.maximum(variance, 0) + self.noise)

    def log_evidence(self, distances: Array, targets: Array) -> float:
        """Return the log-density of the centred targets `(n,)`."""
        centred = targets - targets.mean()
        factor = self._factor(distances)
        fit = centred @ cho_solve(factor, centred)
        volume = 2 * np.log(np.diag(factor[0])).sum()
        return float(-0.5 * (fit + volume + len(centred) * math.log(2 * math.pi)))

    def _factor(self, distances: Array) -> tuple[Array, bool]:
        noisy = self.kernel(distances) + self.noise * np.eye(len(distances))
        factor, lower = cho_factor(noisy, lower=True)
        return np.asarray(factor, dtype=np.float64), bool(lower)


def fit(distances: Array, targets: Array) -> GaussianProcess:
    """Maximise the evidence from variance 1, length 1 and noise 0.01; return the process."""

    def cost(logs: Array) -> float:
        return -GaussianProcess(*np.exp(logs)).log_evidence(distances, targets)

    start = np.log([1.0, 1.0, 0.01])
    bounds = [(math.log(BOUNDS[0]), math.log(BOUNDS[1]))] * 3
    found = minimize(cost, start, method="L-BFGS-B", bounds=bounds)
    return GaussianProcess(*(float(value) for value in np.exp(found.x)))


def expected_improvement(mean: Array, deviation: Array, best: float, jitter: float = 1e-3) -> Array:
    """Return how far observations are expected to lie below `best - jitter`, `(m,)`."""
    gap = (best - mean - jitter) / deviation
    improvement: Array = deviation * (gap * norm.cdf(gap) + norm.pdf(gap))
    return improvement


def lower_bound(mean: Array, deviation: Array) -> Array:
    """Return the lower confidence bound of two standard deviations, `(m,)`."""
    return mean - 2 * deviation
