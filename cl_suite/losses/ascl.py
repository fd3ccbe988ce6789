"""Adaptive soft contrastive learning (Feng, Patras, ICPR 2022, arXiv 2207.11163).

MoCo in which queue rows near the teacher's key are positives too. Let `p` be the softmax of the
teacher's key over the queue. The teacher's confidence is `c = 1 - H(p) / log(rows)`. The anchor's
own key has the weight 1, and row j of the queue has `min(1, neighbours c p_j)`. With an unsure
teacher the loss reduces to MoCo. The teacher should see a weakly augmented view. If the queue holds
prototypes of seen classes, the relations of new images to old classes stay soft.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_queue, check_temperature, check_views, unit_rows
from cl_suite.losses.kernel import Mask, Reduction, contrast
from cl_suite.losses.moco import moco_loss

Variant = Literal["soft", "adaptive_hard", "hard"]


def ascl_loss(
    z1: Tensor,
    teacher2: Tensor,
    *,
    queue: Tensor,
    temperature: float | Tensor = 0.1,
    teacher_temperature: float = 0.05,
    neighbours: int = 1,
    variant: Variant = "soft",
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean cross-entropy of the queries with the weights, scaled to sum to 1.

    Args:
        z1: `(batch, dim)` queries.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        queue: `(rows, dim)` past keys; without gradient. If it is empty, the loss is `moco_loss`.
        temperature: of the queries' softmax.
        teacher_temperature: of the teacher's softmax.
        neighbours: number of queue rows that may count as positives; 0 is `moco_loss`.
        variant: "soft" as above; "adaptive_hard" gives the nearest `neighbours` rows the weight
            `c`, and "hard" the weight 1; other rows get 0.
        reduction: "mean", "sum", or "none": `(batch,)`.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or a setting is out of range.
    """
    if neighbours < 0:
        raise ValueError(f"neighbours must be at least 0, got {neighbours}")
    if variant not in ("soft", "adaptive_hard", "hard"):
        raise ValueError(f"variant must be soft, adaptive_hard or hard, got {variant!r}")
    check_temperature(teacher_temperature, "teacher_temperature")
    if not len(queue):
        return moco_loss(
            z1,
            teacher2,
            queue=queue,
            temperature=temperature,
            reduction=reduction,
            normalize=normalize,
            chunk_size=chunk_size,
        )
    check_views(z1, teacher2, smallest_batch=1)
    check_temperature(temperature)
    check_queue(queue, z1)
    z1 = unit_rows(z1, normalize=normalize)
    own = unit_rows(teacher2.detach(), normalize=normalize).to(z1.dtype)
    keys = unit_rows(queue.detach(), normalize=normalize).to(z1.dtype)
    return contrast(
        z1,
        keys,
        extra_keys=own[:, None],
        positive=_soft_positives(own, keys, teacher_temperature, neighbours, variant),
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def _soft_positives(
    own: Tensor, keys: Tensor, temperature: float, neighbours: int, variant: Variant
) -> Mask:
    """Return the weights `(slice, 1 + rows)`, with the anchor's own key first."""

    def weights(rows: slice) -> Tensor:
        logits = own[rows] @ keys.T / temperature
        sure = teacher_confidence(logits)[:, None]
        if variant == "soft":
            near = (neighbours * sure * logits.softmax(dim=1)).clamp(max=1.0)
        else:
            nearest = logits.topk(min(neighbours, len(keys)), dim=1).indices
            near = torch.zeros_like(logits).scatter_(1, nearest, 1.0)
            if variant == "adaptive_hard":
                near = near * sure
        return torch.cat([torch.ones_like(sure), near], dim=1)

    return weights


def teacher_confidence(logits: Tensor) -> Tensor:
    """Return `(n,)`: 1 minus the softmax entropy of `(n, rows)` logits over its maximum.

    With a single row the confidence is 0.
    """
    if logits.shape[1] < 2:
        return logits.new_zeros(len(logits))
    log_share = logits.log_softmax(dim=1)
    entropy = -(log_share.exp() * log_share).sum(dim=1)
    return (1 - entropy / math.log(logits.shape[1])).clamp(0.0, 1.0)
