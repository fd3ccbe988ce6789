"""The log of a run's measurements: hits after each session, and the figures they give."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cl_suite.data.stream import Stream
from cl_suite.engine.evaluation import Predictions, joined
from cl_suite.metrics.accuracy_matrix import FloatArray, Hits, IntArray
from cl_suite.metrics.figures import base_ratio
from cl_suite.metrics.running import RunningFigures
from cl_suite.runs.folder import RunFolder, SessionRecord, defined

# sessions after which the hits are written; of later ones, only after each fifth more
ALWAYS_WRITTEN = 32
SECONDS_BETWEEN_WRITES = 60.0  # in a run of long sessions they are written more often


class MeasureLog:
    """Hits and figures of one measure: the classifier, or a probe.

    Each column of the hits is a class; if classes recur in a stream, a class of one session. A row
    is kept as far as its columns have been seen, in order of arrival, so a session costs as much
    as the classes seen, however many sessions there are.

    Args:
        folder: folder of metrics.jsonl, hits.npz and accuracy_matrix.npy.
    """

    def __init__(self, folder: RunFolder, stream: Stream) -> None:
        self.folder = folder
        self.info = stream.info
        self.counts, self.session_of_column = _columns(stream)
        arrived = np.argsort(self.session_of_column, kind="stable")
        self.columns = arrived[self.session_of_column[arrived] >= 0]
        sessions = np.arange(self.info.num_sessions)
        # of the columns in order of arrival, those of sessions up to each one
        self.ends = np.searchsorted(
            self.session_of_column[self.columns], sessions, side="right"
        ).astype(np.int64)
        self.num_images = _sums(self.counts[self.columns], self.ends)
        self.rows: list[IntArray] = []
        self.accuracies: list[FloatArray] = []  # rows of the accuracy matrix
        sizes = [len(set(classes)) for classes in self.info.session_classes[:2]]
        self.running = RunningFigures(base_ratio(sizes[0], sizes[1] if len(sizes) > 1 else 0))
        self.records: list[SessionRecord] = []
        self.written = self.written_whole = 0  # sessions in the files
        self.last_write = time.monotonic()

    @property
    def hits(self) -> Hits:
        """The hits and counts of the sessions done, in full: of many, they are large."""
        rows = np.zeros((len(self.rows), len(self.counts)), dtype=np.int64)
        for session, row in enumerate(self.rows):
            rows[session, self.columns[: len(row)]] = row
        return Hits(rows, self.counts, self.session_of_column)

    def matrix(self, session: int) -> FloatArray:
        """Return the accuracy matrix of the sessions up to this one."""
        square = np.full((session + 1, session + 1), np.nan)
        for row, accuracies in enumerate(self.accuracies[: session + 1]):
            square[row, : row + 1] = accuracies
        return square

    def add(self, session: int, found: Sequence[Predictions], *, train: float, eval: float) -> None:
        """Record the predictions for each session so far, and write the files.

        Args:
            train, eval: duration in seconds.
        """
        if self.info.kind == "class":
            row = joined(found).hits().numpy()[self.columns[: self.ends[session]]]
        else:
            row = np.concatenate(
                [
                    each.hits().numpy()[sorted(set(classes))]
                    for each, classes in zip(found, self.info.session_classes, strict=False)
                ]
            )
        figures = self._take(row.astype(np.int64))
        record = SessionRecord(
            session=session,
            **{name: defined(value) for name, value in dataclasses.asdict(figures).items()},
            seconds_train=float(train),
            seconds_eval=float(eval),
            seen_classes=len(self.info.seen_classes(session)),
            **self._mistaken(found),
        )
        self.records.append(record)
        self._write()

    def _mistaken(self, found: Sequence[Predictions]) -> dict[str, float | None]:
        """Return how often later classes are taken for base classes, and the reverse."""
        if self.info.kind != "class" or len(found) < 2:
            return {}
        base = torch.zeros(self.info.num_classes, dtype=torch.bool)
        base[list(self.info.session_classes[0])] = True
        new = [base[part.predicted] for part in found[1:]]
        return {
            "new_as_base": _share(torch.cat(new)),
            "base_as_new": _share(~base[found[0].predicted]),
        }

    def entries(self, first: int) -> Iterable[dict[str, Any]]:
        """Yield the measurements from session `first` on, for a checkpoint."""
        for row, record in zip(self.rows[first:], self.records[first:], strict=True):
            yield {"row": row.tolist(), "record": dataclasses.asdict(record)}

    def load_entries(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Restore what `entries` yielded from session 0 on."""
        for entry in entries:
            self._take(np.asarray(entry["row"], dtype=np.int64))
            self.records.append(SessionRecord(**entry["record"]))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the measurements of a checkpoint of version 0.2 or earlier."""
        rows = state["hits"]
        if rows.shape[1] == len(self.columns):
            # of the columns that are in a session, by class
            whole = np.zeros((len(rows), len(self.counts)), dtype=np.int64)
            whole[:, np.sort(self.columns)] = rows
            rows = whole
        for session, (row, record) in enumerate(zip(rows, state["records"], strict=True)):
            self._take(row[self.columns[: self.ends[session]]].astype(np.int64))
            self.records.append(SessionRecord(**record))

    def _take(self, row: IntArray) -> Any:
        """Keep a row and return the figures after its session."""
        session = len(self.rows)
        if len(row) != self.ends[session]:
            raise ValueError(f"{len(row)} hits after session {session}, not {self.ends[session]}")
        images = self.num_images[: session + 1]
        accuracies = np.full(session + 1, np.nan)
        np.divide(_sums(row, self.ends[: session + 1]), images, out=accuracies, where=images > 0)
        self.rows.append(row.astype(np.int32))
        self.accuracies.append(accuracies)
        return self.running.add(accuracies, images)

    def _write(self) -> None:
        num = len(self.records)
        self.folder.make()
        if self.written == num - 1 and num > 1:
            self.folder.append_metrics(self.records[-1])
        else:
            # the first session, or the first one after a resume
            self.folder.write_metrics(self.records)
        self.written = num
        if self._writes_hits(num):
            self.folder.write_hits(self.hits)
            self.written_whole, self.last_write = num, time.monotonic()

    def _writes_hits(self, num: int) -> bool:
        """Return whether to write the hits, which are as many as all sessions' together."""
        grown = num <= ALWAYS_WRITTEN or 5 * num >= 6 * self.written_whole
        waited = time.monotonic() - self.last_write > SECONDS_BETWEEN_WRITES
        return grown or waited or num == self.info.num_sessions


def _share(flags: torch.Tensor) -> float | None:
    """Return the share that is true, None of nothing."""
    return float(flags.double().mean()) if len(flags) else None


def _sums(values: IntArray, ends: IntArray) -> IntArray:
    """Return the sums of consecutive values, up to each of these ends from the one before."""
    sums = np.concatenate([[0], np.cumsum(values)])
    found: IntArray = np.diff(sums[ends], prepend=0)
    return found


def _columns(stream: Stream) -> tuple[IntArray, IntArray]:
    """Return the test samples of each column of the hits, and the session it belongs to."""
    info = stream.info
    if info.kind == "class":
        targets = [target for samples in stream.test for target in samples.targets]
        session_of_class = np.full(info.num_classes, -1, dtype=np.int64)
        for session, classes in enumerate(info.session_classes):
            session_of_class[list(classes)] = session
        return _counts(targets, info.num_classes), session_of_class
    counts = np.stack([_counts(samples.targets, info.num_classes) for samples in stream.test])
    sessions = np.full(counts.shape, -1, dtype=np.int64)  # (sessions, classes)
    for session, classes in enumerate(info.session_classes):
        sessions[session, list(classes)] = session
    return counts.ravel(), sessions.ravel()


def _counts(targets: Sequence[int], num_classes: int) -> IntArray:
    return np.bincount(np.asarray(targets, dtype=np.int64), minlength=num_classes)
