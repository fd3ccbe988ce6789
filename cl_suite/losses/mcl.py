"""Multistage contrastive learning against suppressed features (Zhang et al., ECCV 2024).

"Learning the Unlearned: Mitigating Feature Suppression in Contrastive Learning", arXiv 2402.11816.
After each stage its features are clustered. A new network (or projector) then learns with negatives
from the anchor's own group only, so features that earlier stages used cannot help. A group is the
tuple of an image's clusters so far. The representation joins the unit features of all stages.

`mcl_loss` masks pairs from different groups. `group_batches` draws batches from one group, in which
any loss has the same effect. The caller does the clustering. The authors' script for several stages
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

    A sample alone in its group has no negatives and is left out.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        groups: `(batch,)` group ids.
        temperature: of the softmax.
        reduction: "mean", "sum", or "none": `(2 batch,)` with 0 for samples left out.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other.
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
        # as an anchor, a sample alone in its group has a number that no key has
        positive=both(same(samples.where(not_alone, -1), samples), not_itself),
        denominator=both(same(doubled, doubled), not_itself),
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def extend_groups(groups: Tensor | None, clusters: Tensor) -> Tensor:
    """Return `(n,)` ids 0, 1, ... of the pairs (group so far, cluster of the newest stage).

    Args:
        groups: `(n,)` groups of the earlier stages; None after the first stage.
        clusters: `(n,)` cluster ids of the newest stage's features.
    """
    if groups is None:
        groups = torch.zeros_like(clusters)
    check_labels(clusters, groups, "clusters")
    _, ids = torch.unique(torch.stack([groups, clusters]), dim=1, return_inverse=True)
    return cast(Tensor, ids)


def group_batches(groups: Tensor, batch_size: int, *, generator: torch.Generator) -> list[Tensor]:
    """Return one epoch's batches of sample numbers; each is from one group, the groups in turn.

    Args:
        groups: `(n,)` group ids.
        batch_size: samples in a batch; the rest of a group is left out of this epoch.
        generator: for the order; on the CPU.

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
        raise ValueError(f"no group fills a batch of {batch_size}; use a smaller batch_size")
    rounds = max(len(queue) for queue in queues)
    return [queue[turn] for turn in range(rounds) for queue in queues if turn < len(queue)]
