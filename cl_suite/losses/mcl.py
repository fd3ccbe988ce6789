"""Multistage contrastive learning against suppressed features (Zhang et al., ECCV 2024).

"Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning", arXiv 2402.11816.
After each stage its features are clustered, and a new network (or projector) learns with negatives
from the anchor's own group only: what earlier stages told apart is of no use there. A group is
the tuple of an image's clusters so far. The representation is all stages' unit features, joined.

`mcl_loss` masks the pairs of other groups; `group_batches` draws batches of one group, in which any
loss has the same effect. The clustering is the caller's. The authors' script for several stages
reads the newest stage's clusters for each stage; here the tuple is kept.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from cl_suite.losses.inputs import (
    check_labels,
    check_temperature,
    check_views,
    stack_views,
    unit_rows,
)
from cl_suite.losses.kernel import Reduction, both, contrast, differ, same


def mcl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    groups: Tensor,
    temperature: float | Tensor = 0.5,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return NT-Xent with negatives from the anchor's group only.

    A sample alone in its group has none: it is left out.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        groups: `(batch,)` group ids.
        temperature: of the softmax.
        reduction: "mean", "sum", or "none": `(2 batch,)` with 0 at samples left out.
        normalize: make the rows unit length; False where they are.
        chunk_size: anchors in a slice of the matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not fit each other.
    """
    check_views(z1, z2, smallest_batch=1)
    check_temperature(temperature)
    check_labels(groups, z1, "groups")
    rows, samples, numbers = stack_views(
        unit_rows(z1, normalize=normalize), unit_rows(z2, normalize=normalize)
    )
    _, position, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    not_alone = (sizes[position] > 1).repeat(2)
    doubled = groups.repeat(2)
    not_itself = differ(numbers, numbers)
    return contrast(
        rows,
        rows,
        # a sample alone carries a number as an anchor that no key has
        positive=both(same(samples.where(not_alone, -1), samples), not_itself),
        denominator=both(same(doubled, doubled), not_itself),
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def extend_groups(groups: Tensor | None, clusters: Tensor) -> Tensor:
    """Return `(n,)` ids 0, 1, ... of the pairs (group so far, cluster of the newest stage).

    Args:
        groups: `(n,)` of the stages before; None after the first.
        clusters: `(n,)` cluster ids of the newest stage's features.
    """
    if groups is None:
        groups = torch.zeros_like(clusters)
    check_labels(clusters, groups, "clusters")
    _, ids = torch.unique(torch.stack([groups, clusters]), dim=1, return_inverse=True)
    return cast(Tensor, ids)


def group_batches(groups: Tensor, batch_size: int, *, generator: torch.Generator) -> list[Tensor]:
    """Return one epoch's batches of sample numbers, each from one group, the groups in turn.

    Args:
        groups: `(n,)` group ids.
        batch_size: samples in a batch; what is left over of a group sits out this epoch.
        generator: decides the order, on the CPU.

    Raises:
        ValueError: if no group fills a batch.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    queues = []
    for group in torch.unique(groups.cpu()):
        members = (groups.cpu() == group).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        whole = len(members) // batch_size * batch_size
        queues.append(list(members[:whole].split(batch_size)) if whole else [])
    if not any(queues):
        raise ValueError(f"no group fills a batch of {batch_size}; take a smaller batch_size")
    rounds = max(len(queue) for queue in queues)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]
