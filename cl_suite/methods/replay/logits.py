"""Logits kept with exemplars, and their distance to a network whose outputs have grown."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from cl_suite.methods.replay.exemplars import Exemplars

LOGITS = "logits"  # their name among a sample's extras


def logit_distance(logits: Tensor, kept: Tensor, *, centred: bool = False) -> Tensor:
    """Return the mean squared difference over the units that both sides have learned.

    Units not yet learned are minus infinity, so units added after a sample was kept are left out.

    Args:
        logits: `(batch, classes)`.
        kept: `(batch, classes)`, or another number of columns.
        centred: whether a constant added to a sample's logits makes no difference, as it makes none
            to their softmax.

    Example:
        >>> import torch
        >>> logit_distance(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.5, 2.0, 1.0]]))
        tensor(0.4167)
        >>> logit_distance(torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 0.0]]), centred=True)
        tensor(0.)
    """
    num_outputs = max(logits.shape[1], kept.shape[1])
    logits, kept = padded(logits, num_outputs), padded(kept, num_outputs)
    known = kept.isfinite() & logits.isfinite()
    difference = logits.masked_fill(~known, 0.0) - kept.masked_fill(~known, 0.0)
    if centred:
        mean = difference.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
        difference = (difference - mean).masked_fill(~known, 0.0)
    return difference.square().sum() / known.sum().clamp(min=1)


def padded(logits: Tensor, num_outputs: int) -> Tensor:
    """Return logits `(batch, num_outputs)`, with minus infinity in new columns."""
    return F.pad(logits, (0, num_outputs - logits.shape[1]), value=-math.inf)


def widen(exemplars: Exemplars, num_outputs: int) -> None:
    """Pad the logits of all exemplars to `num_outputs` columns."""
    if len(exemplars):
        state = exemplars.state_dict()
        state["extras"][LOGITS] = padded(state["extras"][LOGITS], num_outputs)
        exemplars.load_state_dict(state)
