"""Whitens feature space by the spread of the base session's images within their classes."""

from __future__ import annotations

from torch import Tensor

from cl_suite.features.stats import ClassStats, class_stats
from cl_suite.models.heads.feature_transform import (
    FeatureTransform,
    shrunk,
    unit_power,
    whitening_matrix,
)


def base_spread(features: Tensor, labels: Tensor, power: float) -> ClassStats:
    """Return the statistics of the base session that whitening rests on.

    Args:
        features, labels: the base session's, `(n, dim)` and `(n,)`.
        power: exponent of the features' magnitudes; unit length follows.
    """
    return class_stats(unit_power(features, power), labels, kind="shared")


def fit_whitening(
    transform: FeatureTransform, spread: ClassStats, power: float, shrinkage: float
) -> None:
    """Fit a transform: power, the base session's mean, and its within-class covariance.

    Args:
        spread: what `base_spread` returned for this power.
        shrinkage: share of the mean variance in every direction, in [0, 1]; 1 leaves directions as
            they are.
    """
    whitening = None
    if shrinkage < 1:
        whitening = whitening_matrix(shrunk(spread.covariance, shrinkage))
    centre = spread.total.sum(0) / spread.count.sum()
    transform.fit(power=power, centre=centre, whitening=whitening)
