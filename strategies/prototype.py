"""Nearest class mean: train on the base session, then only compute prototypes.

The baseline called "Decoupled-Cosine" in the few-shot class-incremental literature (Zhang et al.,
CVPR 2021, arXiv 2104.03047): the network learns on the base classes; each class is represented by
the mean of its training features; a query goes to the class with the largest cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function
from cl_suite.models.heads import CosineHead
from cl_suite.models.stats import ClassStats
from cl_suite.modes import evaluating
from cl_suite.plugin import Strategy, StrategyPlugin, session_stats


class PrototypePlugin(StrategyPlugin):
    """Replace the classifier's rows by class means after each session; train in the first alone.

    The first session it sees is the base session. With our `Classifier` the rows go into its head.
    With any other network the plugin keeps a cosine head of its own on the input of the network's
    last linear layer, and puts its scores in the place of the network's output in evaluation.

    Args:
        normalize_features: average features of unit length instead of raw ones.
    """

    head = "cosine"

    def __init__(self, *, normalize_features: bool = False) -> None:
        self.normalize_features = normalize_features
        self.base_classes_: list[int] = []
        self.own_head_: CosineHead | None = None

    def class_vectors(self, stats: ClassStats, head: CosineHead) -> torch.Tensor:
        """Return the rows `(num_new, dim)` to write for the classes of `stats`."""
        return stats.mean

    def before_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        if self.base_classes_:
            strategy.stop_training()

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        stats = session_stats(strategy, normalize=self.normalize_features)
        head = self._head(strategy.model, stats)
        head.set_rows(stats.classes, self.class_vectors(stats, head))
        if not self.base_classes_:
            self.base_classes_ = stats.classes

    def after_eval_forward(self, strategy: Strategy, **kwargs: Any) -> None:
        if self.own_head_ is None:
            return
        with evaluating(strategy.model):
            features = feature_function(strategy.model)(strategy.mb_x)
        self.own_head_.widen(max(strategy.experience.classes_in_this_experience) + 1)
        strategy.mb_output = self.own_head_.to(features.device)(features)

    def state_dict(self) -> dict[str, Any]:
        own = self.own_head_.state_dict() if self.own_head_ is not None else None
        return {"base_classes": self.base_classes_, "own_head": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.base_classes_ = list(state["base_classes"])
        self.own_head_ = None
        if (own := state["own_head"]) is not None:
            self.own_head_ = CosineHead(own["weight"].shape[1])
            self.own_head_.load_state_dict(own)

    def _head(self, model: torch.nn.Module, stats: ClassStats) -> CosineHead:
        if isinstance(model, Classifier) and isinstance(model.head, CosineHead):
            return model.head
        if self.own_head_ is None:
            self.own_head_ = CosineHead(stats.total.shape[1])
            self.own_head_.requires_grad_(False)
        return self.own_head_
