"""The engine: trains a strategy one session at a time; it can stop and resume after any epoch.

The training loop is Avalanche's; two engine plugins run around the strategy's plugin.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cl_suite.avalanche import api, plugin_state
from cl_suite.data.stream import Stream
from cl_suite.distributed.group import gathered, size
from cl_suite.distributed.shares import synchronise_batchnorm
from cl_suite.engine.base_watch import BaseTraining
from cl_suite.engine.evaluation import Predictions, joined
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.measuring import Measuring, measures
from cl_suite.engine.passes import PassCounter
from cl_suite.engine.plugins import make_template
from cl_suite.engine.session import (
    BaseArtefact,
    EngineCalls,
    EpochRecord,
    SessionContext,
    SessionState,
)
from cl_suite.engine.training import TrainingConfig
from cl_suite.engine.training_data import TrainingData
from cl_suite.engine.transductive import check_head
from cl_suite.engine.watched_base import WatchedBase
from cl_suite.errors import UserError
from cl_suite.features.source import FeatureSource, Part
from cl_suite.models.classifier import Classifier
from cl_suite.models.digest import state_digest
from cl_suite.plugin import answers_of
from cl_suite.randomness import random_state, set_random_state
from cl_suite.requirements import requirements_of


class Engine:
    """One stream, one classifier, one strategy.

    Args:
        stream: the sessions; the strategy receives only the current one's training data.
        model: the classifier.
        plugin: the strategy, any Avalanche plugin.
        training: the training recipe.
        on_batch: called after each training step with (session, epoch, step, steps an epoch).
        on_epoch: called after each epoch with its record; it may capture the engine's state.
        start: a finished base session to start from, instead of training one.
        evaluation: settings of the evaluation, including its probes.
        watches: whether to measure if the base session's training makes the network worse.
    """

    def __init__(
        self,
        stream: Stream,
        model: Classifier,
        plugin: Any,
        training: TrainingConfig,
        *,
        device: torch.device | str = "cpu",
        on_batch: Callable[[int, int, int, int], None] | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        start: BaseArtefact | None = None,
        evaluation: EvaluationConfig | None = None,
        watches: bool = False,
    ) -> None:
        self.stream = stream
        self.model = model.to(device)
        self.passes = PassCounter(model.backbone)
        self.plugin = plugin
        self.requirements = requirements_of(plugin)
        self.training = training
        self.device = torch.device(device)
        self.on_batch = on_batch
        self.on_epoch = on_epoch
        self.pending: dict[str, Any] | None = None  # a captured state still to be restored
        self.measure, self.probes = measures(plugin, evaluation or EvaluationConfig())
        self.measuring = self._measuring(evaluation or EvaluationConfig())
        if self.measuring.settings.transductive != "none" and self.measure == "classifier":
            check_head(self.model.head)
        answers_of(plugin).prepare_model(self.model)
        self.context = SessionContext(
            model=self.model,
            training=training,
            device=self.device,
            calls=EngineCalls(
                _weakly(self.restore_pending),
                _weakly(self._tell_base),
                _weakly(self._tell_batch),
                _weakly(self._tell_epoch),
            ),
            requirements=self.requirements,
            start=start,
            state=SessionState(session=-1, finished=True),
            extra_epochs=answers_of(plugin).extra_epochs,
        )
        with api.quiet():
            self.template, self.closing = make_template(self.context, plugin)
        self.base = WatchedBase(self.context, stream, self.closing.lap) if watches else None

    @property
    def state(self) -> SessionState:
        """The state of the current session, or of the last one."""
        return self.context.state

    @property
    def data(self) -> TrainingData:
        """The training samples of the stream, without labels if the strategy does not use them."""
        return TrainingData(self.stream, shows_labels=self.requirements.labels)

    @property
    def artefact(self) -> BaseArtefact | None:
        """The finished base session; None before it is trained."""
        return self.context.artefact

    @property
    def base_training(self) -> BaseTraining | None:
        """What the base session's training did to the features; None if it was not measured.

        A run that starts from another one's base session, and trains it no further, has its record.
        """
        own = None if self.base is None else self.base.watch.record
        start = self.context.start
        return own if own is not None or start is None else start.training

    def train_session(self, session: int) -> None:
        """Train on one session, or on the rest of it after a restore."""
        if self.pending is None:
            rows = len(self.model.head.classes)
            self.context.state = SessionState(
                session, rows_at_start=rows, random_at_start=random_state()
            )
        self.template.train_epochs = self.num_epochs(session)
        self.template.optimizer = self.training.make_optimizer(self.model.parameters(), session)
        self.template.optimized_param_id = None
        knows_before = session > 0 and self.requirements.labels
        experience = api.lone_experience(
            self.data.session(session),
            session,
            self.stream.info.seen_classes(session - 1) if knows_before else (),
            self.stream.info.class_names,
        )
        self.closing.lap()
        synchronise_batchnorm(self.training.sync_batchnorm)
        with api.quiet(), api.same_batches():
            self.template.train([experience])
        if self.base is not None and session == 0:
            self.base.ends(self.template.feature_source)
        if self.artefact is not None:
            self.artefact.training = self.base_training
        # probes need labels, which may have been withheld from the strategy
        if self.requirements.labels and (self.measure != "classifier" or self.probes):
            self.measuring.features.take_over(self.template.feature_source, session)
        del self.template.feature_source
        self._compare_processes()
        self.state.seconds += self.closing.lap()
        self.state.finished = True

    def num_epochs(self, session: int) -> int:
        """Return the number of epochs of a session."""
        return self.context.num_epochs(session)

    def evaluate(self, session: int) -> Tensor:
        """Return the confusion matrix over the test data of all sessions so far, in one pass.

        Test features are kept while the backbone is unchanged. After a session that changes only
        the head, evaluation runs only the head. A probe measures a strategy without a classifier
        (see `EvaluationConfig`).
        """
        return joined(self.predictions(session, self.measure)).matrix()

    def predictions(self, session: int, measure: str) -> list[Predictions]:
        """Return the predictions for the test data of each session so far.

        They grow with the samples, a confusion matrix with the square of the classes.

        Args:
            measure: classifier, or a probe: linear or knn.
        """
        return self.measuring.predictions(session, measure)

    def _compare_processes(self) -> None:
        """Raise `UserError` if another process has learned another model."""
        if size() > 1:
            digests = gathered(torch.tensor(list(state_digest(self.model)), dtype=torch.uint8))
            if any(not digest.equal(digests[0]) for digest in digests):
                raise UserError(
                    "the processes of this run have learned different models, because their "
                    "machines compute differently or the strategy draws numbers of its own; start "
                    "all on machines of one kind, or run one process"
                )

    def _measuring(self, settings: EvaluationConfig) -> Measuring:
        info, sets = self.stream.info, {"train": self.stream.train, "test": self.stream.test}

        def data(session: int, part: Part) -> Any:
            samples = sets[part][session]
            transform = info.eval_transform
            return api.dataset(samples, transform, transform, range(len(samples)))

        source = FeatureSource(
            self.model,
            data,
            batch_size=self.training.eval_batch_size,
            num_workers=self.training.num_workers,
            device=self.device,
        )
        return Measuring(
            self.model,
            source,
            settings,
            num_classes=info.num_classes,
            session_classes=info.session_classes,
            class_counts=[
                Counter(int(class_id) for class_id in samples.targets)
                for samples in sets["train"] * (settings.transductive != "none")
            ],
        )

    def _tell_base(self) -> None:
        # of a resumed session it was measured before
        if self.base is not None and self.pending is None:
            self.base.begins(self.template.feature_source)

    def _tell_batch(self, step: int, steps: int) -> None:
        if self.on_batch is not None:
            self.on_batch(self.state.session, self.state.epochs_done, step, steps)

    def _tell_epoch(self, record: EpochRecord) -> None:
        if self.base is not None and record.session == 0:
            self.base.watch.epoch(record.loss)
        if self.on_epoch is not None:
            self.on_epoch(record)

    def kept_data(self) -> tuple[int, int]:
        """Return how many samples the strategy keeps for later, and their bytes."""
        ids = plugin_state.kept_samples(plugin_state.capture(self.plugin))
        own = answers_of(self.plugin).kept_data()
        return own[0] + len(ids), own[1] + self.data.num_bytes(ids)

    def state_dict(self) -> dict[str, Any]:
        """Return the full training state, as a tree for `checkpoint.save`."""
        optimizer = self.template.optimizer.state_dict() if not self.state.finished else None
        clock = self.template.clock
        return {
            "progress": vars(self.state),
            "model": self.model.trained_state(),
            "plugin": plugin_state.capture(self.plugin),
            "optimizer": optimizer,
            "clock": {k: v for k, v in vars(clock).items() if isinstance(v, int)},
            "stop": self.template._stop_training,
            "random": random_state(),
            "watch": None if self.base is None else self.base.watch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a captured state: at once between sessions, within one in `train_session`."""
        self.context.state = SessionState(**state["progress"])
        # checkpoints of version 0.3 and earlier have none
        if self.base is not None and state.get("watch") is not None:
            self.base.watch.load_state_dict(state["watch"])
        self._restore(state)
        if not self.state.finished:
            # prepare the session again from its start, then restore the captured state
            self.pending = state
            self.model.head.keep_first(self.state.rows_at_start)
            set_random_state(self.state.random_at_start)

    def restore_pending(self) -> None:
        """Restore a state captured within a session, once every callback has prepared the session.

        It cannot happen earlier: preparing draws random numbers and makes a new optimiser.
        """
        if self.pending is not None:
            state, self.pending = self.pending, None
            self._restore(state)
            self.template.optimizer.load_state_dict(state["optimizer"])

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_trained_state(state["model"])
        plugin_state.restore(self.plugin, state["plugin"], self.data.gather, self.model)
        self.template.clock.__dict__.update(state["clock"])
        self.template._stop_training = state["stop"]
        set_random_state(state["random"])


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls a bound method without a reference to its object.

    A strategy can reach the engine's plugins, and through references everything they hold.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        found = reference()
        assert found is not None, "the engine lives as long as its template trains"
        found(*arguments)

    return call
