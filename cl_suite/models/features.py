"""The embedding of any classifier, ours or foreign: computed, or recorded during a pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cl_suite.models.classifier import Classifier


def feature_function(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the function from a batch to its embedding `(batch, dim)`.

    For our classifier it is `model.features`. For a foreign network it is the input of its last
    linear layer, which is the classifier of a torchvision, timm or Avalanche model.

    Raises:
        ValueError: if a foreign network has no linear layer.
    """
    if isinstance(model, Classifier):
        return model.features
    last = classifier_of(model)

    def features(x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            model(x)
        finally:
            handle.remove()
        return torch.flatten(seen[-1], start_dim=1)

    return features


def classifier_of(model: nn.Module) -> nn.Module:
    """Return the scoring module: our head, or a foreign network's last linear layer.

    Raises:
        ValueError: if a foreign network has no linear layer.
    """
    if isinstance(model, Classifier):
        return model.head
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer that could be its classifier; wrap it in "
            "cl_suite.models.classifier.Classifier"
        )
    return linear[-1]


def unreduced(values: Tensor) -> Tensor:
    """Return values in float32 at least: what autocast computed in bfloat16 is widened."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


class FeatureTap:
    """Records the features while a training template runs a network, until `end`.

    Attributes:
        features: the features `(batch, dim)` of the latest pass, with their graph.
        autocast: context with the precision of that pass, for further passes: the template wraps
            only its own.
    """

    features: Tensor
    autocast: torch.autocast

    def __init__(self, model: nn.Module) -> None:
        self._handle = classifier_of(model).register_forward_pre_hook(self._note)

    def end(self) -> None:
        """Stop recording."""
        self._handle.remove()

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.features = torch.flatten(inputs[0], start_dim=1)
        kind = inputs[0].device.type
        self.autocast = torch.autocast(
            kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind)
        )
