"""The listener that writes the TensorBoard dashboard; after a resume it redraws the run so far."""

from __future__ import annotations

import math
import time
from typing import Any

import yaml

from cl_suite.data.stream import StreamInfo
from cl_suite.engine.session import EpochRecord
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.metrics.headline import headline
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.config import RunConfig
from cl_suite.runs.confusion_file import stored_confusion
from cl_suite.runs.flat import flatten
from cl_suite.runs.listener import Listener, WatchedRun

SECONDS_BETWEEN_PICTURES = 5.0


class RunDashboard(Listener):
    """Shows a run's epochs, sessions and outcome in TensorBoard."""

    run: WatchedRun
    dashboard: Dashboard

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self.dashboard = Dashboard.fresh(run.folder.path)
        self.last_picture = time.monotonic()
        # after a resume, the earlier epochs and sessions are shown again
        for step, record in enumerate(run.epochs):
            self._show_epoch(step, record)
        for session in range(len(run.log.records)):
            self.session_ends(session)

    def epoch(self, record: EpochRecord) -> None:
        self._show_epoch(len(self.run.epochs) - 1, record)

    def session_ends(self, session: int) -> None:
        run, info = self.run, self.run.info
        last = session == info.num_sessions - 1
        # a run of short sessions would spend most of its time on drawing
        drawn = last or time.monotonic() - self.last_picture > SECONDS_BETWEEN_PICTURES
        if drawn:
            self.last_picture = time.monotonic()
        seen = list(info.seen_classes(session))
        self.dashboard.session(
            run.log.records[session],
            run.log.hits.until(session),
            stored_confusion(run.folder, session, seen) if drawn else None,
            [info.class_names[c] for c in seen],
            _arrivals(info, session),
            pictures=drawn,
        )
        for name, log in run.probes.items():
            self.dashboard.probe(name, log.records[session])

    def ends(self, head: ClassHead) -> None:
        info = self.run.info
        of_class = {c: s for s, new in enumerate(_arrivals(info)) for c in new}
        self.dashboard.prototypes(
            head.rows(head.classes).cpu().numpy(),
            [info.class_names[c] for c in head.classes],
            [of_class[c] for c in head.classes],
        )
        figures = _final_figures(self.run.log.hits)
        self.dashboard.finish(_hyperparameters(self.run.config), figures)
        self.dashboard.close()

    def _show_epoch(self, step: int, record: EpochRecord) -> None:
        self.dashboard.epoch(
            step=step,
            session=record.session,
            loss=math.nan if record.loss is None else record.loss,
            learning_rate=record.learning_rate,
            images_per_second=record.num_samples / record.seconds if record.seconds else 0.0,
        )


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
