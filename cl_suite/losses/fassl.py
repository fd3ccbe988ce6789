"""Frequency-aware self-supervised contrast for long tails, after the idea of FASSL.

Lin et al., "Frequency-Aware Self-Supervised Long-Tailed Learning", ICCV workshop 2023, arXiv
2309.04723. The paper has two stages. First, prototypes are learned that reflect the unknown class
frequencies, without labels. Then samples that belong to rare prototypes weigh more.

Reconstructed: only the two stages are theirs for certain. The formulas here are our reading, so
results must not be cited as the paper's:

    a_ik = softmax_k(z_i . p_k / t)       how much sample i belongs to prototype k
    pi   = running mean of a              how frequent prototypes are; not forced to be equal
    w_i  = sum_k a_ik pi_k^-gamma         scaled to a mean of 1, the weight of a sample's NT-Xent

The prototypes learn by a cross-entropy between the views' assignments. All defaults are ours too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.losses.inputs import check_temperature, check_views, unit_rows
from cl_suite.losses.kernel import Reduction, reduce
from cl_suite.losses.nt_xent import nt_xent_loss

SMALLEST_SHARE = 1e-3  # a prototype that no sample belongs to would have an infinite weight


def assignments(z: Tensor, prototypes: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return `a`, `(batch, prototypes)`: a softmax over the cosines with the prototypes."""
    return _logits(z, prototypes, temperature).softmax(dim=1)


def prototype_loss(
    z1: Tensor,
    z2: Tensor,
    prototypes: Tensor,
    *,
    temperature: float = 0.1,
    sharpening: float = 0.5,
) -> Tensor:
    """Return the cross-entropy of the second views' assignment with the first views' sharpened one.

    Args:
        z1: `(batch, dim)` embeddings of the first views; without gradient.
        z2: `(batch, dim)` of the second views.
        prototypes: `(prototypes, dim)`.
        temperature: of the second views' assignment.
        sharpening: factor on the temperature of the first views' assignment, the target.
    """
    check_views(z1, z2, smallest_batch=1)
    target = assignments(z1.detach(), prototypes.detach(), temperature=temperature * sharpening)
    return F.cross_entropy(_logits(z2, prototypes, temperature), target)


def frequency_weights(assigned: Tensor, frequencies: Tensor, exponent: float = 0.5) -> Tensor:
    """Return `w`, `(batch,)`, scaled to a mean of 1.

    Args:
        assigned: `(batch, prototypes)`, see `assignments`.
        frequencies: `(prototypes,)`, `pi`.
        exponent: `gamma`; 0 weighs all samples alike.
    """
    rarity = frequencies.clamp(min=SMALLEST_SHARE) ** -exponent
    weight = (assigned * rarity).sum(dim=1)
    return weight / weight.mean()


def fassl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    weight: Tensor,
    temperature: float | Tensor = 0.5,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return NT-Xent with a weight for each sample.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        weight: `(batch,)`, see `frequency_weights`; without gradient.
        temperature: of the softmax.
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other.
    """
    values = nt_xent_loss(
        z1,
        z2,
        temperature=temperature,
        reduction="none",
        normalize=normalize,
        chunk_size=chunk_size,
    )
    if weight.shape != z1.shape[:1]:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; pass ({len(z1)},), one per sample"
        )
    values = values * weight.detach().repeat(2)
    return reduce(values, weight.new_ones(len(values)), reduction)


def _logits(z: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    check_temperature(temperature)
    # as in the kernel: a bfloat16 exponent would move in steps
    with torch.autocast(z.device.type, enabled=False):
        return unit_rows(z) @ unit_rows(prototypes).T / temperature
