"""Supervised contrastive replay: rehearsal with a contrastive term on two views of each image.

Mai et al. (CVPR workshop 2021, arXiv 2103.13885) train a network on new and kept samples with the
supervised contrastive loss (Khosla et al., NeurIPS 2020), because a softmax classifier prefers the
classes it saw last. With features `f`, a projector `g`, and `z = g(f(x)) / |g(f(x))|`,

    L = L_CE(x) + w * L_sup({z of x, z of x'})

for the two random views `x` and `x'` of each sample of a batch, new or kept. Every other row of the
same class is a positive, and every other row is in the denominator.

Differences from the paper:
    - cross-entropy on the first view trains the classifier that predicts, in addition to the
      contrastive loss; the paper has only the contrastive loss, and predicts by the nearest class
      mean of the samples kept;
    - the memory has a quota for each class and is filled at the end of a session, and a session has
      several epochs; the paper's stream is seen once, and its memory is a reservoir
      (`memory: reservoir`). As in the paper, each batch comes with another one from the memory
      (`replay: batch`);
    - a view is the scenario's training transform; the paper crops, flips, and changes colours. If
      the transform is not random, both views are the same and each session warns.

The projector has two layers, is trained with the network, and is not used in predictions. It
belongs to the classifier. The plugin holds it for a foreign network, to which no layer can be added
without knowing how it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from torch import nn

from cl_suite.errors import UserError, option
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.optimizer_groups import own_group
from cl_suite.methods.replay.rehearsal import RehearsalPlugin
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import FeatureTap, classifier_of, feature_function
from cl_suite.plugin import BatchLayout, Requirements, Template, Within, views_of, warn_of_one_view


@dataclass(kw_only=True, eq=False)
class SupConReplayPlugin(RehearsalPlugin):
    """Cross-entropy and the supervised contrastive loss on new and kept samples.

    Args:
        contrastive_weight: `w`, weight of the contrastive term; 0: plain rehearsal.
        temperature: temperature of the contrastive term.
        projection_dim: width of `z`.
    """

    contrastive_weight: Annotated[float, Within(0)] = 1.0
    temperature: Annotated[float, Within(1e-3)] = 0.1
    projection_dim: Annotated[int, Within(1)] = 128
    projector_: nn.Module | None = field(default=None, init=False)  # for a foreign network

    _tap: FeatureTap = field(init=False, repr=False)  # on the current batch

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # parameters decide
        """Two views for the contrastive term."""
        views = 2 if self.contrastive_weight > 0 else 1
        return Requirements(carries_base_state=True, batch=BatchLayout(views=views))

    @property
    def runs_network(self) -> bool:
        return True

    def prepare_model(self, model: nn.Module) -> None:
        if not isinstance(model, Classifier):
            return
        if model.backbone.frozen and self.contrastive_weight > 0:
            raise UserError(
                f"supcon_replay trains features, which {option('model.frozen')} keeps fixed; pass "
                f"{option('model.frozen', 'false')}, or use er"
            )
        if not hasattr(model, "projector"):
            model.projector = make_projector(model.feature_dim, self.projection_dim)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if isinstance(template.model, Classifier):
            return
        if self.projector_ is None:
            last = classifier_of(template.model)
            assert isinstance(last, nn.Linear), "true of every foreign network"
            projector = make_projector(last.in_features, self.projection_dim)
            self.projector_ = projector.to(template.device)
        own_group(template.optimizer, list(self.projector_.parameters()))

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap = FeatureTap(template.model)

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap.end()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        if self.contrastive_weight > 0:
            first, second = views_of(template, self)
            if template.clock.train_exp_iterations == 0:
                warn_of_one_view(
                    first, second, "supcon_replay", f"pass {option('model.bank_views')}"
                )
            projector = self._projector_of(template.model)
            with self._tap.autocast:
                vectors = [self._tap.features, feature_function(template.model)(second)]
                z1, z2 = (projector(features) for features in vectors)
            loss = supcon_loss(z1, z2, labels=template.mb_y, temperature=self.temperature)
            template.loss += self.contrastive_weight * loss

    def _projector_of(self, model: nn.Module) -> nn.Module:
        found = model.projector if isinstance(model, Classifier) else self.projector_
        assert isinstance(found, nn.Module), "made before training"
        return found


def make_projector(width: int, projection_dim: int) -> nn.Module:
    """Return the projector: a hidden layer as wide as the features, then a linear layer."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
