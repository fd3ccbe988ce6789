"""MoCo: contrast against a queue of past keys, with an optional filter for hard negatives.

MoCo: He et al., CVPR 2020, arXiv 1911.05722, eq. 1. Queries come from the student, and keys from
a teacher that follows it (`key_queue.ema_update_`). The negatives are a queue of earlier keys
(`key_queue.KeyQueue`): read it first, then push the new keys. Hoang et al., "Momentum Contrastive
Learning with Enhanced Negative Sampling and Hard Negative Filtering" (arXiv 2501.16360), uses both
views as queries and keeps the negatives that resemble the query most.

Our reading: the number of negatives kept, and the ceiling above which a key counts as a false
negative. The abstract names the idea, not the rule. If the queue is empty, the other samples of the
batch replace it; many programs start from random rows instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cl_suite.losses.inputs import (
    check_labels,
    check_queue,
    check_temperature,
    check_views,
    unit_rows,
)
from cl_suite.losses.kernel import Mask, Reduction, contrast_own, differ


def moco_loss(
    z1: Tensor,
    teacher2: Tensor,
    *,
    queue: Tensor,
    temperature: float | Tensor = 0.2,
    hardest: int | None = None,
    false_negative_ceiling: float | None = None,
    labels: Tensor | None = None,
    queue_labels: Tensor | None = None,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over the queries `i` of `-log` of the own key's share in the softmax of

        [z1_i . teacher2_i / t, z1_i . queue_1 / t, ...]

    Args:
        z1: `(batch, dim)` queries.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        queue: `(rows, dim)` past keys; without gradient. If empty, other samples' keys are used.
        temperature: `t`.
        hardest: negatives kept per query, those with the largest cosine; None keeps all.
        false_negative_ceiling: leave out negatives with a larger cosine.
        labels: `(batch,)` class ids; negatives of the query's class are left out.
        queue_labels: `(rows,)` class ids of the queue; needed with `labels`.
        reduction: "mean", "sum", or "none": `(batch,)`.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or there is nothing to contrast with.
    """
    check_views(z1, teacher2, smallest_batch=1 if len(queue) else 2)
    check_temperature(temperature)
    check_queue(queue, z1, queue_labels)
    if hardest is not None and hardest < 1:
        raise ValueError(f"hardest must be at least 1, got {hardest}; None keeps all negatives")
    z1 = unit_rows(z1, normalize=normalize)
    own = unit_rows(teacher2.detach(), normalize=normalize).to(z1.dtype)
    keys = unit_rows(queue.detach(), normalize=normalize).to(z1.dtype) if len(queue) else own
    masks: list[Mask] = []
    if not len(queue):
        samples = torch.arange(len(z1), device=z1.device)
        masks.append(differ(samples, samples))
    if labels is not None:
        masks.append(_other_class(labels, queue_labels if len(queue) else labels, z1))
    negative = None
    if masks or hardest is not None or false_negative_ceiling is not None:
        negative = _negatives(z1.detach(), keys, masks, hardest, false_negative_ceiling)
    return contrast_own(
        z1,
        own,
        keys,
        negative=negative,
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def dual_moco_loss(
    z1: Tensor, z2: Tensor, *, teacher1: Tensor, teacher2: Tensor, queue: Tensor, **options: Any
) -> Tensor:
    """Return the mean of `moco_loss` of `z1` with `teacher2` and of `z2` with `teacher1`.

    Args:
        z1: `(batch, dim)` the student's embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        teacher1: `(batch, dim)` the teacher's embeddings of the first views.
        teacher2: `(batch, dim)` of the second views.
        queue: `(rows, dim)` past keys.
        options: further arguments of `moco_loss`.
    """
    forth = moco_loss(z1, teacher2, queue=queue, **options)
    return (forth + moco_loss(z2, teacher1, queue=queue, **options)) / 2


def _other_class(labels: Tensor, key_labels: Tensor | None, z1: Tensor) -> Mask:
    check_labels(labels, z1)
    if key_labels is None:
        raise ValueError("labels are given, but no queue_labels; pass one per row of queue")
    return differ(labels, key_labels)


def _negatives(
    queries: Tensor, keys: Tensor, masks: list[Mask], hardest: int | None, ceiling: float | None
) -> Mask:
    """Return the mask of the negatives that pass all masks and filters."""

    @torch.no_grad()
    def mask(rows: slice) -> Tensor:
        kept = torch.ones(1, len(keys), dtype=torch.bool, device=keys.device)
        for each in masks:
            kept = kept & each(rows)
        if hardest is None and ceiling is None:
            return kept
        cosine = queries[rows] @ keys.T  # (slice, keys)
        if ceiling is not None:
            kept = kept & (cosine <= ceiling)
        if hardest is not None and hardest < len(keys):
            largest = cosine.masked_fill(~kept, -2.0).topk(hardest, dim=1).indices
            kept = kept & torch.zeros_like(cosine, dtype=torch.bool).scatter_(1, largest, True)
        return kept

    return mask
