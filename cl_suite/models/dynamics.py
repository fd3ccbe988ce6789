"""How much each parameter tensor of a network moves, within sessions and where they change.

Zhao et al., "Does Continual Learning Equally Forget All Parameters?", ICML 2023, arXiv 2304.04158.
With `theta_{t,n}` a tensor after epoch `n` of session `t`, and `|theta|` its number of scalars:

    C_{t,n} = || theta_{t,n} - theta_{t,n-1} ||_1 / |theta|

A tensor whose change jumps where a new session begins holds what is particular to a session. The
paper ranks tensors by it, but its score could not be confirmed. Ours is the mean change of first
epochs (against the last epoch of the session before) over the mean change of all other epochs but
a session's first: 1 where nothing jumps.

The paper compares epochs; here the first one of a session is compared with what the end of the
session before has left, where a strategy may have written rows.

Running statistics of BatchNorm count as tensors: in class-incremental streams they jump most. What
grows, such as the rows of a head, is compared as far as both sides have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

SMALLEST = 1e-12


@dataclass(frozen=True)
class Sensitivity:
    """What is known of a tensor.

    Attributes:
        name: as in the network's state.
        size: its scalars.
        within: mean change of an epoch within a session.
        across: mean change of the first epoch of a session, the base session's aside.
    """

    name: str
    size: int
    within: float
    across: float

    @property
    def score(self) -> float:
        """How much more it moves where sessions change."""
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
    """Notes the change of every tensor of a network, epoch by epoch.

    Args:
        model: the network; its present state is what the first epoch is compared with.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.records: list[dict[str, Any]] = []  # session, epoch, sizes, changes: by tensor
        self.before = _state(model)

    def epoch(self, session: int, epoch: int) -> dict[str, Any]:
        """Note an epoch that has just ended; return its record."""
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
        """Compare the next epoch with the network as it is now, after all that ends a session."""
        self.before = _state(self.model)

    def restart(self, records: Sequence[Mapping[str, Any]], state: Mapping[str, Tensor]) -> None:
        """Go on behind these records, from the state that a checkpoint holds of the network."""
        self.records = [dict(record) for record in records]
        held = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
        # what a checkpoint leaves out has never changed
        self.before = _state(self.model) | {k: v.detach().clone() for k, v in held.items()}


def sensitivities(records: Sequence[Mapping[str, Any]]) -> list[Sensitivity]:
    """Return what the records of a stream say of each tensor, the most sensitive first.

    Raises:
        ValueError: if no session but the first one is in them, or no session has two epochs.
    """
    across = [r for r in records if r["epoch"] == 0 and r["session"] > 0]
    within = [r for r in records if r["epoch"] > 0]
    if not across or not within:
        raise ValueError("it takes two sessions at least, and two epochs in one of them")
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
        budget: share of all scalars. A tensor that does not fit is passed over.
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
