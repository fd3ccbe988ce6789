"""Class log-mean-exp contrast for long tails, by mutual information maximisation (GML).

Suh, Seo, "Long-Tailed Recognition by Mutual Information Maximization between Latent Features and
Ground-Truth Labels", ICML 2023, arXiv 2305.01160. A class scores the log of its keys' mean
exponential, so a class with many keys in the queue has no advantage, and its frequency in the
training data enters as a logit adjustment: a cross-entropy over classes.

The authors compute it twice, once for the encoder and once for a learned temperature alone. For the
second give detached embeddings and `sample_ids`, so that no key of an anchor's own image flatters
it. When predicting leave the prior out: that is what balances.
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
    """Return the mean over the anchors `i` of the cross-entropy of `S_c + log prior_c`, with

        S_c = log mean_{keys j of class c} exp(z1_i . k_j / t)

    A class without keys is left out, and so are the anchors of that class.

    Args:
        z1: `(batch, dim)` anchors.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        labels: `(batch,)` class ids.
        queue: `(rows, dim)` past keys beside `teacher2`; without gradient.
        queue_labels: `(rows,)` their class ids.
        class_log_prior: `(classes,)` log frequency of class id 0, 1, ...; None is the same for all.
        sample_ids: `(batch,)`; where given, keys of the anchor's own sample are left out.
        queue_sample_ids: `(rows,)` the queue's; needed with `sample_ids`.
        temperature: `t`.
        reduction: "mean", "sum", or "none": `(batch,)` with 0 at anchors left out.
        normalize: make the rows unit length; False where they are.
        chunk_size: anchors in a slice of the matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not fit each other, or a class id has no prior.
    """
    check_views(z1, teacher2, smallest_batch=1)
    check_temperature(temperature)
    check_labels(labels, z1)
    keys, key_labels, key_ids = [teacher2], [labels], [sample_ids]
    if queue is not None:
        if queue_labels is None or (sample_ids is not None and queue_sample_ids is None):
            raise ValueError(
                f"queue of {len(queue)} rows lacks queue_labels, or queue_sample_ids beside "
                "sample_ids; give one of each for each row"
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
    """Return the log prior of each key's class, less the log of that class's number of keys."""
    prior = torch.zeros(1, dtype=dtype, device=classes.device)
    if log_prior is not None:
        lowest, highest = int(classes.min()), int(classes.max())
        if lowest < 0 or highest >= len(log_prior):
            raise ValueError(
                f"class ids run from {lowest} to {highest}, but class_log_prior has "
                f"{len(log_prior)} entries; give one for each class id"
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
