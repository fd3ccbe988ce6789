"""Base class for strategies that tune a network on the base session and leave the rest to a rule.

In the base session some parameters of a pretrained network learn by cross-entropy on scaled
cosines, for a fixed number of epochs. Then the whole network is frozen. The rows of all classes, in
this and every later session, come from another strategy's rule, such as class means.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.methods.head_rule import HeadRulePlugin
from cl_suite.models.classifier import Classifier
from cl_suite.models.encoder import Encoder, StudentPass
from cl_suite.models.features import classifier_of, unreduced
from cl_suite.models.heads.class_head import CosineHead
from cl_suite.plugin import Above, Template, session_classes, session_stats

TUNER = "tuner"  # name of the base session's own classifier in the network


@dataclass(kw_only=True, eq=False)
class FirstSessionPlugin(HeadRulePlugin):
    """Tune on the base session, freeze, then let a head rule write the rows of every session.

    A subclass adds its trainable parts in `add_parts` and names what learns in `learning`. The
    network runs in eval mode meanwhile, so BatchNorm's statistics stay; dropout acts on adapters.

    Args:
        scale: factor on the cosines in the base session's cross-entropy.
    """

    scale: Annotated[float, Above(0)] = 16.0

    requirements = replace(HeadRulePlugin.requirements, own_adapters=True, rate_auto=True)

    _encoder: Encoder = field(init=False, repr=False)  # of the base session
    _pass: StudentPass = field(init=False, repr=False)  # of the current batch

    def add_parts(self, model: nn.Module) -> None:
        """Add what will learn to an untrained network, and freeze the rest of its encoder."""
        raise NotImplementedError

    def learning(self, encoder: Encoder) -> Iterable[nn.Parameter]:
        """Return the encoder's parameters that learn in the base session."""
        raise NotImplementedError

    def prepare_model(self, model: nn.Module) -> None:
        if isinstance(model, Classifier) and model.backbone.frozen:
            raise UserError(
                f"{type(self).__name__} tunes the backbone, which {option('model.frozen')} keeps "
                "unchanged; pass false"
            )
        if hasattr(model, TUNER):
            return
        if isinstance(model, Classifier):
            dim = model.feature_dim
        else:
            dim = int(classifier_of(model).in_features)  # type: ignore[arg-type]  # linear
        tuner = CosineHead(dim, 0, self.scale)
        self.add_parts(model)
        model.add_module(TUNER, tuner.to(next(model.parameters()).device))

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        super().before_train_dataset_adaptation(template, **kwargs)
        if not self.base_classes_:
            tuner = tuner_of(template.model)
            tuner.keep_first(0)  # a resumed session begins like any other
            tuner.grow(session_classes(template))

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if self.base_classes_ or not template.train_epochs:
            return
        tuner = tuner_of(template.model)
        stats = session_stats(template)
        tuner.set_rows(stats.classes, stats.mean[:, : tuner.dim])
        self._encoder = Encoder(template.model)
        template.model.requires_grad_(False)
        for parameter in (*self.learning(self._encoder), *tuner.parameters()):
            parameter.requires_grad_(True)

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        if not self.base_classes_:
            stage = self.recorded_stage
            self._pass = StudentPass(self._encoder, template.mb_x, stage, dropout=True)

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        if not self.base_classes_:
            self._pass.end()
            template.mb_output = scored(template.model, self._pass.features)

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        if not self.base_classes_:
            tuner_of(template.model).keep_first(0)  # it has served
            template.model.requires_grad_(False)
        super().after_training_exp(template, **kwargs)

    @property
    def recorded_stage(self) -> int:
        """Block whose input each pass of the base session records; -1: none."""
        return -1


def tuner_of(model: nn.Module) -> CosineHead:
    """Return the base session's own classifier."""
    tuner = getattr(model, TUNER)
    assert isinstance(tuner, CosineHead), "made by prepare_model"
    return tuner


def scored(model: nn.Module, features: Tensor) -> Tensor:
    """Return the base session's logits `(batch, outputs)` of features `(batch, width)`.

    Only the first columns are trained; others are of the network before tuning.
    """
    tuner = tuner_of(model)
    logits: Tensor = tuner(unreduced(features[:, : tuner.dim]))
    return logits
