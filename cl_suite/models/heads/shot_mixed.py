"""A Gaussian head that trusts a class's covariance the more, the more shots the class has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.feature_transform import FeatureTransform
from cl_suite.models.heads.gaussian import GaussianHead, Shape


class ShotMixedHead(GaussianHead):
    """Mixes Gaussian log-likelihood and cosine: `w_k z(g(x))_k + (1 - w_k) z(c(x))_k`.

    `g` is the score of `GaussianHead`, `c` the cosine to the means, `z` standardises an image's
    scores over the classes, and `w_k` follows from the class's shots (see `shot_shares`).

    Args:
        midpoint: shots at which both count alike.
        width: shots over which that changes.
    """

    shots: Tensor
    row_tensors = ("factors", "shots")

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        shape: Shape = "shared",
        temperature: float = 16.0,
        transform: FeatureTransform | None = None,
        *,
        midpoint: float = 10.0,
        width: float = 5.0,
    ) -> None:
        super().__init__(dim, num_classes, shape, temperature, transform)
        self.midpoint = midpoint
        self.width = width
        self.register_buffer("shots", torch.empty(0))

    def set_shots(self, class_ids: Sequence[int], counts: Tensor) -> None:
        """Set the number of samples `(num,)` from which these learned classes come."""
        self.shots[self.index(class_ids)] = counts.to(self.shots)

    def scores(self, features: Tensor) -> Tensor:
        gaussian = super().scores(features)
        if not self.is_set.numel():
            return gaussian
        cosines = F.linear(F.normalize(features), F.normalize(self.weight))
        return mixed_scores(gaussian, cosines, shot_shares(self.shots, self.midpoint, self.width))


def shot_shares(shots: Tensor, midpoint: float, width: float) -> Tensor:
    """Return each class's share of the Gaussian score, `sigmoid((shots - midpoint) / width)`.

    Example:
        >>> shot_shares(torch.tensor([5.0, 10.0, 500.0]), 10, 5)
        tensor([0.2689, 0.5000, 1.0000])
    """
    return torch.sigmoid((shots - midpoint) / width)


def mixed_scores(gaussian: Tensor, cosines: Tensor, shares: Tensor) -> Tensor:
    """Return mixed scores `(batch, num_classes)` of two kinds, each standardised over the classes.

    Args:
        shares: `(num_classes,)` of the first kind.
    """
    return shares * standardised(gaussian) + (1 - shares) * standardised(cosines)


def standardised(scores: Tensor) -> Tensor:
    """Return scores `(batch, num_classes)` of mean 0 and variance 1 in a row, or 0 if all equal."""
    centred = scores - scores.mean(dim=1, keepdim=True)
    scale = centred.square().mean(dim=1, keepdim=True).sqrt()
    return centred / torch.where(scale > 0, scale, 1.0)
