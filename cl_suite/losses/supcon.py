"""Supervised contrastive loss (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2 and 3).

Use `supcon_loss` as a rule. `supcon` is the plain form over unit rows of any number of views; there
anchors without positives count in the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.losses.inputs import (
    check_labels,
    check_queue,
    check_temperature,
    check_views,
    unit_rows,
)
from cl_suite.losses.kernel import Numerator, Reduction, both, contrast, differ, same


def supcon_loss(
    z1: Tensor,
    z2: Tensor | None = None,
    *,
    labels: Tensor,
    temperature: float | Tensor = 0.1,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    numerator: Numerator = "mean",
    decoupled: bool = False,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over anchors `a` of the following; `P(a)` are the other rows of its class.

        -1/|P(a)| sum_{p in P(a)} log( exp(a.p / t) / sum_{n != a} exp(a.n / t) )

    An anchor without positives is left out.

    Args:
        z1: `(batch, dim)` embeddings.
        z2: `(batch, dim)` of the second views, also anchors; None if there is one view.
        labels: `(batch,)` class ids; only their equality matters.
        temperature: `t`.
        queue: `(rows, dim)` more keys that are not anchors, such as class prototypes or embeddings
            of label texts; without gradient. With a row per class no anchor is left out.
        queue_labels: `(rows,)` their class ids.
        numerator: "mean" is eq. 2, `L_out`; "logsumexp" is eq. 3, `L_in`, minus `log |P(a)|`.
        decoupled: leave all rows of the anchor's class out of the denominator.
        reduction: "mean", "sum", or "none": `(anchors,)` with 0 for anchors without positives.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other.
    """
    check_views(z1, z1 if z2 is None else z2, smallest_batch=1)
    check_temperature(temperature)
    check_labels(labels, z1)
    views = [z1] if z2 is None else [z1, z2]
    anchors = torch.cat([unit_rows(view, normalize=normalize) for view in views])
    classes = labels.repeat(len(views))
    numbers = torch.arange(len(anchors), device=anchors.device)
    keys, key_classes, key_numbers = anchors, classes, numbers
    if queue is not None:
        if queue_labels is None:
            raise ValueError(f"queue of {len(queue)} rows has no queue_labels; pass one per row")
        check_queue(queue, z1, queue_labels)
        keys = torch.cat([keys, unit_rows(queue.detach(), normalize=normalize)])
        key_classes = torch.cat([classes, queue_labels])
        key_numbers = torch.cat([numbers, numbers.new_full((len(queue),), -1)])
    not_itself = differ(numbers, key_numbers)
    return contrast(
        anchors,
        keys,
        positive=both(same(classes, key_classes), not_itself),
        denominator=differ(classes, key_classes) if decoupled else not_itself,
        temperature=temperature,
        numerator=numerator,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def supcon(vectors: Tensor, labels: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Return the mean of `supcon_loss` over all anchors; one without positives counts as 0.

    Args:
        vectors: `(n, dim)`, of unit length; gradient flows into all of them, so detach a teacher's.
        labels: `(n,)` class ids.
        temperature: `t`.

    Returns:
        A scalar; 0 with a graph if no anchor has a positive.

    Raises:
        ValueError: if the temperature is not above 0, or the labels do not match the vectors.

    Example:
        >>> vectors = torch.eye(2).repeat(2, 1)  # two classes, two equal vectors of each
        >>> round(supcon(vectors, torch.tensor([0, 1, 0, 1]), temperature=1.0).item(), 4)
        0.5514
    """
    values = supcon_loss(
        vectors, labels=labels, temperature=temperature, normalize=False, reduction="none"
    )
    return values.mean()
