"""Supervised contrastive replay: rehearsal with a contrastive term on two views of each image.

Mai et al. (CVPR workshop 2021, arXiv 2103.13885) train a network on new and kept samples with the
supervised contrastive loss (Khosla et al., NeurIPS 2020), since a softmax classifier prefers the
classes it saw last. With `f` the features, `g` a projector, and `z = g(f(x)) / |g(f(x))|`,

    L = L_CE(x) + w * L_sup({z of x, z of x'})

for the two random views `x` and `x'` of each sample of a batch, new or kept: every other row of its
class is a positive, every other row at all is in the denominator.

Differences from the paper:
    - cross-entropy beside the contrastive loss, on the first view, trains the classifier that
      predicts; the paper has the contrastive loss alone, and predicts by the nearest class mean of
      the samples kept;
    - samples kept are shuffled with the session's, several epochs, where the paper's stream is seen
      once with a batch from a reservoir beside each of its own;
    - a view is the scenario's training transform; the paper crops, flips, and changes colours. One
      that is not random makes both views the same, of which each session warns.

The projector has two layers, is trained with the network, and has no part in predictions. It
belongs to the classifier; beside a foreign network, to which no layer can be added without knowing
how it runs, the plugin holds it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.optimizer_groups import own_group
from cl_suite.methods.replay.rehearsal import RehearsalPlugin
from cl_suite.methods.replay.selection import Selection
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import FeatureTap, classifier_of, feature_function
from cl_suite.plugin import Strategy, views_of


class SupConReplayPlugin(RehearsalPlugin):
    """Cross-entropy and the supervised contrastive loss on new and kept samples.

    Args:
        buffer, selection, fixed_classes: see `RehearsalPlugin`.
        contrastive_weight: `w`, of the contrastive term; 0 leaves plain rehearsal.
        temperature: of the contrastive term.
        projection_dim: width of `z`.
    """

    keeps_base_state = True  # the projector
    bounds = {  # noqa: RUF012
        "contrastive_weight": (0, math.inf),
        "temperature": (1e-3, math.inf),
        "projection_dim": (1, math.inf),
    }

    _tap: FeatureTap  # of the batch under way

    def __init__(
        self,
        *,
        buffer: int | str = "1%",
        selection: Selection = "random",
        fixed_classes: int | None = None,
        contrastive_weight: float = 1.0,
        temperature: float = 0.1,
        projection_dim: int = 128,
    ) -> None:
        super().__init__(buffer=buffer, selection=selection, fixed_classes=fixed_classes)
        self.contrastive_weight = contrastive_weight
        self.temperature = temperature
        self.projection_dim = projection_dim
        self.projector_: nn.Module | None = None  # of a foreign network

    @property
    def batch_views(self) -> int:
        return 2 if self.contrastive_weight > 0 else 1

    def prepare_model(self, model: nn.Module) -> None:
        if not isinstance(model, Classifier):
            return
        if model.backbone.frozen and self.contrastive_weight > 0:
            raise UserError(
                "supcon_replay contrasts features, which --model.frozen keeps as they are; pass "
                "false, or take er"
            )
        if not hasattr(model, "projector"):
            model.projector = make_projector(model.feature_dim, self.projection_dim)

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        if isinstance(strategy.model, Classifier):
            return
        if self.projector_ is None:
            last = classifier_of(strategy.model)
            assert isinstance(last, nn.Linear), "as it is of every foreign network"
            projector = make_projector(last.in_features, self.projection_dim)
            self.projector_ = projector.to(strategy.device)
        own_group(strategy.optimizer, list(self.projector_.parameters()))

    def before_forward(self, strategy: Strategy, **kwargs: Any) -> None:
        self._tap = FeatureTap(strategy.model)

    def after_forward(self, strategy: Strategy, **kwargs: Any) -> None:
        self._tap.end()

    def before_backward(self, strategy: Strategy, **kwargs: Any) -> None:
        if self.contrastive_weight > 0:
            first, second = views_of(strategy, self)
            if strategy.clock.train_exp_iterations == 0:
                warn_of_one_view(first, second)
            projector = self._projector_of(strategy.model)
            with self._tap.autocast:
                vectors = [self._tap.features, feature_function(strategy.model)(second)]
                z1, z2 = (projector(features) for features in vectors)
            loss = supcon_loss(z1, z2, labels=strategy.mb_y, temperature=self.temperature)
            strategy.loss += self.contrastive_weight * loss

    def _projector_of(self, model: nn.Module) -> nn.Module:
        found = model.projector if isinstance(model, Classifier) else self.projector_
        assert isinstance(found, nn.Module), "made before training"
        return found


def make_projector(width: int, projection_dim: int) -> nn.Module:
    """Return the projector: a hidden layer as wide as the features, and a linear one."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))


def warn_of_one_view(first: Tensor, second: Tensor) -> None:
    """Warn if the two views of a batch are the same."""
    if first.equal(second):
        warnings.warn(
            "supcon_replay: both views of each sample are the same, as the training transform is "
            "not random; augment the training samples, or give --model.bank_views",
            stacklevel=2,
        )
