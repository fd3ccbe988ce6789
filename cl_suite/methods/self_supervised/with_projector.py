"""Base class for strategies that train a projector on the network's features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from cl_suite.methods.optimizer_groups import own_group
from cl_suite.methods.self_supervised.projected import Wrapped, refuse_frozen
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import FeatureTap, classifier_of
from cl_suite.plugin import StrategyPlugin, Template


@dataclass(kw_only=True, eq=False)
class ProjectorPlugin(StrategyPlugin):
    """Adds the projector to our `Classifier`, and wraps any other network together with it."""

    # a foreign network with its projector
    wrapped_: Wrapped | None = field(default=None, init=False, repr=False)

    _tap: FeatureTap = field(init=False, repr=False)  # on the current batch

    def complete(self, network: Classifier | Wrapped, width: int) -> None:
        """Add the projector, and what else is trained with it, unless the network has them.

        Args:
            width: of the features.
        """
        raise NotImplementedError

    def prepare_model(self, model: nn.Module) -> None:
        if isinstance(model, Classifier):
            refuse_frozen(model, type(self).__name__)
            self.complete(model, model.feature_dim)

    def network(self, template: Template) -> Classifier | Wrapped:
        """Return the network with the projector that belongs to it."""
        model = template.model
        if isinstance(model, Classifier):
            return model
        if self.wrapped_ is None or self.wrapped_.network is not model:
            last = classifier_of(model)
            assert isinstance(last, nn.Linear), "as in every foreign network"
            self.wrapped_ = Wrapped(model)
            self.complete(self.wrapped_, last.in_features)
        return self.wrapped_

    def train_projector(self, template: Template) -> None:
        """Let the session's optimiser train the projector of a foreign network too."""
        network = self.network(template)
        if isinstance(network, Wrapped):
            parts = [p for n, p in network.named_parameters() if not n.startswith("network.")]
            own_group(template.optimizer, parts)

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap = FeatureTap(template.model)

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap.end()
