"""NT-Xent, the loss of SimCLR (Chen et al., ICML 2020, arXiv 2002.05709, eq. 1)."""

from __future__ import annotations

from torch import Tensor

from cl_suite.losses.inputs import check_temperature, check_views, stack_views, unit_rows
from cl_suite.losses.kernel import Reduction, contrast, differ


def nt_xent_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over all `2 batch` views `i`, with `p` the other view of its sample, of

        -s_ip / t + log sum_{j != i} exp(s_ij / t)

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views; row i shows the sample of `z1`'s row i.
        temperature: `t`; 0.5 suits small images, 0.1 large batches.
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the views do not match each other or show only one sample.

    Example:
        >>> import torch
        >>> round(nt_xent_loss(torch.ones(4, 3), torch.ones(4, 3)).item(), 4)  # log 7
        1.9459
    """
    check_views(z1, z2)
    check_temperature(temperature)
    rows, _, numbers = stack_views(
        unit_rows(z1, normalize=normalize), unit_rows(z2, normalize=normalize)
    )
    return contrast(
        rows,
        rows,
        positive=numbers.roll(len(z1)),  # the other view of its sample
        denominator=differ(numbers, numbers),
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )
