"""A dashboard of three sessions, written as a run writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cl_suite.logging.tensorboard import Dashboard
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from helpers.records import session_record

CLASS_NAMES = ["ant", "bee\twith a tab", "cat", "dog"]
SESSION_CLASSES = [[2, 0], [3], [1]]


def write_dashboard(folder: Path, **hyperparameters: bool | int | float | str) -> None:
    """Write everything a dashboard can show."""
    folder.mkdir(parents=True, exist_ok=True)
    session_of_class = np.array([0, 2, 0, 1])
    confusions = []
    dashboard = Dashboard.fresh(folder)
    for session in range(3):
        seen = [c for classes in SESSION_CLASSES[: session + 1] for c in classes]
        confusion = np.zeros((4, 4), dtype=np.int64)
        confusion[seen, seen] = 8 - session
        confusion[seen, seen[0]] += 2 + session
        confusions.append(confusion)
        dashboard.epoch(
            step=session,
            session=session,
            loss=float("nan") if session == 2 else 1.0 / (1 + session),
            learning_rate=0.1,
            images_per_second=1000.0,
        )
        rows = np.stack([matrix.diagonal() for matrix in confusions])
        hits = Hits(rows, np.full(4, 10), session_of_class)
        dashboard.session(
            session_record(hits, session, seconds_train=1, seconds_eval=1, seen_classes=len(seen))
        )
        dashboard.matrices(
            session,
            accuracy_matrix(hits)[0],
            confusion[np.ix_(seen, seen)],
            [CLASS_NAMES[c] for c in seen],
            [len(classes) for classes in SESSION_CLASSES[: session + 1]],
        )
    dashboard.prototypes(np.eye(4, 5), CLASS_NAMES, session_of_class.tolist())
    dashboard.finish(hyperparameters, {"average accuracy": 0.75, "forgetting": float("nan")})
    dashboard.close()
