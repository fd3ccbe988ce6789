"""Inner loops of meta-learning: differentiable gradient steps.

MAML (Finn, Abbeel, Levine, ICML 2017, arXiv 1703.03400) for classifiers whose classes arrive in
groups. A network is a function from named tensors and a batch to one score per unit, so the same
loop serves a toy of three numbers and any backbone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from cl_suite.models.classifier import Classifier

Tensors = dict[str, Tensor]
Scorer = Callable[[Tensors, Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    """Samples of an inner loop, and the number of full-batch steps on them.

    Attributes:
        inputs: `(n, ...)`.
        units: `(n,)` unit of each sample.
        present: `(units,)` whether the softmax includes each unit.
        steps: number of gradient steps.
    """

    inputs: Tensor
    units: Tensor
    present: Tensor
    steps: int


def present_cross_entropy(scores: Tensor, units: Tensor, present: Tensor) -> Tensor:
    """Return the mean cross-entropy over the units that are present.

    Args:
        scores: `(batch, units)`; absent units get no gradient.
        units: `(batch,)` the correct units.
        present: `(units,)` bool.
    """
    return F.cross_entropy(scores.masked_fill(~present, -math.inf), units)


def adapt(
    scorer: Scorer,
    tensors: Tensors,
    stages: Sequence[Stage],
    *,
    lr: float,
    adapted: Sequence[str] | None = None,
    first_order: bool = False,
) -> Tensors:
    """Return the tensors after the steps of all stages; gradients flow through every step.

    Args:
        scorer: function from tensors and a batch to scores `(batch, units)`.
        tensors: start of the loop.
        lr: `alpha`, the step size.
        adapted: names of the tensors to adapt; None for all.
        first_order: treat the gradient of each step as a constant, so a gradient at the end is
            one at the start (first-order MAML); cheaper in time and memory.
    """
    names = list(tensors) if adapted is None else list(adapted)
    still = {name: tensor for name, tensor in tensors.items() if name not in set(names)}
    moving = {name: tensors[name] for name in names}

    def loss(moving: Tensors, stage: Stage) -> Tensor:
        return present_cross_entropy(
            scorer({**still, **moving}, stage.inputs), stage.units, stage.present
        )

    for stage in stages:
        for _ in range(stage.steps):
            with _one_derivative() if first_order else _two_derivatives():
                slope = grad(loss)(moving, stage)
            moving = {name: tensor - lr * slope[name] for name, tensor in moving.items()}
    return {**still, **moving}


def _one_derivative() -> AbstractContextManager[object]:
    # within `no_grad` the inner gradient is still taken, but leaves no graph
    return torch.no_grad()


def _two_derivatives() -> AbstractContextManager[object]:
    # fused attention has no second derivative
    context: AbstractContextManager[object] = sdpa_kernel(SDPBackend.MATH)
    return context


def full_batch_step(
    network: UnitNetwork,
    batches: Iterable[Sequence[Tensor]],
    class_ids: Sequence[int],
    *,
    lr: float,
    adapted: Sequence[str],
    device: torch.device,
) -> None:
    """Update a network's own tensors by one step on all samples of `batches` together.

    Args:
        batches: `[inputs, class ids]`; their size only affects memory.
        class_ids: classes in the softmax.
        adapted: names of the tensors to update.
    """
    tensors = network.tensors()
    moving = [tensors[name] for name in adapted]
    slopes = [torch.zeros_like(tensor) for tensor in moving]
    present, count = network.present(class_ids), 0
    with torch.enable_grad():
        for inputs, labels, *_ in batches:
            scores = network(tensors, inputs.to(device))
            loss = present_cross_entropy(scores, network.units(labels.to(device)), present)
            found = torch.autograd.grad(loss, moving, allow_unused=True)
            for slope, part in zip(slopes, found, strict=True):
                if part is not None:
                    slope += len(labels) * part
            count += len(labels)
    with torch.no_grad():
        for tensor, slope in zip(moving, slopes, strict=True):
            tensor -= lr * slope / count


class UnitNetwork:
    """A classifier as a function of its tensors, with spare units after those of its classes.

    The units of a `Classifier` are its head's rows, in order of arrival. The units of any other
    network are the outputs of its last linear layer, one per class id.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._parts = _Parts(model)

    @property
    def unit_names(self) -> list[str]:
        """Names of the tensors with one row per unit."""
        return list(unit_tensors(self.model))

    @property
    def num_units(self) -> int:
        """Number of units of the network, without spare units."""
        return len(next(iter(unit_tensors(self.model).values())))

    def tensors(self, spare: Mapping[str, Tensor] | None = None) -> Tensors:
        """Return the trainable tensors by name, with the spare rows after the network's own.

        Args:
            spare: rows `(num_spare, ...)` by the last part of their names (`weight`, `bias`).
        """
        found: Tensors = {
            name: tensor
            for name, tensor in self.model.named_parameters()
            if tensor.requires_grad and not name.startswith(SPARE)
        }
        units = unit_tensors(self.model)
        for name, tensor in units.items():
            found[name] = tensor if spare is None else torch.cat([tensor, spare[_last(name)]])
        return found

    def units(self, class_ids: Tensor) -> Tensor:
        """Return the unit `(n,)` of each class id `(n,)`."""
        if not isinstance(self.model, Classifier):
            return class_ids
        return self.model.head.index(class_ids.tolist()).long()  # also for an empty tensor

    def present(self, class_ids: Sequence[int], num_spare: int = 0) -> Tensor:
        """Return which units belong to these classes, `(units + num_spare,)`."""
        units = self.units(torch.tensor(list(class_ids), dtype=torch.long, device=self._device))
        present = torch.zeros(self.num_units + num_spare, dtype=torch.bool, device=self._device)
        return present.index_fill(0, units, True)

    def __call__(self, tensors: Tensors, x: Tensor) -> Tensor:
        """Return the scores `(batch, units)` of a batch."""
        return self.unit_scores(tensors, self.features(tensors, x))

    def features(self, tensors: Tensors, x: Tensor) -> Tensor:
        """Return the input of `unit_scores`: features, or a foreign network's batch itself."""
        return self._call(tensors, x, "features")

    def unit_scores(self, tensors: Tensors, features: Tensor) -> Tensor:
        """Return the scores `(batch, units)` of the result of `features`."""
        return self._call(tensors, features, "scores")

    def _call(self, tensors: Tensors, x: Tensor, part: str) -> Tensor:
        named = {f"model.{name}": tensor for name, tensor in tensors.items()}
        found: Tensor = functional_call(self._parts, named, (x, part))
        return found

    @property
    def _device(self) -> torch.device:
        return next(iter(unit_tensors(self.model).values())).device


class _Parts(nn.Module):
    """The two parts of a classifier; it has one score per unit, not per class id."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, part: str) -> Tensor:
        if isinstance(self.model, Classifier):
            head = self.model.head
            return (
                self.model.features(x) if part == "features" else head.scores(head.transformed(x))
            )
        scores: Tensor = x if part == "features" else self.model(x)
        return scores


SPARE = "spare_unit_"


def add_spare_units(model: nn.Module, num_units: int) -> None:
    """Add parameters for units without a class to a network, unless it already has them.

    Each is drawn like the weights of a layer with one output (Xavier); biases are zero.
    """
    for name, tensor in unit_tensors(model).items():
        # parameters, not a module: some networks run every module they have
        if not hasattr(model, own := SPARE + _last(name)):
            rows = tensor.new_zeros(num_units, *tensor.shape[1:])
            if rows.dim() > 1:
                bound = math.sqrt(6 / (rows.shape[1] + 1))
                nn.init.uniform_(rows, -bound, bound)
            model.register_parameter(own, nn.Parameter(rows))


def spare_units(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that `add_spare_units` made, by the last part of their names."""
    kinds = [_last(name) for name in unit_tensors(model)]
    return {kind: model.get_parameter(SPARE + kind) for kind in kinds}


@torch.no_grad()
def take_spare_units(model: nn.Module, class_ids: Sequence[int], places: Sequence[int]) -> None:
    """Copy spare units into the units of classes, as the start of their training."""
    network, spare = UnitNetwork(model), spare_units(model)
    for name, tensor in unit_tensors(model).items():
        units = network.units(torch.tensor(list(class_ids), device=tensor.device))
        tensor[units] = spare[_last(name)][torch.tensor(list(places), device=tensor.device)]


def unit_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters with one row per unit, by name.

    Raises:
        ValueError: if a network is not a `Classifier` and has no linear layer.
    """
    if isinstance(model, Classifier):
        return {"head.weight": model.head.weight}
    linear = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer that could be its classifier; wrap it as "
            "cl_suite.models.classifier.Classifier"
        )
    name, last = linear[-1]
    return {f"{name}.{kind}": tensor for kind, tensor in last.named_parameters()}


def _last(name: str) -> str:
    return name.rpartition(".")[2]
