"""Estimates how long a run still takes, from the epochs and sessions that it has done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class TimeLeft:
    """Estimates a run's remaining seconds.

    Training takes as long as its epochs times their samples, at the rate so far. Each session takes
    as long for all but its training (evaluation, pictures) as the last one did.

    Args:
        epochs, sizes: epochs and training samples of each session.
        clock: returns seconds.
    """

    def __init__(
        self,
        epochs: Sequence[int],
        sizes: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work = [num * size for num, size in zip(epochs, sizes, strict=True)]
        self.sizes = list(sizes)
        self.clock = clock
        self.samples = 0
        self.seconds = 0.0
        self.beside = 0.0
        self.session_began, self.seconds_before = clock(), 0.0

    def session_starts(self, session: int) -> None:
        """Note the time: the session takes longer than its epochs."""
        self.session_began, self.seconds_before = self.clock(), self.seconds

    def epoch(self, session: int, seconds: float) -> None:
        """Count an epoch of training."""
        if session < len(self.sizes):
            self.samples += self.sizes[session]
            self.seconds += seconds

    def session_ends(self) -> None:
        """Note how long the session took apart from its training."""
        whole = self.clock() - self.session_began
        self.beside = max(0.0, whole - (self.seconds - self.seconds_before))

    def seconds_left(self, session: int, epochs_done: int) -> float | None:
        """Return the run's remaining seconds in an epoch of `session`; None while unknown."""
        if not self.samples or session >= len(self.work):
            return None
        done = epochs_done * self.sizes[session]
        samples = max(0, self.work[session] - done) + sum(self.work[session + 1 :])
        to_end = len(self.work) - session
        return samples * self.seconds / self.samples + to_end * self.beside
