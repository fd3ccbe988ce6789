"""Outliers of a class: samples so unlike the rest that its statistics are better without them.

RCAL (Zhang et al., "When Noisy Labels Meet Long Tail Dilemmas: A Representation Calibration
Method", ICCV 2023, arXiv 2211.10955) takes the mean and covariance of a class after it has dropped
such samples, because mislabelled ones are among them. Two measures are offered, both on features of
unit length:

    distance  to the class's median, coordinate by coordinate
    lof       the local outlier factor (Breunig et al., SIGMOD 2000): how much thinner the samples
              lie around one than around its neighbours; the paper's measure. It finds scattered
              strangers. Many that come from one other class are dense among themselves, and stay.

The share of the samples that goes, and the number below which a class keeps all, are ours.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cl_suite.features.stats import unit

Measure = Literal["distance", "lof"]
NEIGHBOURS = 20  # of a sample in its local outlier factor, as in scikit-learn


def kept_rows(
    features: Tensor, labels: Tensor, measure: Measure, *, share: float = 0.1, least: int = 10
) -> Tensor:
    """Return which samples are no outliers of their class, bool `(n,)`.

    Args:
        features: `(n, dim)`, of any length.
        labels: `(n,)` class ids.
        share: at most this share of a class is dropped: what lies above that quantile.
        least: classes of fewer samples keep them all.

    Example:
        >>> features = torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [0.0, 1.0]])
        >>> kept_rows(features, torch.zeros(4), "distance", share=0.25, least=4)
        tensor([ True,  True,  True, False])
    """
    kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    scaled = unit(features.double())
    of = median_distances if measure == "distance" else local_outlier_factors
    for class_id in torch.unique(labels):
        rows = torch.nonzero(labels == class_id)[:, 0]
        if len(rows) >= max(least, 2):
            found = of(scaled[rows])
            kept[rows] = found <= found.quantile(1 - share)
    return kept


def median_distances(samples: Tensor) -> Tensor:
    """Return the distance of each of a class's samples `(n, dim)` to their median, `(n,)`."""
    # the mean of the two middle ones, which `median` does not take
    middle = samples.sort(dim=0).values[[(len(samples) - 1) // 2, len(samples) // 2]].mean(0)
    distances: Tensor = (samples - middle).norm(dim=1)
    return distances


def local_outlier_factors(samples: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Return the local outlier factor of each of a class's samples `(n, dim)`, `(n,)`.

    About 1 for a sample among others, larger for one that lies apart.

    Args:
        neighbours: how many of the nearest samples count; all others if there are fewer.
    """
    apart = torch.cdist(samples, samples, compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(torch.inf)
    near, who = apart.topk(min(neighbours, len(samples) - 1), largest=False)
    reach = torch.maximum(near, near[who, -1])  # no nearer than the neighbour's own last one
    density = 1 / (reach.mean(1) + 1e-10)  # copies of one sample have no distance
    factors: Tensor = density[who].mean(1) / density
    return factors
