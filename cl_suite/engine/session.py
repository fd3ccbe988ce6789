"""Records of a session that the engine shares with its plugins and listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cl_suite.engine.base_watch import BaseTraining
from cl_suite.engine.training import TrainingConfig
from cl_suite.features.stats import ClassStats
from cl_suite.models.classifier import Classifier
from cl_suite.requirements import Requirements


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's entry in the log; times in seconds."""

    session: int
    epoch: int
    loss: float | None
    learning_rate: float
    num_samples: int
    seconds: float


@dataclass
class SessionState:
    """The part of a session in progress that must survive a stop."""

    session: int
    epochs_done: int = 0
    finished: bool = False
    seconds: float = 0.0
    rows_at_start: int = 0
    random_at_start: dict[str, Any] = field(default_factory=dict)


@dataclass
class BaseArtefact:
    """A finished base session, before any strategy acted on it.

    Attributes:
        model: the weights that differ from published ones.
        stats: class statistics of its features, None if its strategy did not ask for any.
        training: what its training did to the features, None if that was not measured.
    """

    model: dict[str, Tensor]
    stats: ClassStats | None
    training: BaseTraining | None = None


@dataclass(frozen=True)
class EngineCalls:
    """Calls from the engine's plugins to the engine, without a reference to it.

    Attributes:
        restore_pending: restores a state captured within this session, if there is one.
        base_begins: the base session is prepared, and its training begins.
        batch: reports a training step: its number and the steps of an epoch.
        epoch: reports an epoch; the engine's state may be captured now.
    """

    restore_pending: Callable[[], None]
    base_begins: Callable[[], None]
    batch: Callable[[int, int], None]
    epoch: Callable[[EpochRecord], None]


@dataclass
class SessionContext:
    """What the template and the engine's plugins share; it gives no access to other data."""

    model: Classifier
    training: TrainingConfig
    device: torch.device
    calls: EngineCalls
    requirements: Requirements
    start: BaseArtefact | None
    state: SessionState
    artefact: BaseArtefact | None = None
    trained_digest: bytes = b""  # of the backbone as the base session's training left it
    extra_epochs: Callable[[int], int] = lambda session: 0

    def recipe_epochs(self, session: int) -> int:
        """Return a session's epochs by the recipe.

        There are 0 for a base session from another run, or if the strategy would discard
        everything that is trained.
        """
        if (session == 0 and self.start is not None) or (
            self.requirements.rewrites_rows and self.model.backbone.frozen
        ):
            return 0
        return self.training.epochs(session)

    def num_epochs(self, session: int) -> int:
        """Return a session's epochs, including those that the strategy adds."""
        return self.recipe_epochs(session) + self.extra_epochs(session)
