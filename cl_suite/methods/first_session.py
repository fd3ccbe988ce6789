"""Base class for strategies that tune a network on the base session and leave the rest to a rule.

In the base session some parameters of a pretrained network learn by cross-entropy on scaled
cosines, for a fixed number of epochs. Then the whole network is frozen. The rows of all classes, in
this and every later session, come from another strategy's rule, such as class means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.methods.host import make_host
from cl_suite.models.classifier import Classifier
from cl_suite.models.encoder import Encoder, StudentPass
from cl_suite.models.features import classifier_of, unreduced
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.plugin import Above, Template, session_classes, session_stats

TUNER = "tuner"  # name of the base session's own classifier in the network


@dataclass(kw_only=True, eq=False)
class FirstSessionPlugin(HeadPlugin):
    """Tune on the base session, freeze, then let a head rule write the rows of every session.

    A subclass adds its trainable parts in `add_parts` and names what learns in `learning`. The
    network runs in eval mode meanwhile, so BatchNorm's statistics stay; dropout acts on adapters.

    Args:
        head_rule: strategy that makes the rows from features, with the parameters of its YAML file:
            simple_cil (class means), teen, teen_whitened, lda, klda, ranpac or c_ranpac; in Python
            also a plugin.
        head_rule_params: parameters of that strategy that differ from its YAML file.
        scale: factor on the cosines in the base session's cross-entropy.
    """

    head_rule: Any = "simple_cil"
    head_rule_params: dict[str, Any] | None = None
    scale: Annotated[float, Above(0)] = 16.0
    rule_: HeadPlugin | None = field(default=None, init=False, repr=False)

    requirements = replace(HeadPlugin.requirements, own_adapters=True, rate_auto=True)
    trains_network = True

    _encoder: Encoder = field(init=False, repr=False)  # of the base session
    _pass: StudentPass = field(init=False, repr=False)  # of the current batch

    def add_parts(self, model: nn.Module) -> None:
        """Add what will learn to an untrained network, and freeze the rest of its encoder."""
        raise NotImplementedError

    def learning(self, encoder: Encoder) -> Iterable[nn.Parameter]:
        """Return the encoder's parameters that learn in the base session."""
        raise NotImplementedError

    @property
    def rule(self) -> HeadPlugin:
        """The strategy that makes the rows.

        Raises:
            UserError: if `head_rule` names none, or one that trains the network itself.
        """
        if self.rule_ is None:
            rule = make_host(self.head_rule, self.head_rule_params or {}, "head_rule")
            if not isinstance(rule, HeadPlugin) or rule.trains_network:
                raise UserError(
                    f"head_rule must be a strategy that makes its rows from features alone, got "
                    f"'{self.rule_name}'; choose simple_cil, teen, teen_whitened, lda, klda, "
                    "ranpac or c_ranpac"
                )
            self.rule_ = rule
        return self.rule_

    @property
    def rule_name(self) -> str:
        """The rule's name for messages."""
        return self.head_rule if isinstance(self.head_rule, str) else type(self.head_rule).__name__

    @property
    def rule_parameters(self) -> dict[str, Any]:
        """All parameters of the rule, those of its YAML file and its defaults included."""
        return {f.name: getattr(self.rule, f.name) for f in fields(self.rule) if f.init}

    def check(self) -> None:
        super().check()
        _ = self.rule  # refuse an unsuitable one at once

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        own = self.rule.make_head(dim, num_classes, temperature)
        return own or CosineHead(dim, num_classes, temperature)

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

    def kept_data(self) -> tuple[int, int]:
        return self.rule.kept_data()

    def session_note(self, session: int) -> str:
        return self.rule.session_note(session)

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        self.rule.check_stream(info, session_sizes)

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

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        classes = self.rule.learn(template, head)
        if not self.rule.base_classes_:
            self.rule.base_classes_ = classes
        return classes

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
