"""Calibrators: correct class statistics of few samples with those of similar base classes.

A mean of five samples is inaccurate, and a covariance of five is nearly useless. Base classes have
many samples, and similar classes have similar moments. With `w` the softmax over base classes of
the cosine between means:

    mean        TEEN (Wang et al., NeurIPS 2023, arXiv 2312.05229): a step towards `sum_b w_b u_b`
    covariance  as in RCAL (Zhang et al., ICCV 2023, arXiv 2211.10955) and distribution calibration
                (Yang et al., ICLR 2021, arXiv 2101.06395): a mixture with `sum_b w_b S_b`

The share of the borrowed covariance, `n0 / (n + n0)` at `n` samples, is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.features.stats import ClassStats


@dataclass(frozen=True)
class Calibrator:
    """Both calibrations in one: `calibrate(new, base)` returns the corrected statistics.

    Args:
        softmax_t: sharpness of the weights over base classes.
        shift_weight: share of the base part in a mean, in [0, 1].
        prior_count: `n0`, the number of samples that the borrowed covariance counts as.
        top_k: number of most similar base classes to use; None for all.
    """

    softmax_t: float = 16.0
    shift_weight: float = 0.5
    prior_count: float = 5.0
    top_k: int | None = None

    def calibrate(self, new: ClassStats, base: ClassStats) -> ClassStats:
        """Return `new` with calibrated means, and covariances if both have them by class.

        A scatter that all classes share does not change: it is relative to their own means.
        """
        weights = similarity_weights(new.mean, base.mean, self.softmax_t, self.top_k)
        mean = shifted(new.mean, weights @ base.mean, self.shift_weight)
        if new.kind in ("none", "shared"):
            return replace(new, total=mean * new.count[:, None])
        borrowed = torch.tensordot(weights, base.covariance, dims=1)
        share = self.prior_count / (new.count + self.prior_count)
        own_known = (new.count > 1).to(share)
        # a single sample has no covariance, so all of it is borrowed
        share = (share * own_known + 1 - own_known).view(-1, *[1] * (borrowed.dim() - 1))
        return new.with_moments(mean, (1 - share) * new.covariance + share * borrowed)


def similarity_weights(
    new: Tensor, base: Tensor, softmax_t: float, top_k: int | None = None
) -> Tensor:
    """Return `softmax_b(t cos(new_n, base_b))`, `(num_new, num_base)`.

    Args:
        new, base: means `(num_new, dim)` and `(num_base, dim)`, of any length.
        top_k: number of most similar base classes to use; the others' weights are zero.
    """
    cosines = F.normalize(new) @ F.normalize(base).T
    if top_k is not None and top_k < len(base):
        kept = cosines.topk(top_k, dim=1)
        cosines = torch.full_like(cosines, -torch.inf).scatter(1, kept.indices, kept.values)
    return torch.softmax(softmax_t * cosines, dim=1)


def shifted(new: Tensor, borrowed: Tensor, shift_weight: float) -> Tensor:
    """Return the mixture `(1 - a) new + a borrowed`."""
    return (1 - shift_weight) * new + shift_weight * borrowed


def calibrate_directions(
    new: Tensor, base: Tensor, *, softmax_t: float, shift_weight: float, normalize_delta: bool
) -> Tensor:
    """Return new prototypes pulled towards the base prototypes that resemble them (TEEN).

    All vectors are scaled to unit length first.

    Args:
        new: `(num_new, dim)` class means of a few-shot session, of any length.
        base: `(num_base, dim)` base prototypes, of any length.
        normalize_delta: scale the base part to unit length before mixing.

    Returns:
        `(num_new, dim)`, not of unit length (which does not matter to a cosine head).
    """
    delta = similarity_weights(new, base, softmax_t) @ F.normalize(base)
    if normalize_delta:
        delta = F.normalize(delta)
    return shifted(F.normalize(new), delta, shift_weight)
