"""Decoupled contrastive loss (Yeh et al., ECCV 2022, arXiv 2110.06848), DCL and DCLW.

NT-Xent without the positive in the denominator. Each gradient of NT-Xent has the factor `1 - p`,
with `p` the positive's share of the softmax. It vanishes in small batches; DCL does not have it.
For each view `NT-Xent = softplus(DCL)`. The value can be negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_temperature, check_views, stack_views, unit_rows
from cl_suite.losses.kernel import Reduction, both, contrast, differ, reduce, same


def dcl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    weight_sigma: float | None = None,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over all `2 batch` views `i`, with `p` the other view of its sample, of

        -w s_ip / t + log sum_{j: other samples} exp(s_ij / t)

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        temperature: `t`.
        weight_sigma: None for `w = 1`; else DCLW, `w = 2 - batch softmax(s_ip / sigma)` over the
            samples, which favours distant pairs; the paper uses 0.5.
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the views do not match each other or show only one sample.
    """
    check_views(z1, z2)
    check_temperature(temperature)
    z1, z2 = unit_rows(z1, normalize=normalize), unit_rows(z2, normalize=normalize)
    rows, samples, numbers = stack_views(z1, z2)
    values = contrast(
        rows,
        rows,
        positive=both(same(samples, samples), differ(numbers, numbers)),
        denominator=differ(samples, samples),
        temperature=temperature,
        reduction="none",
        chunk_size=chunk_size,
    )
    if weight_sigma is not None:
        check_temperature(weight_sigma, "weight_sigma")
        cosine = (z1 * z2).sum(dim=1)  # (batch,)
        weight = 2 - len(z1) * (cosine.detach() / weight_sigma).softmax(dim=0)
        values = values + ((1 - weight) * cosine / temperature).repeat(2)
    return reduce(values, torch.ones_like(values), reduction)
