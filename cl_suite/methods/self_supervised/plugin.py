"""Base class for methods that learn from two unlabelled views of each sample.

A projector on top of the features is trained with them. For two views `x1` and `x2` of each sample,
the network `f` and the projector `h`, a method has a loss of `z1 = h(f(x1))` and `z2 = h(f(x2))`.
It may compare them with two copies of network and projector:

    the momentum copy  follows by a moving average after each step (MoCo); `k1`, `k2`
    the past copy      is the network at the start of a session, from the second session on
                       (CaSSLe, Sy-CON); `f1`, `f2`, which a predictor `g` predicts from `z1`, `z2`

Both run without gradients, once per view. The momentum copy has the network's mode, and the past
copy is in eval mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.losses.inputs import unit_rows
from cl_suite.losses.key_queue import KeyQueue, ema_update_
from cl_suite.losses.moco import moco_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.methods.self_supervised.projected import (
    Wrapped,
    add_projector,
    embed,
    follow_modes,
    still_copy,
)
from cl_suite.methods.self_supervised.views import Augmentation, ssl_views, with_views
from cl_suite.methods.self_supervised.with_projector import ProjectorPlugin
from cl_suite.models.classifier import Classifier
from cl_suite.plugin import (
    BatchLayout,
    Requirements,
    Template,
    Within,
    session_classes,
    views_of,
    warn_of_one_view,
)

Queued = Literal["keys", "past"]
Pair = tuple[Tensor, Tensor]  # of the first and the second views, (batch, projection_dim) each


@dataclass(frozen=True)
class Embedded:
    """The projections of the two views of a batch.

    Attributes:
        z: the network's projections, with gradient; of unit length if there is a momentum copy.
        keys: the momentum copy's, of unit length; None without one.
        past: the past copy's, of unit length; None without one, for instance in the first session.
        predicted: the predictor's output for `z`, with gradient; None without a past copy.
    """

    z: Pair
    keys: Pair | None
    past: Pair | None
    predicted: Pair | None


@dataclass(kw_only=True, eq=False)
class MomentumParameters:
    """Parameters of methods with a momentum copy.

    Args:
        queue_size: projections of earlier batches kept as negatives, for each view.
        first_momentum, last_momentum: share of the momentum copy kept in a session's first step
            and in its last step.
    """

    queue_size: Annotated[int, Within(1)] = 4096
    first_momentum: Annotated[float, Within(0, 1)] = 0.99
    last_momentum: Annotated[float, Within(0, 1)] = 0.999


@dataclass(kw_only=True, eq=False)
class PredictorParameters:
    """Parameters of methods with a predictor.

    Args:
        predictor_dim: width of the predictor's hidden layer.
    """

    predictor_dim: Annotated[int, Within(1)] = 2048


@dataclass(kw_only=True, eq=False)
class SelfSupervisedPlugin(ProjectorPlugin):
    """Learn features from two views of each sample; by default with the loss of SimCLR or MoCo.

    Subclasses declare their needs by `has_momentum` and `has_past`, and override `loss`.

    Args:
        temperature: temperature of the contrastive loss.
        augmentation: transform that makes a view: SimCLR's transforms for photographs (standard),
            the scenario's training transform (scenario), or the first for colour images and the
            second for everything else (auto).
        projector_dim: width of the projector's hidden layer.
        projection_dim: width of a projection.
    """

    temperature: Annotated[float, Within(1e-3)] = 0.2
    augmentation: Augmentation = "auto"
    projector_dim: Annotated[int, Within(1)] = 2048
    projection_dim: Annotated[int, Within(1)] = 128
    sessions_: int = field(default=0, init=False)  # finished sessions
    past_: nn.Module | None = field(default=None, init=False)
    momentum_: nn.Module | None = field(default=None, init=False)
    queues_: nn.ModuleDict | None = field(default=None, init=False)

    # parameters of `MomentumParameters` and `PredictorParameters`
    queue_size: int = field(init=False, repr=False)
    first_momentum: float = field(init=False, repr=False)
    last_momentum: float = field(init=False, repr=False)
    predictor_dim: int = field(init=False, repr=False)

    _embedded: Embedded | None = field(default=None, init=False, repr=False)  # the current batch

    @property
    def runs_network(self) -> bool:
        return True

    # --- what a method defines ---

    @property
    def has_momentum(self) -> bool:
        """Whether there are a momentum copy and queues of its projections."""
        return False

    @property
    def has_past(self) -> bool:
        """Whether there are a past copy and a predictor."""
        return False

    @property
    def queued(self) -> tuple[Queued, ...]:
        """Which projections are kept in queues, one for each view."""
        return ("keys",) if self.has_momentum else ()

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # parameters decide
        """Two views, no labels; a momentum copy and queues are more than weights."""
        return Requirements(
            classifier=False,
            labels=False,
            carries_base_state=self.has_momentum,
            batch=BatchLayout(views=2, smallest=2),
        )

    def loss(self, embedded: Embedded) -> Tensor:
        """Return the loss of a batch: SimCLR's, or MoCo's if there is a momentum copy."""
        if embedded.keys is None:
            return nt_xent_loss(*embedded.z, temperature=self.temperature)
        (z1, z2), (keys1, keys2) = embedded.z, embedded.keys
        forth = moco_loss(z1, keys2, queue=self.queue("keys", 2), **self._moco_options)
        back = moco_loss(z2, keys1, queue=self.queue("keys", 1), **self._moco_options)
        return (forth + back) / 2

    def queue(self, kind: Queued, view: Literal[1, 2]) -> Tensor:
        """Return the queue `(rows, projection_dim)` of earlier projections of one of the views."""
        assert self.queues_ is not None, "made with the projector"
        queue = self.queues_[f"{kind}{view}"]
        assert isinstance(queue, KeyQueue)
        return queue.filled_keys

    @property
    def _moco_options(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "normalize": False}

    # --- the networks ---

    def complete(self, network: Classifier | Wrapped, width: int) -> None:
        add_projector(
            network,
            width,
            hidden_dim=self.projector_dim,
            projection_dim=self.projection_dim,
            predictor_dim=self.predictor_dim if self.has_past else None,
        )
        if self.queues_ is None:
            names = [f"{kind}{view}" for kind in self.queued for view in (1, 2)]
            self.queues_ = nn.ModuleDict(
                {name: KeyQueue(self.queue_size, self.projection_dim) for name in names}
            )
        self.queues_.to(next(network.parameters()).device)

    # --- callbacks ---

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        if self.augmentation == "standard":
            ssl_views(info)

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        super().before_train_dataset_adaptation(template, **kwargs)
        if isinstance(template.model, Classifier):
            # columns for the template's cross-entropy, which is not used
            template.model.head.widen(max(session_classes(template), default=-1) + 1)

    def after_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        template.adapted_dataset = with_views(template.adapted_dataset, self.augmentation)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.train_projector(template)
        if self.has_past and self.sessions_ > 0:
            self.past_ = still_copy(self.network(template)).eval()

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        # not earlier: a base session from another run is in the network only now
        if self.has_momentum and self.momentum_ is None:
            self.momentum_ = still_copy(self.network(template))

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        first, second = views_of(template, self)
        if template.clock.train_exp_iterations == 0:
            warn_of_one_view(first, second, type(self).__name__, "choose augmentation standard")
        with self._tap.autocast:
            embedded = self._embed(self.network(template), first, second)
            # the template's cross-entropy may be NaN: no labels, or an empty classifier
            template.loss = self.loss(embedded)
        self._embedded = embedded

    def after_update(self, template: Template, **kwargs: Any) -> None:
        embedded, self._embedded = self._embedded, None
        assert embedded is not None, "made before the backward pass"
        if self.momentum_ is not None:
            steps = template.train_epochs * len(template.dataloader)
            kept = self.momentum(template.clock.train_exp_iterations, steps)
            ema_update_(self.momentum_, self.network(template), kept)
        for kind in self.queued:
            for view, rows in enumerate(getattr(embedded, kind) or (), start=1):
                assert self.queues_ is not None, "made with the projector"
                self.queues_[f"{kind}{view}"].push(rows)  # type: ignore[operator]  # of a ModuleDict

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.sessions_ += 1
        self.past_ = None

    def momentum(self, step: int, steps: int) -> float:
        """Return the momentum of step `step`, from 0 on: a cosine from first to last value."""
        share = (1 + math.cos(math.pi * step / max(1, steps))) / 2
        return self.last_momentum - (self.last_momentum - self.first_momentum) * share

    def _embed(self, network: Classifier | Wrapped, first: Tensor, second: Tensor) -> Embedded:
        assert isinstance(network.projector, nn.Module), "made before training"
        z = network.projector(self._tap.features), embed(network, second)
        keys = past = predicted = None
        if self.momentum_ is not None:
            z = unit_rows(z[0]), unit_rows(z[1])
            follow_modes(self.momentum_, network)
            keys = self._unit_rows(self.momentum_, first, second)
        if self.past_ is not None:
            past = self._unit_rows(self.past_, first, second)
            assert isinstance(network.predictor, nn.Module), "made before training"
            predicted = network.predictor(z[0]), network.predictor(z[1])
        return Embedded(z, keys, past, predicted)

    @staticmethod
    @torch.no_grad()
    def _unit_rows(twin: nn.Module, first: Tensor, second: Tensor) -> Pair:
        return unit_rows(embed(twin, first)), unit_rows(embed(twin, second))
