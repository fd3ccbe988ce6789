"""Joint training: keep every sample and train on all of them in each session, the upper bound.

It breaks the few-shot class-incremental rules because it keeps old data; it reports how much. With
`restart` each session begins from the initial weights, so its result is that of one training on the
union, independent of earlier sessions. See De Lange et al., "A continual learning survey:
Defying forgetting in classification tasks", TPAMI 2022, arXiv 1909.08383.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from cl_suite.plugin import StrategyPlugin, Template


@dataclass(kw_only=True, eq=False)
class JointPlugin(StrategyPlugin):
    """Train on the data of all sessions so far.

    Args:
        restart: begin each session from the weights before the first one.
    """

    restart: bool = True
    kept_: list[Any] = field(default_factory=list, init=False)
    initial_: dict[str, torch.Tensor] | None = field(default=None, init=False)

    def after_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        for kept in reversed(self.kept_):
            template.adapted_dataset = kept.train().concat(template.adapted_dataset)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        if not self.restart:
            return
        if self.initial_ is None:
            state = template.model.state_dict()
            self.initial_ = {k: v.detach().clone() for k, v in state.items()}
        else:
            restore(template.model, self.initial_)

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.kept_.append(template.experience.dataset)


@torch.no_grad()
def restore(model: torch.nn.Module, initial: Mapping[str, torch.Tensor]) -> None:
    """Restore the initial values; rows of classes added since then keep their fresh ones."""
    for name, tensor in model.state_dict().items():
        if (start := initial.get(name)) is not None:
            tensor[: len(start)].copy_(start) if start.dim() else tensor.copy_(start)
