"""Joint training: keep every sample and train on all of them in each session.

It breaks the few-shot class-incremental rules because it keeps old data; it reports how much. With
`restart` each session begins from the initial weights, so its result is that of one training on the
union, independent of earlier sessions. See De Lange et al., "A continual learning survey:
Defying forgetting in classification tasks", TPAMI 2022, arXiv 1909.08383.

It is an upper bound where every class has as many images. In few-shot streams it is none: beside
hundreds of images of a base class, five of a new one hardly count, and class means are often ahead
on the new classes. With `balanced` an epoch has as many samples as before, but as many of each
class; those of a small class come again and again. Nor is that a bound: the few are learned by
heart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from cl_suite.avalanche.loader import batches
from cl_suite.plugin import StrategyPlugin, Template


@dataclass(kw_only=True, eq=False)
class JointPlugin(StrategyPlugin):
    """Train on the data of all sessions so far.

    Args:
        restart: begin each session from the weights before the first one.
        balanced: draw as many samples of each class in an epoch, anew for each.
    """

    restart: bool = True
    balanced: bool = False
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

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if not self.balanced:
            return
        data = template.adapted_dataset
        rows = balanced_epoch([int(target) for target in data.targets])
        template.dataloader = batches(
            data.subset(rows),
            template.train_mb_size,
            shuffle=True,
            num_workers=getattr(template.dataloader, "num_workers", 0),
        )

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.kept_.append(template.experience.dataset)


def balanced_epoch(labels: Sequence[int]) -> list[int]:
    """Return as many rows as there are labels, of each class as many, or one less.

    No row of a class comes again before all of the class have come as often.
    """
    of_class: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        of_class.setdefault(label, []).append(row)
    share, rest = divmod(len(labels), len(of_class) or 1)
    # which classes get the rest is drawn too
    larger = set(torch.randperm(len(of_class))[:rest].tolist())
    rows = []
    for place, label in enumerate(sorted(of_class)):
        own, wanted = of_class[label], share + (place in larger)
        passes = -(-wanted // len(own))
        drawn = torch.cat([torch.randperm(len(own)) for _ in range(passes)])[:wanted]
        rows += [own[number] for number in drawn.tolist()]
    return rows


@torch.no_grad()
def restore(model: torch.nn.Module, initial: Mapping[str, torch.Tensor]) -> None:
    """Restore the initial values; rows of classes added since then keep their fresh ones."""
    for name, tensor in model.state_dict().items():
        if (start := initial.get(name)) is not None:
            tensor[: len(start)].copy_(start) if start.dim() else tensor.copy_(start)
