"""Metrics that show whether contrastive features learn or collapse, for logging.

Alignment and uniformity: Wang, Isola, ICML 2020, arXiv 2005.10242. Effective rank: Roy, Vetterli,
EUSIPCO 2007. None has a gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_views, unit_rows


@torch.no_grad()
def alignment(z1: Tensor, z2: Tensor) -> Tensor:
    """Return the mean squared distance of a sample's two unit views; 0 is best, 4 is worst."""
    check_views(z1, z2, smallest_batch=1)
    return (unit_rows(z1) - unit_rows(z2)).square().sum(dim=1).mean()


@torch.no_grad()
def uniformity(z: Tensor, *, sharpness: float = 2.0) -> Tensor:
    """Return the log mean of `exp(-sharpness |a - b|^2)` over pairs of unit rows; 0 at collapse."""
    check_views(z, z)
    squared = torch.pdist(unit_rows(z)).square()
    return (-sharpness * squared).logsumexp(dim=0) - math.log(len(squared))


@torch.no_grad()
def effective_rank(z: Tensor) -> Tensor:
    """Return the exponential of the entropy of the normalised singular values; 1 at collapse."""
    check_views(z, z, smallest_batch=1)
    values = torch.linalg.svdvals(unit_rows(z))
    share = values / values.sum()
    entropy: Tensor = -torch.xlogy(share, share).sum()
    return entropy.exp()


@torch.no_grad()
def positive_and_hardest_cosine(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cosine of a sample's views, and of each `z1` and its nearest other `z2`."""
    check_views(z1, z2)
    with torch.autocast(z1.device.type, enabled=False):
        cosine = unit_rows(z1) @ unit_rows(z2).T
    itself = torch.eye(len(z1), dtype=torch.bool, device=z1.device)
    hardest = cosine.masked_fill(itself, -math.inf).amax(dim=1)
    return cosine.diagonal().mean(), hardest.mean()
