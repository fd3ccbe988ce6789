"""The training samples of a stream, as Avalanche's loops take them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

from cl_suite.avalanche import api
from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import Stream


class TrainingData:
    """Gives out training samples, which keep their position in the stream as their id.

    Args:
        stream: the sessions.
        shows_labels: False to replace every label by that of samples without one.
    """

    def __init__(self, stream: Stream, *, shows_labels: bool) -> None:
        self.stream, self.shows_labels = stream, shows_labels

    def session(self, session: int, rows: Sequence[int] | None = None) -> Any:
        """Return one session's data set, or the given rows of it, and nothing else."""
        info = self.stream.info
        first = sum(len(s) for s in self.stream.train[:session])
        samples = self.stream.train[session]
        chosen = range(len(samples)) if rows is None else rows
        if rows is not None:
            samples = samples.select(rows)
        if not self.shows_labels:
            samples = copy.copy(samples)
            samples.targets = [UNLABELLED] * len(samples)
        ids = [first + row for row in chosen]
        return api.dataset(samples, info.train_transform, info.eval_transform, ids)

    def gather(self, ids: list[int], group: str) -> Any:
        """Return the samples with these ids, in this order, under a group of transforms."""
        if not ids:
            return api.empty_dataset()
        starts = [0]
        for samples in self.stream.train:
            starts.append(starts[-1] + len(samples))
        parts, order = [], []
        for session in range(len(self.stream.train)):
            rows = [i - starts[session] for i in ids if starts[session] <= i < starts[session + 1]]
            if rows:
                parts.append(self.session(session, rows))
                order += [starts[session] + row for row in rows]
        position = {sample: place for place, sample in enumerate(order)}
        joined = api.concatenate(parts).subset([position[i] for i in ids])
        return joined.with_transforms(group)

    def num_bytes(self, ids: Collection[int]) -> int:
        """Return the bytes of the samples with these ids, as they are stored."""
        found = first = 0
        for samples in self.stream.train if ids else ():
            found += samples.num_bytes([i for i in range(len(samples)) if first + i in ids])
            first += len(samples)
        return found
