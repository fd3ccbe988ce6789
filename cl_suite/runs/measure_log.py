"""The log of a run's measurements: hits after each session, and the figures they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cl_suite.data.stream import Stream
from cl_suite.metrics.accuracy_matrix import Hits, IntArray
from cl_suite.runs.folder import RunFolder, SessionRecord, session_record


class MeasureLog:
    """Hits and figures of one measure: the classifier, or a probe.

    Each column of the hits is a class; if classes recur in a stream, a class of one session.

    Args:
        folder: folder of metrics.jsonl, hits.npz and accuracy_matrix.npy.
    """

    def __init__(self, folder: RunFolder, stream: Stream) -> None:
        self.folder = folder
        self.info = stream.info
        self.counts, self.session_of_column = _columns(stream)
        self.rows = np.zeros((0, len(self.counts)), dtype=np.int64)
        self.records: list[SessionRecord] = []

    @property
    def hits(self) -> Hits:
        """The hits and counts of the sessions done."""
        return Hits(self.rows, self.counts, self.session_of_column)

    def add(self, session: int, confusions: Sequence[Tensor], *, train: float, eval: float) -> None:
        """Record a session's confusion matrices, one per session so far, and write the files.

        Args:
            train, eval: duration in seconds.
        """
        diagonals = [confusion.diagonal().numpy() for confusion in confusions]
        if self.info.kind == "class":
            row = np.sum(diagonals, axis=0)
        else:
            row = np.zeros(len(self.counts), dtype=np.int64)
            row[: self.info.num_classes * len(diagonals)] = np.concatenate(diagonals)
        self.rows = np.concatenate([self.rows, row[None].astype(np.int64)])
        record = session_record(
            self.hits,
            session,
            seconds_train=train,
            seconds_eval=eval,
            seen_classes=len(self.info.seen_classes(session)),
        )
        self.records.append(record)
        self.folder.make()
        self.folder.write_metrics(self.records)
        self.folder.write_hits(self.hits)

    def state_dict(self) -> dict[str, Any]:
        """Return all measurements, for a checkpoint."""
        return {"hits": self.rows, "records": [dataclasses.asdict(r) for r in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rows = state["hits"]
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
