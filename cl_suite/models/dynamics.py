"""Measures how much each parameter tensor changes, within sessions and between them.

Zhao et al., "Does Continual Learning Equally Forget All Parameters?", ICML 2023, arXiv 2304.04158.
With `theta_{t,n}` a tensor after epoch `n` of session `t`, and `|theta|` its number of scalars:

    C_{t,n} = || theta_{t,n} - theta_{t,n-1} ||_1 / |theta|

A tensor whose change jumps when a new session begins holds session-specific knowledge. The paper
ranks tensors by this jump, but we could not confirm its score. Ours is the mean change of sessions'
first epochs (against the last epoch of the session before) over the mean change of all other
epochs: 1 means no jump.

The paper compares epochs. We compare a session's first epoch with the state at the end of the
session before, after the strategy may have written rows.

BatchNorm's running statistics count as tensors: in class-incremental streams they jump most.
Tensors that grow, such as a head's rows, are compared on the rows that both sides have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

SMALLEST = 1e-12


@dataclass(frozen=True)
class Sensitivity:
    """How much one tensor changes.

    Attributes:
        name: its name in the network's `state_dict`.
        size: number of scalars.
        within: mean change of an epoch within a session.
        across: mean change of a session's first epoch, without the base session.
    """

    name: str
    size: int
    within: float
    across: float

    @property
    def score(self) -> float:
        """How many times more it changes when a session begins than within one."""
        return self.across / (self.within + SMALLEST)


def mean_change(before: Tensor, after: Tensor) -> float:
    """Return the mean absolute difference of two tensors, over the rows that both have.

    Example:
        >>> import torch
        >>> before, after = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, -1.0, 3.0])
        >>> mean_change(before, after)
        0.5
    """
    if before.dim():
        rows = min(len(before), len(after))
        before, after = before[:rows], after[:rows]
    if not before.numel():
        return 0.0
    return float((after.double() - before.double()).abs().mean())


class Dynamics:
    """Records the change of every tensor of a network, epoch by epoch.

    Args:
        model: the network; the first epoch is compared with its present state.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.records: list[dict[str, Any]] = []  # session, epoch, sizes, changes: by tensor
        self.before = _state(model)

    def epoch(self, session: int, epoch: int) -> dict[str, Any]:
        """Record the epoch that has just ended; return its record."""
        now = _state(self.model)
        shared = [name for name in now if name in self.before]
        record = {
            "session": session,
            "epoch": epoch,
            "sizes": {name: now[name].numel() for name in shared},
            "changes": {name: mean_change(self.before[name], now[name]) for name in shared},
        }
        self.before = now
        self.records.append(record)
        return record

    def session_ends(self) -> None:
        """Compare the next epoch with the network's state now, at the very end of a session."""
        self.before = _state(self.model)

    def restart(self, records: Sequence[Mapping[str, Any]], state: Mapping[str, Tensor]) -> None:
        """Continue after these records, from the network state in a checkpoint."""
        self.records = [dict(record) for record in records]
        held = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
        # tensors that a checkpoint leaves out have never changed
        self.before = _state(self.model) | {k: v.detach().clone() for k, v in held.items()}


def sensitivities(records: Sequence[Mapping[str, Any]]) -> list[Sensitivity]:
    """Return the sensitivity of each tensor from a stream's records, most sensitive first.

    Raises:
        ValueError: if they hold only the first session, or no session has two epochs.
    """
    across = [r for r in records if r["epoch"] == 0 and r["session"] > 0]
    within = [r for r in records if r["epoch"] > 0]
    if not across or not within:
        raise ValueError("sensitivity needs at least two sessions, and two epochs in one of them")
    latest = records[-1]["sizes"]
    found = [
        Sensitivity(name, int(size), within=_mean(within, name), across=_mean(across, name))
        for name, size in latest.items()
    ]
    return sorted(found, key=lambda each: (-each.score, each.name))


def most_sensitive(found: Sequence[Sensitivity], budget: float = 0.01) -> list[str]:
    """Return the names of the most sensitive tensors, as many as the budget allows.

    Args:
        found: most sensitive first.
        budget: share of all scalars. A tensor that does not fit is skipped.
    """
    left = budget * sum(each.size for each in found)
    chosen = []
    for each in found:
        if each.size <= left and each.across > 0:
            chosen.append(each.name)
            left -= each.size
    return chosen


def _mean(records: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [r["changes"][name] for r in records if name in r["changes"]]
    return sum(values) / len(values) if values else 0.0


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().clone()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }
