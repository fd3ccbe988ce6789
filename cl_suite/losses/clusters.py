"""K-means by cosine, for losses that need groups of samples (`mcl`, `sbcl`)."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.losses.inputs import unit_rows

ROUNDS = 50  # at most; it usually settles in about ten


@torch.no_grad()
def cosine_clusters(rows: Tensor, num_clusters: int, *, generator: torch.Generator) -> Tensor:
    """Return the cluster `(n,)` of each row: that of the centre with the largest cosine.

    Centres start far apart: the first is drawn, each next one is the row that is least similar to
    the centres so far. A centre is the unit mean of its rows; one without rows stays.

    Args:
        rows: `(n, dim)`; their lengths do not matter.
        num_clusters: `k`; with as many rows or fewer, each row is a cluster.
        generator: for the first centre; on the CPU.

    Raises:
        ValueError: if `num_clusters` is below 1.
    """
    if num_clusters < 1:
        raise ValueError(f"num_clusters must be at least 1, got {num_clusters}")
    num = len(rows)
    if num <= num_clusters:
        return torch.arange(num, device=rows.device)
    rows = unit_rows(rows)
    centres = _spread(rows, num_clusters, int(torch.randint(num, (), generator=generator)))
    found = (rows @ centres.T).argmax(dim=1)
    for _ in range(ROUNDS):
        members = torch.zeros(num_clusters, num, dtype=rows.dtype, device=rows.device)
        members[found, torch.arange(num, device=rows.device)] = 1.0
        filled = members.any(dim=1)
        centres[filled] = unit_rows(members @ rows)[filled]
        before, found = found, (rows @ centres.T).argmax(dim=1)
        if found.equal(before):
            break
    return found


def _spread(rows: Tensor, num: int, first: int) -> Tensor:
    """Return `num` of the rows, each the least similar to those before it."""
    chosen = [first]
    nearest = rows @ rows[first]
    for _ in range(num - 1):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, rows @ rows[chosen[-1]])
    return rows[chosen].clone()
