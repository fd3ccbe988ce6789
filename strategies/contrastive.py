"""Contrastive pretraining: the base session by a loss on two views, then any head rule.

Cross-entropy on the base classes is one way to train a network whose features shall serve classes
to come. Here any loss of `cl_suite.losses` takes its place. With the network `f`, a projector `g`
and the projections `z = g(f(x))` of two random views of each sample,

    L = loss(z1, z2; labels, keys, ...) + ce_weight * CE(W f(x), y)

trains the base session. Then the projector has served. The rows of all classes come from
`head_rule`, another strategy's rule, on the features `f(x)`. The projector and the choice to
classify before it are those of SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020, arXiv
2002.05709) and SupCon (Khosla et al., NeurIPS 2020, arXiv 2004.11362):

    supcon, class_mean, nspt                      labels say which samples attract each other
    sbcl, gml                                     the same for unbalanced classes
    nt_xent, info_nce, dcl, macl, nonnegative,    no labels: the two views of a sample attract
    decoupled_uniformity, mcl                     each other
    moco, ascl                                    no labels, against keys of a momentum copy
    cwcl                                          no labels, pairs weighed by the first network
    fassl                                         no labels, for unbalanced samples (reconstructed)

`loss_params` holds a loss's own settings; without it they are its paper's where the paper gives
them. Each file of `cl_suite.losses` names the paper, and each class of
`cl_suite.methods.contrastive` says what is ours, and what differs when it trains a base session.

Differences from the papers:
    - optimiser, epochs and batches are the scenario's, for every loss; the papers train longer, in
      larger batches, with a rate and a schedule of their own;
    - a queue holds at most as many keys as the session has samples. The papers' 4096 keys are a
      small part of their data, and several times all of a small base session;
    - a momentum copy follows with a constant momentum, and has the network's mode;
    - the last batch of an epoch is used too if it has two samples or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.losses.gml import logit_adjusted_cross_entropy
from cl_suite.losses.key_queue import ema_update_
from cl_suite.methods.contrastive.keys import keys_of, no_memory, remember
from cl_suite.methods.contrastive.recipe import ContrastBatch, ContrastRecipe, KeyedRecipe
from cl_suite.methods.contrastive.recipes import LossName, make_recipe
from cl_suite.methods.head_rule import HeadRulePlugin
from cl_suite.methods.self_supervised.projected import (
    Wrapped,
    add_projector,
    embed,
    still_copy,
)
from cl_suite.methods.self_supervised.views import Augmentation, ssl_views, with_views
from cl_suite.methods.self_supervised.with_projector import ProjectorPlugin
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function
from cl_suite.plugin import (
    BatchLayout,
    Requirements,
    Template,
    Within,
    rows_of,
    session_features,
    views_of,
    warn_of_one_view,
)

EXTRAS = "contrast"  # name of a loss's own parameters in the network


@dataclass(kw_only=True, eq=False)
class ContrastivePlugin(ProjectorPlugin, HeadRulePlugin):
    """Train the base session by a contrastive loss; a head rule classifies from then on.

    Args:
        loss: name of the loss.
        loss_params: settings of the loss that differ from its paper's, as `{temperature: 0.2}`.
        ce_weight: weight of a cross-entropy beside the loss; null: the loss's own (gml and nspt: 1,
            others: 0).
        augmentation: transform that makes a view: SimCLR's transforms for photographs (standard),
            the scenario's training transform (scenario), or the first for colour images and the
            second for everything else (auto).
        projector_dim: width of the projector's hidden layer; null: that of the features.
        projection_dim: width of a projection.
    """

    loss: LossName = "supcon"
    loss_params: dict[str, Any] | None = None
    ce_weight: Annotated[float, Within(0)] | None = None
    augmentation: Augmentation = "auto"
    projector_dim: Annotated[int, Within(1)] | None = None
    projection_dim: Annotated[int, Within(1)] = 128
    momentum_: nn.Module | None = field(default=None, init=False, repr=False)
    frozen_: nn.Module | None = field(default=None, init=False, repr=False)
    memory_: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    groups_: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    _counts: Tensor = field(init=False, repr=False)  # (classes,) samples of the base session
    _batch: ContrastBatch | None = field(default=None, init=False, repr=False)

    @cached_property
    def _recipe(self) -> ContrastRecipe:
        """The loss with its settings."""
        return make_recipe(self.loss, self.loss_params or {})

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # the loss decides
        """Two views of each sample, and for some losses its row."""
        layout = BatchLayout(views=2, rows=self._recipe.has_rows, smallest=2)
        return replace(HeadRulePlugin.requirements, batch=layout)

    def check(self) -> None:
        super().check()
        _ = self._recipe  # refuse unsuitable settings at once

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        super().check_stream(info, session_sizes)
        if self.augmentation == "standard":
            ssl_views(info)

    def session_note(self, session: int) -> str:
        said = [super().session_note(session)]
        if session == 0 and not self._recipe.supervised:
            others = "cross-entropy and classifier do" if self._ce_weight else "classifier does"
            said.insert(0, f"trained by a loss that reads no labels ({self.loss}); its {others}")
        return "; ".join(note for note in said if note)

    # --- the networks ---

    def complete(self, network: Classifier | Wrapped, width: int) -> None:
        hidden = self.projector_dim or width
        add_projector(network, width, hidden_dim=hidden, projection_dim=self.projection_dim)
        if not hasattr(network, EXTRAS):
            extras = self._recipe.make_extras(self.projection_dim)
            if extras is not None:
                network.add_module(EXTRAS, extras.to(next(network.parameters()).device))

    # --- callbacks ---

    def after_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        if not self.base_classes_:
            template.adapted_dataset = with_views(template.adapted_dataset, self.augmentation)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if self.base_classes_:
            return
        self._counts = torch.tensor([int(y) for y in template.adapted_dataset.targets]).bincount()
        self.train_projector(template)

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        super().before_training_epoch(template, **kwargs)
        if self.base_classes_:
            return
        network = self.network(template)
        if isinstance(self._recipe, KeyedRecipe) and self.momentum_ is None:
            self.momentum_ = still_copy(network)
        if self._recipe.has_frozen and self.frozen_ is None:
            self.frozen_ = still_copy(network).eval()
        epoch = template.clock.train_exp_epochs
        if self._recipe.regroups(epoch, template.train_epochs):
            features, labels = session_features(template)
            self.groups_ = self._recipe.grouped(features, labels, self.groups_, epoch)

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        if self.base_classes_:
            return
        first, second = views_of(template, self)
        if template.clock.train_exp_iterations == 0:
            warn_of_one_view(first, second, "contrastive", "choose augmentation standard")
        with self._tap.autocast:
            self._batch = self._batch_of(template, first, second)
            loss = self._recipe.loss(self._batch)
        if self._ce_weight:
            loss = loss + self._ce_weight * self._cross_entropy(template)
        template.loss = loss

    def after_update(self, template: Template, **kwargs: Any) -> None:
        batch, self._batch = self._batch, None
        if batch is None or batch.keys is None:
            return
        assert self.momentum_ is not None, "it made the keys"
        assert isinstance(self._recipe, KeyedRecipe), "it has keys"
        ema_update_(self.momentum_, self.network(template), self._recipe.momentum)
        self.memory_ = dict(remember(batch, self._recipe, self._counts))

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().after_training_exp(template, **kwargs)
        self.momentum_ = self.frozen_ = None  # they have served
        self.memory_, self.groups_ = {}, {}

    # --- a batch ---

    def _batch_of(self, template: Template, first: Tensor, second: Tensor) -> ContrastBatch:
        network, labels = self.network(template), template.mb_y
        assert isinstance(network.projector, nn.Module), "made before training"
        keys = frozen = None
        memory: Mapping[str, Tensor] = {}
        if self.momentum_ is not None:
            keys = keys_of(self.momentum_, network, first, second)
            memory = self.memory_ or no_memory(keys)
        if self.frozen_ is not None:
            inner = self.frozen_.network if isinstance(self.frozen_, Wrapped) else self.frozen_
            with torch.no_grad():
                frozen = feature_function(inner)(first)
        return ContrastBatch(
            z=(network.projector(self._tap.features), embed(network, second)),
            labels=labels,
            log_prior=self._log_prior(labels.device),
            progress=template.clock.train_exp_epochs / template.train_epochs,
            keys=keys,
            memory={name: values.to(labels.device) for name, values in memory.items()},
            frozen=frozen,
            rows=rows_of(template, self) if self._recipe.has_rows else None,
            groups=self.groups_,
            extras=getattr(network, EXTRAS, None),
        )

    def _log_prior(self, device: torch.device) -> Tensor:
        counts = self._counts.to(device)
        return (counts / counts.sum()).log()

    @property
    def _ce_weight(self) -> float:
        return self._recipe.ce_weight if self.ce_weight is None else self.ce_weight

    def _cross_entropy(self, template: Template) -> Tensor:
        if not self._recipe.adjusts_logits:
            return template.loss
        logits = template.mb_output
        prior = self._log_prior(logits.device)
        padded = prior.new_full((logits.shape[1],), -torch.inf)
        padded[: len(prior)] = prior
        return logit_adjusted_cross_entropy(logits, template.mb_y, padded)
