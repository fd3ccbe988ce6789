"""Continuously weighted contrastive loss (Srinivasa et al., NeurIPS 2023, arXiv 2309.14580).

Like CLIP, but every pair is a positive, weighted by how similar a frozen network finds its two
samples. With weights from a pretrained encoder, a network tuned on five images stays near it.
"""

from __future__ import annotations

from torch import Tensor

from cl_suite.losses.info_nce import info_nce_loss
from cl_suite.losses.inputs import check_temperature, check_views, unit_rows
from cl_suite.losses.kernel import Reduction, contrast


def cwcl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    frozen: Tensor,
    temperature: float | Tensor = 0.07,
    symmetric: bool = True,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over the rows `i`, with `w_ij = (1 + cos(p_i, p_j)) / 2`, of

        -sum_j w_ij log softmax_j(z1_i . z2_j / t) / sum_j w_ij

    Args:
        z1: `(batch, dim)` anchors.
        z2: `(batch, dim)` keys.
        frozen: `(batch, any dim)` rows `p`, features of the frozen network; without gradient.
        temperature: `t`.
        symmetric: average the result with `info_nce_loss` from `z2` to `z1`.
        reduction: "mean", "sum", or "none": `(batch,)`.
        normalize: scale the rows of `z1` and `z2` to unit length (those of `frozen` always are).
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other.
    """
    check_views(z1, z2)
    check_temperature(temperature)
    if frozen.dim() != 2 or len(frozen) != len(z1):
        raise ValueError(
            f"frozen has shape {tuple(frozen.shape)}; pass ({len(z1)}, dim), one row per sample"
        )
    prior = unit_rows(frozen.detach())

    def alike(rows: slice) -> Tensor:
        # rounding could make the weight of opposite rows negative
        return ((1 + prior[rows] @ prior.T) / 2).clamp(min=0.0)

    values = contrast(
        unit_rows(z1, normalize=normalize),
        unit_rows(z2, normalize=normalize),
        positive=alike,
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )
    if not symmetric:
        return values
    back = info_nce_loss(
        z2,
        z1,
        temperature=temperature,
        reduction=reduction,
        normalize=normalize,
        chunk_size=chunk_size,
    )
    return (values + back) / 2
