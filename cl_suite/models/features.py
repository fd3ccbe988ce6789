"""The embedding of any classifier, ours or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cl_suite.models.classifier import Classifier


def feature_function(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the function from a batch to its embedding `(batch, dim)`.

    Ours is `model.features`; of a foreign network it is the input of its last linear layer, which
    is what the classifier of a torchvision, timm or Avalanche model sees.

    Raises:
        ValueError: if a foreign network has no linear layer.
    """
    if isinstance(model, Classifier):
        return model.features
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no linear layer whose input could serve as the embedding; "
            "wrap it as cl_suite.models.classifier.Classifier"
        )
    last = linear[-1]

    def features(x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            model(x)
        finally:
            handle.remove()
        return torch.flatten(seen[-1], start_dim=1)

    return features
