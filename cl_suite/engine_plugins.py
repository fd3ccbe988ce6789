"""The engine's two plugins, which enclose the strategy's in Avalanche's training loop.

The opening one acts first (batches from tensors, learning rate, restoring), the closing one after
everything else (records, and through them checkpoints).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from cl_suite.base_session import BaseArtefact
from cl_suite.data.loader import batches
from cl_suite.models.features import feature_function
from cl_suite.models.modes import batchnorms, evaluating
from cl_suite.models.stats import ClassStats, class_stats, extract

if TYPE_CHECKING:
    from cl_suite.engine import Engine


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch leaves in the log; times in seconds."""

    session: int
    epoch: int
    loss: float | None
    learning_rate: float
    num_samples: int
    seconds: float


class OpeningPlugin:
    """Acts before the strategy's plugin."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        head = self.engine.model.head
        head.grow(sorted(strategy.experience.classes_in_this_experience))
        if strategy.experience.current_experience == 0 and self.engine.start is not None:
            self.engine.model.load_state_dict(self.engine.start.model)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        training = self.engine.training
        strategy.dataloader = batches(
            strategy.adapted_dataset,
            training.batch_size,
            shuffle=True,
            num_workers=training.num_workers,
        )
        self._still_batchnorm(strategy.model)

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        engine = self.engine
        engine.restore_pending()
        session, epoch = engine.state.session, engine.state.epochs_done
        factor = engine.training.factor(epoch, engine.num_epochs(session))
        for group in strategy.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
        self._still_batchnorm(strategy.model)

    def _still_batchnorm(self, model: nn.Module) -> None:
        # the template puts the whole model in train mode before a session
        if self.engine.state.session > 0 and self.engine.training.incremental_batchnorm == "eval":
            for layer in batchnorms(model):
                layer.eval()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        engine = self.engine
        engine.restore_pending()
        if engine.state.session > 0:
            return
        stats = engine.start.stats if engine.start is not None else self._base_stats(strategy)
        strategy.session_stats = stats
        weights = {k: v.detach().cpu().clone() for k, v in engine.model.state_dict().items()}
        engine.artefact = BaseArtefact(weights, stats)

    def _base_stats(self, strategy: Any) -> ClassStats:
        loader = batches(
            strategy.experience.dataset.eval(),
            self.engine.training.eval_batch_size,
            num_workers=self.engine.training.num_workers,
        )
        with evaluating(strategy.model):
            features = feature_function(strategy.model)
            return class_stats(*extract(features, loader, device=strategy.device))


class ClosingPlugin:
    """Acts after the strategy's plugin and after Avalanche's own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock_start = time.perf_counter()
        self.loss_sum: Tensor | None = None
        self.num_samples = 0
        self.step = 0

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        seconds, self.clock_start = now - self.clock_start, now
        return seconds

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.loss_sum, self.num_samples, self.step = None, 0, 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        num = len(strategy.mb_x)
        loss = strategy.loss.detach().sum() * num
        # summed on the device: a look at every step would wait for it
        self.loss_sum = loss if self.loss_sum is None else self.loss_sum + loss
        self.num_samples += num
        self.step += 1
        if self.engine.on_batch is not None:
            state = self.engine.state
            steps = len(strategy.dataloader)
            self.engine.on_batch(state.session, state.epochs_done, self.step, steps)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        state = self.engine.state
        mean_loss = None
        if self.loss_sum is not None:
            mean_loss = float(self.loss_sum) / self.num_samples
        seconds = self.lap()
        record = EpochRecord(
            session=state.session,
            epoch=state.epochs_done,
            loss=mean_loss,
            learning_rate=strategy.optimizer.param_groups[0]["lr"],
            num_samples=self.num_samples,
            seconds=seconds,
        )
        state.epochs_done += 1
        state.seconds += seconds
        if self.engine.on_epoch is not None:
            self.engine.on_epoch(record)
