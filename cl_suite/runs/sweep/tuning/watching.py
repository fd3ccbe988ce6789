"""Tells a sweep's watcher what Ray Tune does; imported only with Ray."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ray import tune

from cl_suite.runs.sweep.job import Job, Progress, Watcher
from cl_suite.runs.sweep.tuning.figures_file import read_steps


class Watching(tune.Callback):  # type: ignore[misc]  # Ray is read as untyped
    """Tells a watcher which candidates start, end and fail.

    Args:
        progress: of the candidates, by their index.
        figure: name of the figure that chooses.
    """

    def __init__(self, progress: Sequence[Progress], watcher: Watcher, figure: str) -> None:
        self.progress, self.watcher, self.figure = progress, watcher, figure

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune stores its settings, and a console cannot be stored

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        own = self._one(trial)
        own.state, own.begun, own.started = "running", True, time.monotonic()
        own.tries += 1
        self.watcher.changes(own)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        own = self._one(trial)
        own.state, own.seconds = "finished", time.monotonic() - own.started
        own.reason = reached_figure(own.job, self.figure)
        self.watcher.changes(own)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        own = self._one(trial)
        own.state, own.reason = "failed", "its process failed"
        self.watcher.changes(own)

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self.watcher.ticks()

    def _one(self, trial: Any) -> Progress:
        index: int = trial.config["index"]
        return self.progress[index]


def reached_figure(job: Job, figure: str) -> str:
    """Return in words how far a candidate got."""
    steps = read_steps(job.folder)
    known = [value for step in steps if (value := step.figure(figure)) is not None]
    words = f"{figure} {100 * known[-1]:.2f} %" if known else f"no {figure}"
    return words if steps and steps[-1].done else f"stopped early, {words}"
