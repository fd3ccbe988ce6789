"""A margin for each new class, learned on fake streams cut from the base session.

A prototype of few images lies farther from its class's images than one of many, so images of new
classes are taken for base classes. How much a new class must be favoured depends on which base
classes lie near it. After CALA (arXiv 2412.12654), a small network maps the cosines between a new
prototype `p` and the base prototypes to the class's margin:

    score of class c = cos(x, p_c) + gamma beta_c
    beta_c = MLP( the k largest cosines of p_c to base prototypes, in descending order )

Differences from the paper, whose details are not certain:
    - The input is sorted and cut to `k`, so it does not depend on which base classes there are. A
      fake stream has fewer of them than the real one, so its cosines are slightly smaller.
    - `gamma` is chosen among multiples of the fitted margin on fake streams that the network has
      not seen; 0, the rule without margins, is among them.
    - The loss is cross-entropy on the test images of the fake streams, in which base classes
      together weigh as much as new ones.
    - `k`, the network's width and the steps of its training are ours.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.methods.episodes.tuning import Choice, FakeTask, choose, fake_figures
from cl_suite.models.heads.scale import fitted_scale

NEAREST = 8  # k
HIDDEN = 16
STEPS = 200
GAMMAS = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Scored:
    """A fake stream as a rule classifies it, without margins.

    Attributes:
        scores: cosines `(num_test, num_base + num_new)` of the task's test rows.
        nearest: `(num_new, k)`, see `nearest_cosines`.
        truth: `(num_test,)` column of each test row.
    """

    scores: Tensor
    nearest: Tensor
    truth: Tensor

    @property
    def num_base(self) -> int:
        """Number of base classes, whose columns come first."""
        return self.scores.shape[1] - len(self.nearest)

    @property
    def weights(self) -> Tensor:
        """Weight of each test row, of mean 1: all classes of a side alike, both sides alike."""
        counts = torch.bincount(self.truth, minlength=self.scores.shape[1])[self.truth]
        of_side = torch.where(self.truth < self.num_base, self.num_base, len(self.nearest))
        weights = 1 / (counts * of_side).to(self.scores)
        return weights / weights.mean()

    def with_margins(self, margins: Tensor) -> Tensor:
        """Return the scores with margins `(num_new,)` added to the new classes' columns."""
        base, new = self.scores[:, : self.num_base], self.scores[:, self.num_base :]
        return torch.cat([base, new + margins], dim=1)


class ClassMargins(nn.Module):
    """Maps the cosines of new prototypes to base prototypes to their margins `gamma beta`.

    Before it is fitted every margin is 0.

    Args:
        width: number of nearest base classes that count.
        seed: of its first weights.
    """

    mean: Tensor
    deviation: Tensor
    gamma: Tensor

    def __init__(self, width: int = NEAREST, seed: int = 0) -> None:
        super().__init__()
        self.width = width
        with torch.random.fork_rng(devices=[]):  # the run's random numbers stay as they are
            torch.manual_seed(seed)
            self.hidden = nn.Linear(width, HIDDEN)
            self.last = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("gamma", torch.ones(()))

    def forward(self, nearest: Tensor) -> Tensor:
        """Return the margins `(num_new,)` of nearest cosines `(num_new, width)`."""
        x = (nearest.to(self.mean) - self.mean) / self.deviation
        margins: Tensor = self.gamma * self.last(F.relu(self.hidden(x)))[:, 0]
        return margins

    def margins(self, new: Tensor, base: Tensor) -> Tensor:
        """Return the margins `(num_new,)` of prototypes `(num_new, dim)`, detached.

        Args:
            base: base prototypes `(num_base, dim)`.
        """
        with torch.no_grad():
            found: Tensor = self(nearest_cosines(new.float(), base.float(), self.width))
        return found


def nearest_cosines(new: Tensor, base: Tensor, num: int = NEAREST) -> Tensor:
    """Return the largest cosines of new prototypes to base prototypes, `(num_new, num)`.

    If there are fewer base classes, the smallest cosine is repeated.

    Args:
        new, base: `(num_new, dim)` and `(num_base, dim)`, of any length.
    """
    cosines = F.normalize(new) @ F.normalize(base).T
    found = cosines.sort(dim=1, descending=True).values[:, :num]
    return torch.cat([found, found[:, -1:].expand(-1, num - found.shape[1])], dim=1)


def fit_margins(network: ClassMargins, tasks: Sequence[Scored]) -> None:
    """Fit a network to fake streams; the same streams give the same weights."""
    inputs = torch.cat([task.nearest for task in tasks])
    network.mean = inputs.mean(0)
    network.deviation = inputs.std(0, correction=0).clamp(min=1e-4)
    scales = [fitted_scale(task.scores, task.truth, task.weights) for task in tasks]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003, weight_decay=1e-4)
    with torch.enable_grad():
        for _ in range(STEPS):
            losses = []
            for task, scale in zip(tasks, scales, strict=True):
                logits = scale * task.with_margins(network(task.nearest))
                rows = F.cross_entropy(logits, task.truth, reduction="none")
                losses.append((task.weights * rows).mean())
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(losses).mean())
            optimizer.step()
    network.requires_grad_(False)


def chosen_margins(
    tasks: Sequence[FakeTask],
    labels: Tensor,
    score: Callable[[FakeTask], Scored],
    *,
    seed: int = 0,
) -> tuple[ClassMargins, Choice]:
    """Return a network fitted to half of the fake streams, with the gamma best on the others.

    Args:
        tasks: at least two.
        labels: `(n,)` class ids of all base samples.
        score: classifies a fake stream by the rule without margins.
        seed: of the network's first weights.
    """
    half = (len(tasks) + 1) // 2
    network = ClassMargins(seed=seed)
    fit_margins(network, [score(task) for task in tasks[:half]])

    def figures(task: FakeTask) -> Tensor:
        scored = score(task)
        margins = network(scored.nearest)
        found = [fake_figures(scored.with_margins(g * margins), labels, task) for g in GAMMAS]
        return torch.cat(found)

    choice = choose([{"gamma": gamma} for gamma in GAMMAS], tasks[half:], figures)
    network.gamma = torch.tensor(choice.best["gamma"])
    return network, choice


def restored_margins(state: Mapping[str, Any]) -> ClassMargins:
    """Return the network whose `state_dict` this is."""
    network = ClassMargins(len(state["mean"]))
    network.load_state_dict(copy.copy(dict(state)))
    return network.requires_grad_(False)
