"""Model-aware contrastive loss (Huang et al., ICML 2023, arXiv 2207.07874).

NT-Xent with two changes. First, the temperature grows with the alignment `A`, the mean cosine of
positives, `t = t0 (1 + alpha (A - A0))`: an aligned model is softer on negatives that resemble the
anchor. Second, a view has the weight `1 / (1 - p)`, with `p` the positive's share of the softmax.
Neither has a gradient. With `alpha = 0` the gradient, but not the value, is that of `dcl_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_temperature, check_views, unit_rows
from cl_suite.losses.kernel import Reduction, reduce
from cl_suite.losses.nt_xent import nt_xent_loss

SMALLEST_REST = 1e-6  # of 1 - p, which float32 rounds to 0 below 6e-8


def macl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.1,
    alpha: float = 0.5,
    neutral_alignment: float = 0.0,
    reweight: bool = True,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over all `2 batch` views of the weighted NT-Xent.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        temperature: `t0`.
        alpha: how strongly the alignment changes the temperature, in [0, 1].
        neutral_alignment: `A0` in [0, 1], the alignment at which the temperature is `t0`.
        reweight: whether to weight by `1 / (1 - p)`.
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the views do not match each other, or a setting is out of range.
    """
    check_views(z1, z2)
    check_temperature(temperature)
    for name, value in (("alpha", alpha), ("neutral_alignment", neutral_alignment)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {value}")
    z1, z2 = unit_rows(z1, normalize=normalize), unit_rows(z2, normalize=normalize)
    alignment = (z1.detach() * z2.detach()).sum(dim=1).mean()
    # with opposite views and alpha = 1 it would be 0
    growth = (1 + alpha * (alignment - neutral_alignment)).clamp(min=0.01)
    values = nt_xent_loss(
        z1,
        z2,
        temperature=temperature * growth,
        reduction="none",
        normalize=False,
        chunk_size=chunk_size,
    )
    if reweight:
        rest = -torch.expm1(-values.detach())  # 1 - p
        values = values / rest.clamp(min=SMALLEST_REST)
    return reduce(values, torch.ones_like(values), reduction)
