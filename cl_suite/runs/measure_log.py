"""The log of a run's measurements: hits after each session, and the figures they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cl_suite.data.stream import Stream
from cl_suite.engine.evaluation import Predictions, joined
from cl_suite.metrics.accuracy_matrix import Hits, IntArray
from cl_suite.runs.folder import RunFolder, SessionRecord, session_record


class MeasureLog:
    """Hits and figures of one measure: the classifier, or a probe.

    Each column of the hits is a class; if classes recur in a stream, a class of one session.
    Columns of classes that are in no session are left out of the checkpoint.

    Args:
        folder: folder of metrics.jsonl, hits.npz and accuracy_matrix.npy.
    """

    def __init__(self, folder: RunFolder, stream: Stream) -> None:
        self.folder = folder
        self.info = stream.info
        self.counts, self.session_of_column = _columns(stream)
        self.columns = np.flatnonzero(self.session_of_column >= 0)
        self.rows = np.zeros((0, len(self.columns)), dtype=np.int64)
        self.records: list[SessionRecord] = []

    @property
    def hits(self) -> Hits:
        """The hits and counts of the sessions done."""
        rows = np.zeros((len(self.rows), len(self.counts)), dtype=np.int64)
        rows[:, self.columns] = self.rows
        return Hits(rows, self.counts, self.session_of_column)

    def add(self, session: int, found: Sequence[Predictions], *, train: float, eval: float) -> None:
        """Record the predictions for each session so far, and write the files.

        Args:
            train, eval: duration in seconds.
        """
        if self.info.kind == "class":
            row = joined(found).hits().numpy()
        else:
            row = np.zeros(len(self.counts), dtype=np.int64)
            hits = np.concatenate([each.hits().numpy() for each in found])
            row[: len(hits)] = hits
        self.rows = np.concatenate([self.rows, row[None, self.columns].astype(np.int64)])
        hits_so_far = self.hits
        record = session_record(
            hits_so_far,
            session,
            seconds_train=train,
            seconds_eval=eval,
            seen_classes=len(self.info.seen_classes(session)),
        )
        self.records.append(record)
        self.folder.make()
        self.folder.write_metrics(self.records)
        self.folder.write_hits(hits_so_far)

    def state_dict(self) -> dict[str, Any]:
        """Return all measurements, for a checkpoint."""
        return {"hits": self.rows, "records": [dataclasses.asdict(r) for r in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        rows = state["hits"]
        # older checkpoints hold every column
        self.rows = rows if rows.shape[1] == len(self.columns) else rows[:, self.columns]
        self.records = [SessionRecord(**record) for record in state["records"]]


def _columns(stream: Stream) -> tuple[IntArray, IntArray]:
    """Return the test samples of each column of the hits, and the session it belongs to."""
    info = stream.info
    counts = np.stack(
        [
            np.bincount(np.asarray(samples.targets, dtype=np.int64), minlength=info.num_classes)
            for samples in stream.test
        ]
    )  # (sessions, classes)
    sessions = np.full(counts.shape, -1, dtype=np.int64)
    for session, classes in enumerate(info.session_classes):
        sessions[session, list(classes)] = session
    if info.kind == "class":
        return counts.sum(axis=0), sessions.max(axis=0)
    return counts.ravel(), sessions.ravel()
