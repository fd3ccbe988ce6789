"""The engine's template for Avalanche's training loop, and its plugins around the strategy's.

The opening plugin acts first (batches from tensors, learning rate, restoring). The closing plugin
acts last (records, and through them checkpoints). A strategy can reach all three, so none of them
holds the stream: they share a `SessionContext`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.avalanche import api
from cl_suite.avalanche.loader import batches
from cl_suite.avalanche.template import Template
from cl_suite.engine.session import BaseArtefact, EpochRecord, SessionContext
from cl_suite.errors import UserError, option
from cl_suite.features.source import FeatureSource, own_session
from cl_suite.models.classifier import Classifier
from cl_suite.models.modes import batchnorms, needs_two_samples


class EngineTemplate(api.SupervisedTemplate):  # type: ignore[misc]  # no types there
    """Avalanche's loop with autocast; it can start a session at a later epoch."""

    context: SessionContext
    feature_source: FeatureSource  # of the current session
    _stop_training: bool

    def forward(self) -> Tensor:
        # the library has no hook around the forward pass
        autocast = (
            torch.autocast(self.context.device.type, dtype=torch.bfloat16)
            if self.context.training.precision == "bfloat16"
            else contextlib.nullcontext()
        )
        with autocast:
            logits: Tensor = super().forward()
            return logits

    def make_train_dataloader(self, **kwargs: Any) -> None:
        # the session's only loader, in the batch layout that the strategy asks for
        training, layout = self.context.training, self.context.requirements.batch
        if layout.smallest < 2 and self._has_unusable_single(training.batch_size):
            layout = replace(layout, smallest=2)
        self.dataloader = batches(
            self.adapted_dataset,
            training.batch_size,
            shuffle=True,
            num_workers=training.num_workers,
            layout=layout,
        )

    def _has_unusable_single(self, batch_size: int) -> bool:
        """Return whether an epoch ends with a batch of one sample that BatchNorm cannot train on.

        Raises:
            UserError: if it has no other batches.
        """
        context, data = self.context, self.adapted_dataset
        session = context.state.session
        last = len(data) % batch_size if batch_size > 1 else 1
        updates = context.num_epochs(session) and context.training.updates_batchnorm(session)
        # a method that rewrites rows trains in the base session alone
        if last != 1 or not updates or (session and context.requirements.rewrites_rows):
            return False
        if not needs_two_samples(self.model, data.eval()[0][0][None].to(self.device)):
            return False
        if len(data) > 1 and batch_size > 1:
            return True
        part = "incremental" if session else "base"
        cause, remedy = (
            (f"session {session} has one training sample", "give it more")
            if len(data) == 1
            else (f"{option('training.batch_size')} is 1", "pass at least 2")
        )
        raise UserError(
            f"{cause}, and BatchNorm cannot train on a single value per channel; {remedy}, or pass "
            f"{option(f'training.{part}_batchnorm', 'eval')}"
        )

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        # `train_epochs` stays the full number after a resume: plugins compute with it
        for _ in range(self.context.state.epochs_done, self.train_epochs):
            self._before_training_epoch(**kwargs)
            if self._stop_training:
                self._stop_training = False
                break
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)


def make_template(context: SessionContext, plugin: Any) -> tuple[EngineTemplate, ClosingPlugin]:
    """Return the template (engine plugins around the strategy's) and the closing plugin."""
    training, closing = context.training, ClosingPlugin(context)
    template = EngineTemplate(
        model=context.model,
        optimizer=training.make_optimizer(context.model.parameters(), 0),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=training.batch_size,
        eval_mb_size=training.eval_batch_size,
        train_epochs=training.base_epochs,
        device=context.device,
        plugins=[OpeningPlugin(context), plugin],
        evaluator=api.silent_evaluator,
    )
    template.context = context
    template.plugins.append(closing)  # after Avalanche's clock too
    return template, closing


class OpeningPlugin:
    """Acts before the strategy's plugin."""

    def __init__(self, context: SessionContext) -> None:
        self.context = context

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        if self.context.requirements.classifier:
            self.context.model.head.grow(sorted(template.experience.classes_in_this_experience))

    def before_training_exp(self, template: Any, **kwargs: Any) -> None:
        # this session's features, computed once for everyone who asks
        template.feature_source = own_session(template)
        self._still_batchnorm(template.model)

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        self.context.calls.restore_pending()
        context = self.context
        epoch, last = context.state.epochs_done, context.recipe_epochs(context.state.session)
        factor = context.training.factor(epoch, last) if epoch < last else 1.0
        for group in template.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
        self._still_batchnorm(template.model)

    def after_training_exp(self, template: Any, **kwargs: Any) -> None:
        context = self.context
        context.calls.restore_pending()
        if context.state.session > 0:
            return
        start, source = context.start, template.feature_source
        # not after the strategy's extra epochs: they have changed the other run's network
        if start is not None and start.stats is not None and not context.num_epochs(0):
            source.put_stats(0, start.stats)
        # the weights as training left them, before any strategy acts on them
        state = context.model.trained_state()
        weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        context.artefact = BaseArtefact(weights, None)
        context.trained_digest = source.backbone_digest()

    def _still_batchnorm(self, model: nn.Module) -> None:
        # the template puts the whole model in train mode before a session
        training = self.context.training
        if not training.updates_batchnorm(self.context.state.session):
            for layer in batchnorms(model):
                layer.eval()


def load_base_weights(model: Classifier, weights: Mapping[str, Tensor]) -> None:
    """Load a base session's weights; a head of another kind takes only the tensors that fit.

    The strategy makes the rest from the class statistics that come along. Networks that only one
    of the two strategies has (projectors, predictors) are left out, or stay untrained.
    """
    # outside the backbone: the head, and any network that a strategy added
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}

    def fits(name: str, tensor: Tensor) -> bool:
        # rows of future classes are made when their session begins
        grows = name in ("head.weight", "head.class_ids")
        first = 1 if grows else 0
        return name in own and own[name].shape[first:] == tensor.shape[first:]

    taken = {
        name: tensor
        for name, tensor in weights.items()
        if name.startswith("backbone.") or fits(name, tensor)
    }
    state = own | taken
    model.load_trained_state(state)


class ClosingPlugin:
    """Acts after the strategy's plugin and after Avalanche's own."""

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.clock_start = time.perf_counter()
        self.loss_sum: Tensor | None = None
        self.num_samples = 0
        self.step = 0

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        seconds, self.clock_start = now - self.clock_start, now
        return seconds

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        # last of all, so a strategy that needs the untrained network still finds it
        if self.context.state.session == 0:
            if self.context.start is not None:
                load_base_weights(self.context.model, self.context.start.model)
            self.context.calls.base_begins()

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        self.loss_sum, self.num_samples, self.step = None, 0, 0

    def after_training_iteration(self, template: Template, **kwargs: Any) -> None:
        num = len(template.mb_x)
        loss = template.loss.detach().sum() * num
        # summed on the device: reading it at every step would wait for the device
        self.loss_sum = loss if self.loss_sum is None else self.loss_sum + loss
        self.num_samples += num
        self.step += 1
        self.context.calls.batch(self.step, len(template.dataloader))

    def after_training_exp(self, template: Any, **kwargs: Any) -> None:
        # a base session carries class statistics if its strategy asked for them and they belong to
        # the weights that it carries
        context, source = self.context, template.feature_source
        if context.state.session == 0 and context.artefact is not None:
            known = source.known_stats(0)
            if source.digest == context.trained_digest:
                context.artefact.stats = known

    def after_training_epoch(self, template: Template, **kwargs: Any) -> None:
        state = self.context.state
        mean_loss = None
        if self.loss_sum is not None:
            mean_loss = float(self.loss_sum) / self.num_samples
        seconds = self.lap()
        record = EpochRecord(
            session=state.session,
            epoch=state.epochs_done,
            loss=mean_loss,
            learning_rate=template.optimizer.param_groups[0]["lr"],
            num_samples=self.num_samples,
            seconds=seconds,
        )
        state.epochs_done += 1
        state.seconds += seconds
        self.context.calls.epoch(record)
