"""Class log-mean-exp contrast for long tails, by mutual information maximisation (GML).

Suh, Seo, "Long-Tailed Recognition by Mutual Information Maximization between Latent Features and
Ground-Truth Labels", ICML 2023, arXiv 2305.01160. The score of a class is the log of its keys'
mean exponential, so a class with many keys in the queue has no advantage. The class frequency in
the training data enters as a logit adjustment. The loss is a cross-entropy over classes.

The authors compute it twice: for the encoder, and for a learned temperature alone. For the second,
pass detached embeddings and `sample_ids`, so keys of the anchor's own image are left out. Leave the
prior out for predictions: this is what balances the classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.losses.inputs import (
    check_labels,
    check_queue,
    check_temperature,
    check_views,
    unit_rows,
)
from cl_suite.losses.kernel import Mask, Reduction, contrast, differ, same


def class_mean_loss(
    z1: Tensor,
    teacher2: Tensor,
    *,
    labels: Tensor,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    class_log_prior: Tensor | None = None,
    sample_ids: Tensor | None = None,
    queue_sample_ids: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean cross-entropy over the anchors `i`, with logits `S_c + log prior_c` and

        S_c = log mean_{keys j of class c} exp(z1_i . k_j / t)

    Classes without keys are left out, and so are their anchors.

    Args:
        z1: `(batch, dim)` anchors.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        labels: `(batch,)` class ids.
        queue: `(rows, dim)` past keys, added to `teacher2`; without gradient.
        queue_labels: `(rows,)` their class ids.
        class_log_prior: `(classes,)` log frequency of class id 0, 1, ...; None for equal priors.
        sample_ids: `(batch,)`; if given, keys of the anchor's own sample are left out.
        queue_sample_ids: `(rows,)` sample ids of the queue; needed with `sample_ids`.
        temperature: `t`.
        reduction: "mean", "sum", or "none": `(batch,)` with 0 for anchors left out.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or a class id has no prior.
    """
    check_views(z1, teacher2, smallest_batch=1)
    check_temperature(temperature)
    check_labels(labels, z1)
    keys, key_labels, key_ids = [teacher2], [labels], [sample_ids]
    if queue is not None:
        if queue_labels is None or (sample_ids is not None and queue_sample_ids is None):
            raise ValueError(
                f"queue of {len(queue)} rows has no queue_labels, or no queue_sample_ids although "
                "sample_ids are given; pass one of each per row"
            )
        check_queue(queue, z1, queue_labels)
        keys, key_labels = [teacher2, queue], [labels, queue_labels]
        key_ids = [sample_ids, queue_sample_ids]
    classes = torch.cat(key_labels)
    not_own = None
    if sample_ids is not None:
        check_labels(sample_ids, z1, "sample_ids")
        not_own = differ(sample_ids, torch.cat([ids for ids in key_ids if ids is not None]))
    z1 = unit_rows(z1, normalize=normalize)
    return contrast(
        z1,
        torch.cat([unit_rows(each.detach(), normalize=normalize) for each in keys]),
        positive=same(labels, classes),
        bias=_class_bias(classes, class_log_prior, not_own, z1.dtype),
        temperature=temperature,
        numerator="logsumexp",
        reduction=reduction,
        chunk_size=chunk_size,
    )


def _class_bias(
    classes: Tensor, log_prior: Tensor | None, kept: Mask | None, dtype: torch.dtype
) -> Mask:
    """Return the log prior of each key's class minus the log of the class's number of keys."""
    prior = torch.zeros(1, dtype=dtype, device=classes.device)
    if log_prior is not None:
        lowest, highest = int(classes.min()), int(classes.max())
        if lowest < 0 or highest >= len(log_prior):
            raise ValueError(
                f"class ids run from {lowest} to {highest}, but class_log_prior has "
                f"{len(log_prior)} entries; pass one per class id"
            )
        prior = log_prior.detach().to(dtype)[classes]  # (keys,)
    names, position = torch.unique(classes, return_inverse=True)
    if kept is None:
        bias = prior - position.bincount().to(dtype).log()[position]
        return lambda rows: bias[None]
    members = F.one_hot(position, len(names)).to(dtype)  # (keys, classes)

    def of_slice(rows: slice) -> Tensor:
        mask = kept(rows)
        counts = mask.to(dtype) @ members
        return (prior - counts.log()[:, position]).masked_fill(~mask, -math.inf)

    return of_slice
