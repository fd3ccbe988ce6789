"""Long-tailed recognition by mutual information maximisation, whole (GML).

Suh, Seo, ICML 2023, arXiv 2305.01160. `class_mean_loss` is its contrastive term. The authors
compute it twice: once for the encoder with the temperature held fixed, and once for the temperature
alone, without the keys of the anchor's own image, which are too easy. A queue holds keys of each
class in proportion to its frequency, and at least a few of every class. The method adds a
cross-entropy whose logits include the log frequencies. Predictions leave these out, which balances
the classes.

Their knowledge distillation from a larger network is left out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.losses.class_mean import class_mean_loss


def gml_loss(
    z1: Tensor,
    teacher2: Tensor,
    *,
    labels: Tensor,
    log_temperature: Tensor,
    sample_ids: Tensor,
    queue: Tensor | None = None,
    queue_labels: Tensor | None = None,
    queue_sample_ids: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Return `class_mean_loss` for the encoder plus the same for the temperature.

    Args:
        z1: `(batch, dim)` anchors.
        teacher2: `(batch, dim)` the teacher's embeddings of the other views; without gradient.
        labels: `(batch,)` class ids.
        log_temperature: logarithm of the temperature; only the second term gives it a gradient.
        sample_ids: `(batch,)`; the second term leaves out keys of the anchor's own sample.
        queue: `(rows, dim)` past keys, see `class_mean_loss`.
        queue_labels: `(rows,)` their class ids.
        queue_sample_ids: `(rows,)` their sample ids.
        options: `class_log_prior`, `normalize` and `chunk_size` of `class_mean_loss`.

    Raises:
        ValueError: see `class_mean_loss`.
    """
    shared = {"labels": labels, "queue": queue, "queue_labels": queue_labels, **options}
    temperature = log_temperature.exp()
    encoder = class_mean_loss(z1, teacher2, temperature=temperature.detach(), **shared)
    scale = class_mean_loss(
        z1.detach(),
        teacher2,
        temperature=temperature,
        sample_ids=sample_ids,
        queue_sample_ids=queue_sample_ids,
        **shared,
    )
    return encoder + scale


def logit_adjusted_cross_entropy(logits: Tensor, labels: Tensor, class_log_prior: Tensor) -> Tensor:
    """Return the mean cross-entropy of `logits + class_log_prior` (Menon et al., ICLR 2021).

    Args:
        logits: `(batch, classes)`.
        labels: `(batch,)` class ids.
        class_log_prior: `(classes,)` log frequencies; -inf leaves a class out.
    """
    return F.cross_entropy(logits.float() + class_log_prior.to(logits.device), labels)


def class_quotas(counts: Tensor, size: int, floor: int = 5) -> Tensor:
    """Return how many keys of each class a queue holds, `(classes,)`: a floor plus its share.

    Args:
        counts: `(classes,)` samples of each class in the training data.
        size: keys that are shared out by frequency, rounded down for each class.
        floor: keys of each class besides; none of a class without samples.
    """
    share = counts * size // counts.sum().clamp(min=1)
    return torch.where(counts > 0, floor + share, share)


def newest_of_each(labels: Tensor, quotas: Tensor) -> Tensor:
    """Return the positions of the newest rows of each class, ascending, so many as its quota.

    Args:
        labels: `(rows,)` class ids, from the oldest row to the newest.
        quotas: `(classes,)`.

    Example:
        >>> newest_of_each(torch.tensor([0, 1, 0, 0, 1]), torch.tensor([2, 1])).tolist()
        [2, 3, 4]
    """
    order = labels.flip(0).argsort(stable=True)  # by class, the newest first
    sorted_labels = labels.flip(0)[order]
    starts = torch.searchsorted(sorted_labels, sorted_labels)
    age = torch.arange(len(labels), device=labels.device) - starts
    kept = order[age < quotas.to(labels.device)[sorted_labels]]
    return (len(labels) - 1 - kept).sort().values
