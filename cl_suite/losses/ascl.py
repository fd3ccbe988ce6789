"""Adaptive soft contrastive learning (Feng, Patras, ICPR 2022, arXiv 2207.11163).

MoCo in which rows of the queue that the teacher finds near are positives too. With `p` the softmax
of the teacher's key over the queue, its confidence is `c = 1 - H(p) / log(rows)`; the own key gets
the weight 1 and row j of the queue `min(1, neighbours c p_j)`. An unsure teacher leaves MoCo. The
teacher should see a weakly augmented view. With prototypes of seen classes as the queue it keeps
the relations of new images to old classes soft.
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
    """Return the mean over the queries of the cross-entropy with the weights, which sum to 1.

    Args:
        z1: `(batch, dim)` queries.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        queue: `(rows, dim)` past keys; without gradient. With no rows it is `moco_loss`.
        temperature: of the queries' softmax.
        teacher_temperature: of the teacher's softmax.
        neighbours: how many rows of the queue may count as positives; 0 is `moco_loss`.
        variant: "soft" as above; "adaptive_hard" gives the nearest `neighbours` rows the weight
            `c`, "hard" the weight 1, and other rows none.
        reduction: "mean", "sum", or "none": `(batch,)`.
        normalize: make the rows unit length; False where they are.
        chunk_size: anchors in a slice of the matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not fit each other, or a setting is outside its range.
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
    """Return the weights `(slice, 1 + rows)`, the own key first."""

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
    """Return `(n,)` 1 less the softmax's entropy in parts of its largest, of `(n, rows)` logits.

    A single row tells nothing: its confidence is 0.
    """
    if logits.shape[1] < 2:
        return logits.new_zeros(len(logits))
    log_share = logits.log_softmax(dim=1)
    entropy = -(log_share.exp() * log_share).sum(dim=1)
    return (1 - entropy / math.log(logits.shape[1])).clamp(0.0, 1.0)
