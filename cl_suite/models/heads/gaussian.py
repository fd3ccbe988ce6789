"""A head that scores by Gaussian log-likelihood: linear discriminant analysis and Mahalanobis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.errors import UserError, option
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.feature_transform import (
    FeatureTransform,
    shrunk,
    whitening_matrix,
)

Shape = Literal["shared", "diagonal", "full"]
LARGEST_FULL = 2**27  # most numbers that all full covariances may hold together


class GaussianHead(ClassHead):
    """One Gaussian a class with equal priors; the rows are the means.

    With a covariance `S` shared by all classes, the score is linear discriminant analysis,
    `x S^-1 m_k - m_k S^-1 m_k / 2`, which ranks classes as the Mahalanobis distance does. With one
    covariance a class, diagonal or full, the score is `-(d_k(x)^2 + log det S_k) / 2`.

    Until a covariance is set the score is the cosine, so a network can be trained through it.

    Args:
        shape: form of the covariances.
        temperature: factor on the cosine before a covariance is set.
    """

    shared: Tensor
    factors: Tensor
    is_set: Tensor
    row_tensors: ClassVar[tuple[str, ...]] = ("factors",)

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        shape: Shape = "shared",
        temperature: float = 16.0,
        transform: FeatureTransform | None = None,
    ) -> None:
        super().__init__(dim, num_classes, transform)
        self.shape = shape
        self.temperature = temperature
        # square roots of inverse covariances, so distances are sums of squares
        self.register_buffer("shared", torch.empty(0, 0))
        sizes = {"shared": (0, 0), "diagonal": (0, dim), "full": (0, dim, dim)}
        self.register_buffer("factors", torch.empty(sizes[shape]))
        self.register_buffer("is_set", torch.zeros(0))

    def grow(self, class_ids: Iterable[int]) -> list[int]:
        class_ids = list(class_ids)
        num = len({*self.classes, *class_ids})
        if self.shape == "full" and num * self.dim**2 > LARGEST_FULL:
            raise UserError(
                f"full covariances of {num} classes with {self.dim} features exceed "
                f"{LARGEST_FULL} numbers; pass {option('strategy.covariance', 'diagonal')} or "
                "shared"
            )
        return super().grow(class_ids)

    def set_shared(self, covariance: Tensor, shrinkage: float) -> None:
        """Set the covariance `(dim, dim)` of all classes, shrunk as in `shrunk`."""
        self.shared = whitening_matrix(shrunk(covariance.double(), shrinkage)).to(self.weight)
        self.is_set = self.is_set.new_ones(1)

    def set_covariances(
        self, class_ids: Sequence[int], covariances: Tensor, shrinkage: float
    ) -> None:
        """Set the covariances of learned classes, `(num, dim)` or `(num, dim, dim)` by `shape`."""
        rows = self.index(class_ids)
        if self.shape == "diagonal":
            factors = shrunk_diagonal(covariances.double(), shrinkage).rsqrt()
        else:
            shrunk_ones = [shrunk(covariance.double(), shrinkage) for covariance in covariances]
            factors = torch.stack([whitening_matrix(covariance) for covariance in shrunk_ones])
        self.factors[rows] = factors.to(self.factors)
        self.is_set = self.is_set.new_ones(1)

    def query(self, features: Tensor) -> Tensor:
        return features @ self.shared

    def keys(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the whitened means and `-m S^-1 m / 2`; the covariance must be shared."""
        means = rows @ self.shared
        return means, -means.square().sum(1) / 2

    def scores(self, features: Tensor) -> Tensor:
        if not self.is_set.numel():
            cosines = F.linear(F.normalize(features), F.normalize(self.weight))
            return self.temperature * cosines
        if self.shape == "shared":
            means, offsets = self.keys(self.weight)
            return F.linear(self.query(features), means) + offsets
        if self.shape == "diagonal":
            distances = _diagonal_distances(features, self.weight, self.factors)
            log_factors = self.factors.log().sum(1)
        else:
            parts = zip(self.weight, self.factors, strict=True)
            distances = torch.stack(
                [((features - mean) @ factor).square().sum(1) for mean, factor in parts], dim=1
            )
            log_factors = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        return log_factors - distances / 2


def shrunk_diagonal(variances: Tensor, rate: float) -> Tensor:
    """Return variances `(num, dim)` shrunk towards each row's mean; a row of zeros becomes ones."""
    mean = variances.mean(dim=1, keepdim=True)
    mean = torch.where(mean > 0, mean, 1.0)
    rate = max(rate, 1e-5)
    known = variances.sum(dim=1, keepdim=True) > 0
    return torch.where(known, (1 - rate) * variances + rate * mean, 1.0)


def _diagonal_distances(features: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    # relative to the means' centre: far from zero, the expanded square would lose digits
    centre = means.mean(0)
    x, m, precision = features - centre, means - centre, factors.square()
    cross = F.linear(x, m * precision)
    return F.linear(x.square(), precision) - 2 * cross + (m.square() * precision).sum(1)
