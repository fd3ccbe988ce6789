"""The library of modules: all kept modules, frozen, with statistics of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.methods.modular import soft_type
from cl_suite.methods.modular.soft_type import Covariance
from cl_suite.models.heads.feature_transform import take_sizes


class Entry(nn.Module):
    """A frozen module and its soft types, one per problem that uses it.

    Args:
        covariance: kind of the covariances that likelihoods use.

    Attributes:
        body: the module.
        means, covariances: statistics of its inputs, `(uses, dim)` and `(uses, dim, dim)`; the
            covariances are shrunk.
        sample_covariances: those of the samples; only of kind paper.
        accuracies: validation accuracies `(uses,)` of the problems.
        problems: numbers `(uses,)` of the problems.
        inputs: some inputs `(n, ...)` of its first problem; none if no search needs them.
    """

    means: Tensor
    covariances: Tensor
    sample_covariances: Tensor
    accuracies: Tensor
    problems: Tensor
    inputs: Tensor

    def __init__(self, body: nn.Module, covariance: Covariance = "shrunk") -> None:
        super().__init__()
        self.body = body.requires_grad_(False)
        self.unshrunk = covariance == "paper"
        names = ["means", "covariances", "accuracies"]
        for name in [*names, "sample_covariances"] if self.unshrunk else names:
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))
        self.register_buffer("problems", torch.empty(0, dtype=torch.long))
        self.register_buffer("inputs", torch.empty(0))

    def add_use(self, points: Tensor, accuracy: float, problem: int) -> None:
        """Add the soft type of projected inputs `(n, dim)` from a problem."""
        mean, covariance = soft_type.fit(points)
        new = {
            "means": mean,
            "covariances": covariance,
            "accuracies": mean.new_tensor(accuracy),
            "problems": torch.tensor(problem, device=mean.device),
        }
        if self.unshrunk:
            new["sample_covariances"] = soft_type.sample_covariance(points)
        for name, value in new.items():
            known: Tensor = getattr(self, name)
            setattr(
                self, name, torch.cat([known.to(value), value[None]]) if len(known) else value[None]
            )

    def log_likelihoods(self, points: Tensor) -> Tensor:
        """Return the log-likelihood `(uses,)` of all projected points under each soft type."""
        uses = range(len(self.means))
        return torch.stack([self._log_densities(points, use).sum() for use in uses])

    def _log_densities(self, points: Tensor, use: int) -> Tensor:
        mean, found = self.means[use], None
        if self.unshrunk:
            plain = self.sample_covariances[use]
            found = soft_type.sample_log_densities(points, mean, plain)
        if found is None:
            found = soft_type.log_densities(points, mean, self.covariances[use])
        return found

    def log_densities(self, points: Tensor, problem: int) -> Tensor:
        """Return the log-density `(n,)` of projected points under the soft type of a problem.

        It is added to class scores, so its covariance is always the shrunk one.
        """
        use = self.problems.tolist().index(problem)
        return soft_type.log_densities(points, self.means[use], self.covariances[use])

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        take_sizes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]  # a dict


class NamedModules(nn.ModuleDict):
    """Modules by name; loading a state creates and removes modules to match it.

    Args:
        make: function from a name to a module of the right kind.
    """

    def __init__(self, make: Callable[[str], nn.Module]) -> None:
        super().__init__()
        self.make = make

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        inner = (key.removeprefix(prefix) for key in state_dict if key.startswith(prefix))
        names = list(dict.fromkeys(key.partition(".")[0] for key in inner))
        for name in [name for name in self if name not in names]:
            del self[name]
        for name in names:
            if name not in self:
                self[name] = self.make(name)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]  # a dict


def entry_name(problem: int, layer: str) -> str:
    """Return the name of the module of type `layer` that a problem added."""
    return f"{problem}_{layer}"


def problem_of(name: str) -> int:
    """Return the problem that added the entry of this name."""
    return int(name.partition("_")[0])


def layer_of(name: str) -> str:
    """Return the layer type of the entry of this name."""
    return name.partition("_")[2]
