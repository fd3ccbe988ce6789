"""A head that learns by streaming ridge regression on random features: exact in any sample order.

With `h(x) = relu(x R)` for a fixed random matrix `R` (Huang et al., Neurocomputing 2006; for
continual learning RanPAC, McDonnell et al., NeurIPS 2023, arXiv 2307.02251), `w_i` the weight of a
sample and `y_i` its one-hot label,

    A = sum_i w_i h_i h_i^T,   Q = sum_i w_i h_i y_i^T,   scores(x) = h(x) (A + r I)^-1 Q

`A` and `Q` are running sums, so old data is never needed again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.feature_transform import FeatureTransform

CHUNK = 4096  # samples projected at once


class RidgeHead(ClassHead):
    """Ridge regression onto one-hot labels; a row is a class's column of `Q`.

    A session costs `O(n M^2)` for its `n` samples and `O(M^3)` for one inverse of the `M x M`
    matrix. The cost does not depend on the number of classes: we keep `(A + r I)^-1` and multiply
    by `Q` when scoring, at `O(M^2)` a scored sample.

    Until the first `solve` the score is the cosine in the space of `h`, so a network can be trained
    through it.

    Args:
        dim: width of a feature.
        num_projections: `M`; 0 uses the features themselves as `h`.
        seed: seed of the random matrix.
        balanced: weigh a sample by one over its class's samples in its session, instead of 1.
        temperature: factor on the cosine before the first `solve`.
    """

    projection: Tensor
    gram: Tensor
    sums: Tensor
    inverse: Tensor
    row_tensors = ("sums",)

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        num_projections: int = 2048,
        seed: int = 0,
        balanced: bool = True,
        temperature: float = 16.0,
        transform: FeatureTransform | None = None,
    ) -> None:
        super().__init__(num_projections or dim, num_classes, transform)
        self.balanced = balanced
        self.temperature = temperature
        matrix = torch.empty(0, 0)
        if num_projections:
            generator = torch.Generator().manual_seed(seed)
            matrix = torch.randn(dim, num_projections, generator=generator) / dim**0.5
        self.register_buffer("projection", matrix)
        # sums of many numbers of one sign: in float64, order and split do not matter
        self.register_buffer("gram", torch.empty(0, 0, dtype=torch.float64))
        self.register_buffer("sums", torch.empty(0, self.dim, dtype=torch.float64))
        self.register_buffer("inverse", torch.empty(0, 0))

    def projected(self, features: Tensor) -> Tensor:
        """Return `h` `(n, M)` of transformed features `(n, dim)`."""
        return F.relu(features @ self.projection) if self.projection.numel() else features

    @torch.no_grad()
    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Add a session's features `(n, dim)`, as the backbone gives them, to the sums.

        A class that appears in several sessions counts once in each.
        """
        class_ids, row = torch.unique(labels, return_inverse=True)
        classes: list[int] = class_ids.tolist()
        self.grow(classes)
        weights = torch.ones_like(row, dtype=torch.float64)
        if self.balanced:
            weights = 1 / torch.bincount(row).double()[row]
        if not self.gram.numel():
            self.gram = self.gram.new_zeros(self.dim, self.dim)
        added = self.sums.new_zeros(len(classes), self.dim)
        for start in range(0, len(labels), CHUNK):
            rows = slice(start, start + CHUNK)
            h = self.projected(self.transformed(features[rows])).double()
            weighted = weights[rows, None] * h
            self.gram += h.T @ weighted
            added.index_add_(0, row[rows], weighted)
        self.sums[self.index(classes)] += added
        self.set_rows(classes, self.sums[self.index(classes)])

    @torch.no_grad()
    def solve(self, ridge: float) -> None:
        """Update the scores to everything learned so far.

        Args:
            ridge: `r` in units of the mean eigenvalue of `A`.
        """
        inverse = torch.cholesky_inverse(ridge_factor(self.gram, ridge))
        # in row order, as loaded from a file: another order rounds differently
        self.inverse = inverse.to(self.weight).contiguous()

    def query(self, features: Tensor) -> Tensor:
        return self.projected(features) @ self.inverse

    def keys(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows, rows.new_zeros(len(rows))

    def scores(self, features: Tensor) -> Tensor:
        if not self.inverse.numel():
            h = self.projected(features)
            return self.temperature * F.linear(F.normalize(h), F.normalize(self.weight))
        return F.linear(self.query(features), self.weight)


def ridge_factor(gram: Tensor, ridge: float) -> Tensor:
    """Return the Cholesky factor of `A + r tr(A) / M I` for a Gram matrix `(M, M)`."""
    scale = gram.diagonal().mean()
    scale = torch.where(scale > 0, scale, 1.0)
    factor: Tensor = torch.linalg.cholesky(gram + ridge * scale * torch.eye(len(gram)).to(gram))
    return factor
