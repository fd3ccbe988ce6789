"""A run's part of the dashboard; all of it can be shown again from what a checkpoint holds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from cl_suite.data.stream import StreamInfo
from cl_suite.engine.plugins import EpochRecord
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.metrics.headline import headline
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.checks import flatten
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.storage import checkpoint

SECONDS_BETWEEN_PICTURES = 5.0


class RunDashboard:
    """Shows a run's epochs, sessions and outcome.

    Args:
        folder: the run's.
        info: of its stream.
        log: its main figures.
        probes: figures of probes besides, by name.
    """

    def __init__(
        self, folder: RunFolder, info: StreamInfo, log: MeasureLog, probes: dict[str, MeasureLog]
    ) -> None:
        self.folder, self.info, self.log, self.probes = folder, info, log, probes
        self.dashboard = Dashboard.fresh(folder.path)
        self.last_picture = time.monotonic()

    def replay(self, epochs: Sequence[EpochRecord]) -> None:
        """Show again what was shown before a stop."""
        for step, epoch in enumerate(epochs):
            self.epoch(step, epoch)
        for session in range(len(self.log.records)):
            self.session(session)

    def epoch(self, step: int, record: EpochRecord) -> None:
        """Show an epoch of training."""
        self.dashboard.epoch(
            step=step,
            session=record.session,
            loss=math.nan if record.loss is None else record.loss,
            learning_rate=record.learning_rate,
            images_per_second=record.num_samples / record.seconds if record.seconds else 0.0,
        )

    def session(self, session: int) -> None:
        """Show a session's figures, whose confusion matrix lies in the folder."""
        info = self.info
        confusion = checkpoint.load(self.folder.confusion_file(session))["confusion"]
        last = session == info.num_sessions - 1
        # a run of short sessions would spend most of its time on drawing
        drawn = last or time.monotonic() - self.last_picture > SECONDS_BETWEEN_PICTURES
        if drawn:
            self.last_picture = time.monotonic()
        seen = list(info.seen_classes(session))
        self.dashboard.session(
            self.log.records[session],
            self.log.hits.until(session),
            confusion[np.ix_(seen, seen)],
            [info.class_names[c] for c in seen],
            _arrivals(info, session),
            pictures=drawn,
        )
        for name, log in self.probes.items():
            self.dashboard.probe(name, log.records[session])

    def finish(self, config: RunConfig, head: ClassHead) -> None:
        """Show the prototypes, and the outcome beside the settings."""
        of_class = {c: s for s, new in enumerate(_arrivals(self.info)) for c in new}
        self.dashboard.prototypes(
            head.rows(head.classes).cpu().numpy(),
            [self.info.class_names[c] for c in head.classes],
            [of_class[c] for c in head.classes],
        )
        self.dashboard.finish(_hyperparameters(config), _final_figures(self.log.hits))
        self.dashboard.close()


def _arrivals(info: StreamInfo, until: int | None = None) -> list[list[int]]:
    """Return the classes that each session brings for the first time."""
    last = info.num_sessions - 1 if until is None else until
    found: list[list[int]] = []
    for session in range(last + 1):
        before = set(info.seen_classes(session - 1)) if session else set()
        found.append([c for c in info.session_classes[session] if c not in before])
    return found


def _hyperparameters(config: RunConfig) -> dict[str, Any]:
    flat = flatten(yaml.safe_load(config.text))
    plain = (bool, int, float, str)
    kept = {k: v if isinstance(v, plain) else str(v) for k, v in flat.items() if v is not None}
    return {**kept, "seed": config.seed}


def _final_figures(hits: Hits) -> dict[str, float]:
    final = headline(hits)
    return {
        "average accuracy": final.average,
        "last accuracy": final.last,
        "harmonic mean": final.harmonic,
        "forgetting": final.forgetting,
    }
