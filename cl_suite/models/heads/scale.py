"""The factor on scores that makes probabilities of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DEFAULT_SCALE = 16.0  # the strategies' own, of cosines
MOST_STEPS = 60


def fitted_scale(
    scores: Tensor, columns: Tensor, weights: Tensor | None = None, default: float = DEFAULT_SCALE
) -> float:
    """Return the factor on scores `(n, num_classes)` with the smallest negative log-likelihood.

    It is convex in the factor, so Newton's steps find it; a step that leaves the bracket is
    replaced by the bracket's middle.

    Args:
        columns: `(n,)` each one's class.
        weights: `(n,)` of mean 1; all equal by default.
        default: returned if no score differs from another.
    """
    scores = scores - scores.max(dim=1, keepdim=True).values
    spread = -float(scores.mean())
    if not math.isfinite(spread) or spread <= 0:
        return default
    share = (torch.ones(len(scores)) if weights is None else weights).to(scores) / len(scores)
    own = float(share @ scores.gather(1, columns[:, None].to(scores.device))[:, 0])
    # one example more, whose class is drawn by chance
    wanted = (own * len(scores) + float(share @ scores.mean(1))) / (len(scores) + 1)
    low, high = 0.1 / spread, 1000 / spread
    scale = math.sqrt(low * high)
    for _ in range(MOST_STEPS):
        probabilities = (scale * scores).softmax(dim=1)
        means = (probabilities * scores).sum(1)
        variances = (probabilities * scores.square()).sum(1) - means.square()
        slope, curvature = float(share @ means) - wanted, float(share @ variances)
        low, high = (low, scale) if slope > 0 else (scale, high)
        step = scale - slope / curvature if curvature > 0 else 0.0
        last, scale = scale, step if low < step < high else math.sqrt(low * high)
        if abs(math.log(scale / last)) < 1e-4:
            break
    return scale
