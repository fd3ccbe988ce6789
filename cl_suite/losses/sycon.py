"""Contrast with a past copy of the network: CaSSLe's distillation and Sy-CON's losses.

The network is compared with a frozen copy of itself, made when the session began. Below, `z` are
unit rows of the network, `f` those of the copy, and `p = g(z)` those of a predictor.

CaSSLe (Fini et al., "Self-Supervised Models are Continual Learners", CVPR 2022, arXiv 2112.04215)
adds two InfoNCE terms to a self-supervised loss: they match each `p` to its `f` among the batch's
`f`, and each `f` to its `p`.

Sy-CON (Cha, Moon, arXiv 2306.05101; later Cha, Cho, Moon, "Regularizing with Pseudo-Negatives for
Continual Self-Supervised Learning", ICML 2024) has two losses, for plasticity and for stability.
Both use the negatives of the network and of the copy:

    L1 = InfoNCE of z and the other view's key       with negatives of both networks
    L2 = InfoNCE of p and the same view's f          with negatives of both networks

Their weights are equal, and `L1` replaces the self-supervised loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.losses.inputs import (
    check_queue,
    check_temperature,
    check_views,
    stack_views,
    unit_rows,
)
from cl_suite.losses.kernel import Mask, Reduction, both, contrast, differ, same
from cl_suite.losses.moco import moco_loss


def cassle_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    past1: Tensor,
    past2: Tensor,
    temperature: float | Tensor = 0.2,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return CaSSLe's distillation: InfoNCE from predictions to the past copy and back, averaged.

    Args:
        z1: `(batch, dim)` predictions of the first views.
        z2: `(batch, dim)` of the second views; negatives are all views of the batch.
        past1: `(batch, dim)` the past network's embeddings of the first views; without gradient.
        past2: `(batch, dim)` of the second views.
        temperature: `t`.
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other.
    """
    check_views(z1, z2, smallest_batch=1)
    check_temperature(temperature)
    _check_past(z1, past1, past2)
    predicted, _, numbers = stack_views(*_units(z1, z2, normalize=normalize))
    past = torch.cat(_units(past1.detach(), past2.detach(), normalize=normalize))
    past = past.to(predicted.dtype)

    def one_way(anchors: Tensor, keys: Tensor) -> Tensor:
        return contrast(
            anchors,
            keys,
            positive=same(numbers, numbers),
            temperature=temperature,
            reduction=reduction,
            chunk_size=chunk_size,
        )

    return (one_way(predicted, past) + one_way(past, predicted)) / 2


def sycon_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    predicted1: Tensor,
    predicted2: Tensor,
    past1: Tensor,
    past2: Tensor,
    temperature: float | Tensor = 0.2,
    l2_include_positive: bool = False,
    detach_negatives: bool = False,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return Sy-CON's SimCLR form, the mean of `L1 + L2` over all `2 batch` views.

    Negatives are all other views of the batch, embedded by the network and by its past copy. So the
    past embedding of a sample's other view is a negative too.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        predicted1: `(batch, dim)` predictions from `z1`.
        predicted2: `(batch, dim)` predictions from `z2`.
        past1: `(batch, dim)` the past network's embeddings of the first views; without gradient.
        past2: `(batch, dim)` of the second views.
        temperature: `t`.
        l2_include_positive: include the positive of `L2` in its denominator. Without it, as in the
            authors' code, the loss can be negative.
        detach_negatives: let `L2` push predictions away from the network's embeddings, but not
            the embeddings away from predictions. The authors' code does both.
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other.
    """
    check_views(z1, z2, smallest_batch=1)
    check_temperature(temperature)
    check_views(z1, predicted1, smallest_batch=1)
    check_views(z2, predicted2, smallest_batch=1)
    _check_past(z1, past1, past2)
    rows, samples, numbers = stack_views(*_units(z1, z2, normalize=normalize))
    predicted = torch.cat(_units(predicted1, predicted2, normalize=normalize)).to(rows.dtype)
    past = torch.cat(_units(past1.detach(), past2.detach(), normalize=normalize)).to(rows.dtype)
    others = differ(numbers, numbers)
    everyone = torch.ones(1, len(rows), dtype=torch.bool, device=rows.device)
    past_keys: Mask = (lambda _: everyone) if l2_include_positive else others

    def term(anchors: Tensor, keys: list[Tensor], positive: Mask, first: Mask) -> Tensor:
        return contrast(
            anchors,
            torch.cat(keys),
            positive=_side_by_side(positive, None),
            denominator=_side_by_side(first, others),
            temperature=temperature,
            reduction=reduction,
            chunk_size=chunk_size,
        )

    other_view = both(same(samples, samples), others)
    plasticity = term(rows, [rows, past], other_view, others)
    current = rows.detach() if detach_negatives else rows
    stability = term(predicted, [past, current], same(numbers, numbers), past_keys)
    return plasticity + stability


def sycon_moco_loss(
    z1: Tensor,
    teacher2: Tensor,
    *,
    predicted1: Tensor,
    past1: Tensor,
    queue: Tensor,
    past_queue: Tensor,
    temperature: float | Tensor = 0.2,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return Sy-CON's MoCo form in one direction, the mean of `L1 + L2` over the queries.

    The positive of `L1` is the teacher's key of the other view, that of `L2` the past embedding of
    the same view. Negatives are all rows of both queues, or other samples if both are empty.

    Args:
        z1: `(batch, dim)` queries.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        predicted1: `(batch, dim)` predictions from the queries.
        past1: `(batch, dim)` the past network's embeddings of the queries' views; without gradient.
        queue: `(rows, dim)` past keys of the other views; without gradient.
        past_queue: `(past_rows, dim)` past embeddings of the other views; without gradient.
        temperature: `t` of both losses.
        reduction: "mean", "sum", or "none": `(batch,)`.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or there is nothing to contrast with.
    """
    check_views(z1, predicted1, smallest_batch=1)
    check_queue(past_queue, z1)
    check_queue(queue, z1)
    negatives = torch.cat([queue.detach(), past_queue.detach().to(queue.dtype)])

    def term(queries: Tensor, keys: Tensor) -> Tensor:
        return moco_loss(
            queries,
            keys,
            queue=negatives,
            temperature=temperature,
            reduction=reduction,
            normalize=normalize,
            chunk_size=chunk_size,
        )

    return term(z1, teacher2) + term(predicted1, past1)


def _units(first: Tensor, second: Tensor, *, normalize: bool) -> tuple[Tensor, Tensor]:
    return unit_rows(first, normalize=normalize), unit_rows(second, normalize=normalize)


def _check_past(z1: Tensor, past1: Tensor, past2: Tensor) -> None:
    for past in (past1, past2):
        check_views(z1, past, smallest_batch=1)


def _side_by_side(first: Mask, second: Mask | None) -> Mask:
    """Join the masks of two key sets of equal size; None for no pair in the second set."""

    def mask(rows: slice) -> Tensor:
        left = first(rows)
        if second is None:
            return torch.cat([left, torch.zeros_like(left)], dim=1)
        right = second(rows)
        return torch.cat([left.expand_as(right), right], dim=1)

    return mask
