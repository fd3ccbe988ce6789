"""The listener that writes the TensorBoard dashboard; after a resume it redraws the run so far."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from cl_suite.data.stream import StreamInfo
from cl_suite.engine.base_watch import BaseTraining
from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.logging.run_card import run_card, session_table
from cl_suite.logging.seed_means import show_seeds
from cl_suite.logging.tags import final_figures, final_task_figures
from cl_suite.logging.task_curves import TaskCurves
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.changed import changed_settings
from cl_suite.runs.config import RunConfig
from cl_suite.runs.confusion_file import is_pictured, stored_confusion
from cl_suite.runs.listener import Listener, WatchedRun, WatchedTasks
from cl_suite.runs.task_records import TaskRecord

SECONDS_BETWEEN_PICTURES = 5.0


class RunDashboard(Listener):
    """Shows a run's epochs, sessions and outcome in TensorBoard."""

    run: WatchedRun
    dashboard: Dashboard
    curves: TaskCurves  # of a run over tasks
    is_open = is_finished = False

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self.dashboard = Dashboard.fresh(run.folder.path)
        self.last_picture = time.monotonic()
        self.dashboard.card("about", run_card(run.config, run.info))
        self.is_open = True
        # after a resume, the earlier epochs and sessions are shown again
        for step, record in enumerate(run.epochs):
            self.dashboard.epoch(step, record)
        for session in range(len(run.log.records)):
            self.session_ends(session)

    def epoch(self, record: EpochRecord) -> None:
        self.dashboard.epoch(len(self.run.epochs) - 1, record)

    def base_trained(self, found: BaseTraining, trouble: str) -> None:
        text = trouble or "the base session's training did no harm"
        self.dashboard.base_training(found.before, found.after, text)

    def session_ends(self, session: int) -> None:
        self.dashboard.session(self.run.log.records[session])
        for name, log in self.run.probes.items():
            self.dashboard.probe(name, log.records[session])
        if self._is_drawn(session):
            self._draw(session)

    def _is_drawn(self, session: int) -> bool:
        num_sessions = self.run.info.num_sessions
        # a run of short sessions would spend most of its time on drawing
        waited = time.monotonic() - self.last_picture > SECONDS_BETWEEN_PICTURES
        last = session == num_sessions - 1
        return last or (waited and is_pictured(session, num_sessions))

    def _draw(self, session: int) -> None:
        self.last_picture = time.monotonic()
        run, info = self.run, self.run.info
        seen = list(info.seen_classes(session))
        self.dashboard.matrices(
            session,
            run.log.matrix(session),
            stored_confusion(run.folder, session, seen),
            [info.class_names[c] for c in seen],
            [len(classes) for classes in _arrivals(info, session)],
        )

    def ends(self, head: ClassHead) -> None:
        info = self.run.info
        of_class = {c: s for s, new in enumerate(_arrivals(info)) for c in new}
        self.dashboard.prototypes(
            head.rows(head.classes).cpu().numpy(),
            [info.class_names[c] for c in head.classes],
            [of_class[c] for c in head.classes],
        )
        self.dashboard.finish(_hyperparameters(self.run.config), final_figures(self.run.log))
        self._close()
        self.is_finished = True

    def stops(self) -> None:
        if self.is_open:
            # of a run that was stopped; its own error is what the user must read
            with contextlib.suppress(UserError):
                self._close()
        if self.is_finished:
            # only now the run's folder says that it is finished
            self.is_finished = False
            show_seeds(self.run.folder, self.run.config)

    def _close(self) -> None:
        self.is_open = False
        if records := self.run.log.records:
            self.dashboard.card("sessions", session_table(records))
        self.dashboard.close()

    def tasks_start(self, run: WatchedTasks) -> None:
        self.curves = TaskCurves(run)

    def task_ends(self, record: TaskRecord) -> None:
        self.curves.task_ends(record)

    def tasks_end(self) -> None:
        dashboard, run = self.curves.dashboard, self.curves.run
        dashboard.finish(_hyperparameters(run.config), final_task_figures(run.records))
        dashboard.close()


def _arrivals(info: StreamInfo, until: int | None = None) -> list[list[int]]:
    """Return the classes that each session brings for the first time."""
    end = None if until is None else until + 1
    found: list[list[int]] = []
    before: set[int] = set()
    for classes in info.session_classes[:end]:
        found.append([c for c in classes if c not in before])
        before.update(classes)
    return found


def _hyperparameters(config: RunConfig) -> dict[str, Any]:
    """Return the names, the seed, and the settings that are not the pair's defaults."""
    plain = (bool, int, float, str)
    named = {"scenario_name": config.scenario_name, "strategy_name": config.strategy_name}
    changed = {
        key: value if isinstance(value, plain) else str(value)
        for key, value in changed_settings(config).items()
    }
    return {**named, "seed": config.seed, **changed}
