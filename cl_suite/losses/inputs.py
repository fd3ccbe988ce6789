"""Input handling shared by all losses: check shapes, scale rows to unit length, stack views."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# with F.normalize's default 1e-12, a row of zeros (a ReLU head makes some) has a gradient of 1e12
NORM_FLOOR = 1e-4


def unit_rows(vectors: Tensor, *, normalize: bool = True) -> Tensor:
    """Return the rows in at least float32, divided by their length (by 1e-4 if it is less)."""
    rows = vectors if vectors.dtype == torch.float64 else vectors.float()
    return F.normalize(rows, dim=1, eps=NORM_FLOOR) if normalize else rows


def stack_views(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all rows `(2n, dim)`, the sample `(2n,)` of each, and the row numbers `(2n,)`."""
    samples = torch.arange(len(z1), device=z1.device).repeat(2)
    return torch.cat([z1, z2]), samples, torch.arange(2 * len(z1), device=z1.device)


def check_views(z1: Tensor, z2: Tensor, *, smallest_batch: int = 2) -> None:
    """Raise unless both views are floats of one shape `(batch, dim)` in a batch large enough."""
    for name, view in (("z1", z1), ("the second view", z2)):
        if view.dim() != 2 or not view.is_floating_point():
            raise ValueError(
                f"{name} must be a floating (batch, dim) tensor, got {view.dtype} of shape "
                f"{tuple(view.shape)}; pass the embeddings, one row per sample"
            )
    if z1.shape != z2.shape:
        raise ValueError(
            f"the views have shapes {tuple(z1.shape)} and {tuple(z2.shape)}; row i of each must "
            "show sample i"
        )
    if len(z1) < smallest_batch:
        raise ValueError(
            f"a batch of {len(z1)} has no negatives; pass at least {smallest_batch} samples"
        )


def check_temperature(temperature: float | Tensor, name: str = "temperature") -> None:
    """Raise if a temperature is not above 0; a tensor on an accelerator is not checked."""
    if isinstance(temperature, Tensor):
        # reading a tensor on an accelerator would wait for it
        fine = temperature.device.type != "cpu" or bool((temperature > 0).all())
    else:
        fine = 0 < temperature < math.inf
    if not fine:
        raise ValueError(f"{name} must be above 0, got {temperature}; common values are 0.07 to 1")


def check_labels(labels: Tensor, rows: Tensor, name: str = "labels") -> None:
    """Raise unless there is one label per row."""
    if labels.shape != rows.shape[:1]:
        raise ValueError(
            f"{name} of shape {tuple(labels.shape)} do not match vectors of shape "
            f"{tuple(rows.shape)}; pass one label per row"
        )


def check_queue(queue: Tensor, z1: Tensor, queue_labels: Tensor | None = None) -> None:
    """Raise if the rows of a queue do not have the embeddings' dimension."""
    if queue.dim() != 2 or queue.shape[1] != z1.shape[1] or not queue.is_floating_point():
        raise ValueError(
            f"queue is {queue.dtype} of shape {tuple(queue.shape)}, but embeddings have dimension "
            f"{z1.shape[1]}; pass a floating (rows, {z1.shape[1]}) tensor"
        )
    if queue_labels is not None:
        check_labels(queue_labels, queue, "queue_labels")
