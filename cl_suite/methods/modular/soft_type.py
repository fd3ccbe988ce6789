"""Soft types: Gaussians over a module's randomly projected inputs.

Their covariances are shrunk, or the plain ones of the samples, as in the authors' program. A plain
one of `n` points in `dim` dimensions is singular if `n <= dim`, and its density is made of rounding
errors. The program then stops if its determinant is negative or zero. Here such a density is
computed with the determinant's absolute value, as in the program without its assertion. If it has
none, because the determinant is exactly zero, the shrunk covariance takes its place.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Covariance = Literal["paper", "shrunk"]
FLOOR = 1e-6  # variance added in every direction: constant activations have none


def project(points: Tensor, dim: int) -> Tensor:
    """Return points `(n, ...)` flattened and projected at random to `(n, dim)`, in double.

    Equal widths always get the same projection (entries `N(0, 1 / dim)`), so modules of one type
    can be compared. Points of at most `dim` numbers stay unchanged.
    """
    flat = points.flatten(1).double()
    width = flat.shape[1]
    if width <= dim:
        return flat
    generator = torch.Generator().manual_seed(width)
    matrix = torch.randn(width, dim, generator=generator, dtype=torch.float64) / math.sqrt(dim)
    return flat @ matrix.to(flat.device)


def fit(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean `(dim,)` and covariance `(dim, dim)` of points `(n, dim)`.

    The sample covariance (divided by n - 1) is shrunk towards a multiple of the identity by the
    share `dim / (n + dim)`. With few points it is singular, and the density of a singular Gaussian
    depends on rounding errors.
    """
    num, dim = points.shape
    mean = points.mean(0)
    centred = points - mean
    sample = centred.T @ centred / max(num - 1, 1)
    share = dim / (num + dim)
    identity = torch.eye(dim, dtype=points.dtype, device=points.device)
    spread = sample.diagonal().mean()
    return mean, (1 - share) * sample + (share * spread + FLOOR) * identity


def log_densities(points: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return the Gaussian log-density `(n,)` of points `(n, dim)`."""
    factor = torch.linalg.cholesky(covariance)
    centred = torch.linalg.solve_triangular(factor, (points - mean).T, upper=False)
    log_volume = factor.diagonal().log().sum()
    densities: Tensor = (
        -0.5 * (centred.square().sum(0) + len(mean) * math.log(2 * math.pi)) - log_volume
    )
    return densities


def sample_covariance(points: Tensor) -> Tensor:
    """Return the covariance `(dim, dim)` of points `(n, dim)`, not shrunk; zero for one point.

    Like `sample_log_densities` it uses NumPy, as the program does, so rounding errors are the same.
    """
    num, dim = points.shape
    if num == 1:
        return points.new_zeros(dim, dim)
    found = np.cov(points.cpu().numpy(), rowvar=False, ddof=1).reshape(dim, dim)
    return torch.from_numpy(found).to(points)


def sample_log_densities(points: Tensor, mean: Tensor, covariance: Tensor) -> Tensor | None:
    """Return the log-density `(n,)` of points `(n, dim)` by determinant and inverse.

    None if the covariance has no inverse. Unlike `log_densities`, it takes one that is not positive
    definite because of rounding.
    """
    x, matrix = (points - mean).cpu().numpy(), covariance.cpu().numpy()
    try:
        _, log_determinant = np.linalg.slogdet(matrix)
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return None
    squares = (x * (inverse @ x.T).T).sum(1)
    densities = -0.5 * (squares + log_determinant + x.shape[1] * math.log(2 * math.pi))
    return torch.from_numpy(densities).to(points) if np.isfinite(densities).all() else None


def log_prior(accuracies: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities `(n,)` of soft types from their problems' accuracies `(n,)`."""
    return (accuracies / temperature).log_softmax(0)
