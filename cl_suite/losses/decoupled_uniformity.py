"""Decoupled uniformity with prior knowledge as a kernel (Dufumier et al., ICML 2023).

"Integrating Prior Knowledge in Contrastive Learning with Kernel", arXiv 2206.01646. Only the means
of each sample's views repel each other. The loss has no alignment term: views that disagree have a
short mean, which lies near the others. A kernel of prior knowledge (classes, attributes, similarity
of class names) first smooths the means, so similar samples repel each other less.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_views, unit_rows
from cl_suite.losses.kernel import in_slices, masked_logsumexp, row_slices


def decoupled_uniformity_loss(
    z1: Tensor,
    z2: Tensor,
    *more_views: Tensor,
    prior: Tensor | None = None,
    ridge: float = 0.1,
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return `log mean_{i != j} exp(-|m_i - m_j|^2)`, with `m_i` the mean of sample i's unit views.

    It is one logarithm over all pairs, so there is no `reduction`. The largest value is 0, at
    collapse; the smallest is -4, for two opposite points.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        more_views: `(batch, dim)` each, of further views.
        prior: `(batch, batch)` Gram matrix `K` of the prior knowledge, symmetric and positive
            semi-definite, without gradient; the means become `K (K + batch ridge I)^-1 m`.
        ridge: a larger value trusts the kernel less; 0.01 to 1 is usual.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: samples per slice of the distance matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or `prior` is not such a matrix.
    """
    views = [z1, z2, *more_views]
    for view in views[1:]:
        check_views(z1, view)
    means = torch.stack([unit_rows(view, normalize=normalize) for view in views]).mean(dim=0)
    numbers = torch.arange(len(means), device=means.device)
    with torch.autocast(means.device.type, enabled=False):
        if prior is not None:
            means = _smooth(means, prior.detach().to(means.dtype), ridge)
        squared = means.square().sum(dim=1)

        def of_slice(rows: slice) -> Tensor:
            distance = squared[rows, None] + squared - 2 * means[rows] @ means.T
            return masked_logsumexp(-distance, numbers[rows, None] != numbers)

        slices = row_slices(len(means), len(means), chunk_size)
        per_sample = torch.cat(in_slices(of_slice, slices))
        return per_sample.logsumexp(dim=0) - math.log(len(means) * (len(means) - 1))


def _smooth(means: Tensor, prior: Tensor, ridge: float) -> Tensor:
    num = len(means)
    if prior.shape != (num, num):
        raise ValueError(f"prior has shape {tuple(prior.shape)}; pass ({num}, {num})")
    if ridge < 0:
        raise ValueError(f"ridge must be at least 0, got {ridge}")
    system = prior + num * ridge * torch.eye(num, dtype=prior.dtype, device=prior.device)
    factor, failed_at = torch.linalg.cholesky_ex(system)
    if failed_at != 0:
        raise ValueError(
            f"prior with ridge {ridge} is not positive definite; pass a Gram matrix, or raise ridge"
        )
    return prior @ torch.cholesky_solve(means, factor)
