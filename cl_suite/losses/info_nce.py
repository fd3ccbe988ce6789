"""InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) and its symmetric form, the CLIP loss.

CLIP: Radford et al., ICML 2021, arXiv 2103.00020. The loss of LiT (Zhai et al., CVPR 2022, arXiv
2111.07991) is CLIP's with `z1` from a frozen network: pass features without gradient. The loss of
Three Towers (Kossen et al., NeurIPS 2023, arXiv 2305.16999) is the mean of CLIP's over three pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_temperature, check_views, unit_rows
from cl_suite.losses.kernel import Reduction, contrast


def info_nce_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    extra_negatives: Tensor | None = None,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over the rows `i` of `-log softmax_j(z1_i . z2_j / t)` at `j = i`.

    Args:
        z1: `(batch, dim)` anchors.
        z2: `(batch, dim)` keys; row i is the positive of anchor i, the rest are its negatives.
        temperature: `t`; for a learned temperature pass `log_temperature.exp()`.
        extra_negatives: `(batch, extra, dim)` further negatives per anchor, such as hard texts.
        reduction: "mean", "sum", or "none": `(batch,)`.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or a single sample has no negatives.
    """
    check_views(z1, z2, smallest_batch=2 if extra_negatives is None else 1)
    check_temperature(temperature)
    own = torch.arange(len(z1), device=z1.device)  # column of each anchor's positive
    extra = None
    if extra_negatives is not None:
        if extra_negatives.dim() != 3 or extra_negatives.shape[::2] != z1.shape:
            raise ValueError(
                f"extra_negatives have shape {tuple(extra_negatives.shape)}; pass "
                f"({len(z1)}, extra, {z1.shape[1]})"
            )
        extra = unit_rows(extra_negatives.flatten(0, 1), normalize=normalize)
        extra = extra.view(extra_negatives.shape)
        own = own + extra.shape[1]
    return contrast(
        unit_rows(z1, normalize=normalize),
        unit_rows(z2, normalize=normalize),
        positive=own,
        temperature=temperature,
        extra_keys=extra,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def clip_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean of `info_nce_loss` from `z1` to `z2` and from `z2` to `z1`.

    The arguments are those of `info_nce_loss`; both views receive a gradient.
    """
    forth, back = (
        info_nce_loss(
            anchors,
            keys,
            temperature=temperature,
            reduction=reduction,
            normalize=normalize,
            chunk_size=chunk_size,
        )
        for anchors, keys in ((z1, z2), (z2, z1))
    )
    return (forth + back) / 2
