"""Interface of path searches: the problem they get, and how they suggest paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.methods.modular import layers
from cl_suite.methods.modular.layers import Layout
from cl_suite.methods.modular.library import Entry, layer_of
from cl_suite.methods.modular.soft_type import Covariance

Path = tuple[str | None, ...]  # a library module's name per layer; None for a new module
CHUNK = 512  # items per forward pass without training


@dataclass(frozen=True)
class Outcome:
    """Accuracy (a fraction) and mean loss of a path on held-out training data."""

    path: Path
    accuracy: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Key for comparing paths: accuracy, then loss among equals."""
        return self.accuracy, -self.loss


@dataclass(frozen=True)
class Settings:
    """Settings of the searches.

    Args:
        temperature: `T` of the prior over modules.
        soft_type_dim: dimension to which a layer's inputs are projected.
        stored_inputs: inputs kept for each module that can begin a shortest suffix.
        shortest_suffix: `l_min`, minimum number of layers in a reused suffix.
        covariance: kind of the covariances of a layer's inputs.
    """

    temperature: float = 0.001
    soft_type_dim: int = 20
    stored_inputs: int = 40
    shortest_suffix: int = 3
    covariance: Covariance = "shrunk"


@dataclass
class Problem:
    """A session from the view of a search; it contains no test data.

    Attributes:
        layout: layer types of the network.
        library: modules by name.
        solutions: best paths of earlier problems; they contain no None.
        inputs, labels: training items `(n, images, channels, side, side)`, labels `(n,)` from 0.
        held_inputs, held_labels: held-out items and labels.
        settings: settings of the search.
        standalone: returns the modules of the path of only new modules, once it is trained.
        seed: seed of random draws.
    """

    layout: Layout
    library: Mapping[str, Entry]
    solutions: Sequence[tuple[str, ...]]
    inputs: Tensor
    labels: Tensor
    held_inputs: Tensor
    held_labels: Tensor
    settings: Settings
    standalone: Callable[[], Sequence[nn.Module]] = list
    seed: int = 0

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layout)

    @property
    def all_new(self) -> Path:
        """The path that reuses nothing."""
        return (None,) * self.depth

    def choices(self, depth: int) -> list[str]:
        """Return the library modules that fit layer `depth`, in order of arrival."""
        return [name for name in self.library if layer_of(name) == self.layout[depth]]

    def bodies(self, names: Sequence[str]) -> list[nn.Module]:
        """Return the modules of these names."""
        return [self.library[name].body for name in names]

    @torch.no_grad()
    def after(self, names: Sequence[str], items: Tensor | None = None) -> Tensor:
        """Return the output of a prefix of library modules for items; default: training items."""
        items = self.inputs if items is None else items
        parts = [
            layers.run(self.layout, self.bodies(names), part) for part in torch.split(items, CHUNK)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def worth(self, modules: Sequence[nn.Module]) -> tuple[float, float]:
        """Return accuracy (a fraction) and mean cross-entropy of modules on held-out items."""
        parts = torch.split(self.held_inputs, CHUNK)
        outputs = torch.cat([layers.run(self.layout, modules, part) for part in parts])
        scores = layers.label_scores(outputs, self.layout)
        hits = (scores.argmax(1) == self.held_labels).double().mean()
        loss = float(F.nll_loss(scores, self.held_labels))
        return float(hits), loss if math.isfinite(loss) else math.inf


Plan = Generator[Path, Outcome, None]  # yields paths and receives their outcomes


class PathSearch:
    """Suggests paths to train, one at a time, and observes their outcomes.

    It is deterministic: the same outcomes lead to the same suggestions.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._next: Path | None = next(plan, None)

    def suggest(self) -> Path | None:
        """Return the path to train next; None if the search is over."""
        return self._next

    def observe(self, outcome: Outcome) -> None:
        """Record the outcome of the suggested path."""
        try:
            self._next = self._plan.send(outcome)
        except StopIteration:
            self._next = None
