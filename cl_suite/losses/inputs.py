"""What all losses do with their inputs: refuse what does not fit, make rows unit length, stack."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# with F.normalize's own 1e-12 a row of zeros, as a ReLU head gives, has a gradient of 1e12
NORM_FLOOR = 1e-4


def unit_rows(vectors: Tensor, *, normalize: bool = True) -> Tensor:
    """Return the rows in at least float32, divided by their length (by 1e-4 where that is less)."""
    rows = vectors if vectors.dtype == torch.float64 else vectors.float()
    return F.normalize(rows, dim=1, eps=NORM_FLOOR) if normalize else rows


def stack_views(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return `(2n, dim)` all rows, `(2n,)` the sample each shows, and `(2n,)` its row number."""
    samples = torch.arange(len(z1), device=z1.device).repeat(2)
    return torch.cat([z1, z2]), samples, torch.arange(2 * len(z1), device=z1.device)


def check_views(z1: Tensor, z2: Tensor, *, smallest_batch: int = 2) -> None:
    """Refuse views that are not `(batch, dim)` numbers of one shape, or too small a batch."""
    for name, view in (("z1", z1), ("the second view", z2)):
        if view.dim() != 2 or not view.is_floating_point():
            raise ValueError(
                f"{name} must be a floating (batch, dim) tensor, got {view.dtype} of shape "
                f"{tuple(view.shape)}; give the embeddings, one row for each sample"
            )
    if z1.shape != z2.shape:
        raise ValueError(
            f"the views have shapes {tuple(z1.shape)} and {tuple(z2.shape)}; row i of each must "
            "show sample i"
        )
    if len(z1) < smallest_batch:
        raise ValueError(
            f"a batch of {len(z1)} has no negatives; give at least {smallest_batch} samples"
        )


def check_temperature(temperature: float | Tensor, name: str = "temperature") -> None:
    """Refuse a temperature not above 0 (of a tensor elsewhere than in main memory: unchecked)."""
    if isinstance(temperature, Tensor):
        # a look at a tensor on an accelerator would wait for it
        fine = temperature.device.type != "cpu" or bool((temperature > 0).all())
    else:
        fine = 0 < temperature < math.inf
    if not fine:
        raise ValueError(f"{name} must be above 0, got {temperature}; common values are 0.07 to 1")


def check_labels(labels: Tensor, rows: Tensor, name: str = "labels") -> None:
    """Refuse labels that are not one for each row."""
    if labels.shape != rows.shape[:1]:
        raise ValueError(
            f"{name} of shape {tuple(labels.shape)} do not fit vectors of shape "
            f"{tuple(rows.shape)}; give one label for each row"
        )


def check_queue(queue: Tensor, z1: Tensor, queue_labels: Tensor | None = None) -> None:
    """Refuse a queue whose rows are not of the embeddings' dimension."""
    if queue.dim() != 2 or queue.shape[1] != z1.shape[1] or not queue.is_floating_point():
        raise ValueError(
            f"queue is {queue.dtype} of shape {tuple(queue.shape)}, but embeddings have dimension "
            f"{z1.shape[1]}; give a floating (rows, {z1.shape[1]}) tensor"
        )
    if queue_labels is not None:
        check_labels(queue_labels, queue, "queue_labels")
