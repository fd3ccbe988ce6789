"""A dashboard of three sessions, written as a run writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cl_suite.engine.session import EpochRecord
from cl_suite.logging.run_card import session_table
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from helpers.records import session_record

CLASS_NAMES = ["ant", "bee\twith a tab", "cat", "dog"]
SESSION_CLASSES = [[2, 0], [3], [1]]


def write_dashboard(folder: Path, **hyperparameters: bool | int | float | str) -> None:
    """Write everything a dashboard can show."""
    folder.mkdir(parents=True, exist_ok=True)
    session_of_class = np.array([0, 2, 0, 1])
    confusions, records = [], []
    dashboard = Dashboard.fresh(folder)
    dashboard.card("about", "### a demonstration\n\nRun it again:\n\n    cl-suite run demo demo")
    for session in range(3):
        seen = [c for classes in SESSION_CLASSES[: session + 1] for c in classes]
        confusion = np.zeros((4, 4), dtype=np.int64)
        confusion[seen, seen] = 8 - session
        confusion[seen, seen[0]] += 2 + session
        confusions.append(confusion)
        loss = None if session == 2 else 1.0 / (1 + session)
        dashboard.epoch(session, EpochRecord(session, 0, loss, 0.1, num_samples=500, seconds=0.5))
        rows = np.stack([matrix.diagonal() for matrix in confusions])
        hits = Hits(rows, np.full(4, 10), session_of_class)
        records.append(
            session_record(hits, session, seconds_train=1, seconds_eval=1, seen_classes=len(seen))
        )
        dashboard.session(records[-1])
        dashboard.matrices(
            session,
            accuracy_matrix(hits)[0],
            confusion[np.ix_(seen, seen)],
            [CLASS_NAMES[c] for c in seen],
            [len(classes) for classes in SESSION_CLASSES[: session + 1]],
        )
    dashboard.prototypes(np.eye(4, 5), CLASS_NAMES, session_of_class.tolist())
    dashboard.card("sessions", session_table(records))
    dashboard.finish(hyperparameters, {"average accuracy": 0.75, "forgetting": float("nan")})
    dashboard.close()


def write_seeds(folder: Path) -> None:
    """Write the mean of two seeds over three sessions, as runs write it."""
    folder.mkdir(parents=True, exist_ok=True)
    dashboard = Dashboard(folder)
    curves = {name: np.array([[0.9, 0.8, 0.7], [0.7, 0.6, 0.5]]) for name in ("all", "forgetting")}
    dashboard.margins("Mean of the seeds", curves)
    dashboard.close()
