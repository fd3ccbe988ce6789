"""A run over many few-shot tasks on the console: a bar with the mean so far and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cl_suite.metrics.intervals import mean_interval
from cl_suite.runs.forecast import in_words
from cl_suite.runs.listener import WatchedTasks
from cl_suite.runs.task_records import TaskRecord


class TaskProgress:
    """Shows how far a run over tasks is.

    On a terminal a bar counts the tasks; elsewhere a line appears every so many seconds.

    Args:
        says: prints a line.
        seconds_between_lines: off a terminal.
    """

    def __init__(
        self,
        console: Console,
        run: WatchedTasks,
        says: Callable[[str], None],
        seconds_between_lines: float,
    ) -> None:
        self.run, self.says, self.between = run, says, seconds_between_lines
        self.sign = "+-" if console.options.ascii_only else "\N{PLUS-MINUS SIGN}"
        self.last = [record.figures.last for record in run.records]
        self.done_before = len(run.records)
        self.started = self.last_line = time.monotonic()
        if self.done_before:
            says(f"{self.done_before} of {len(run.tasks)} tasks are done already")
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("tasks"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self.task = self.bar.add_task(
                "", total=len(run.tasks), completed=self.done_before, detail=""
            )
            self.bar.start()

    def task_ends(self, record: TaskRecord) -> None:
        """Count a task."""
        self.last.append(record.figures.last)
        if self.bar is not None:
            detail = mean_in_words(self.last, self.sign)
            self.bar.update(self.task, completed=len(self.last), detail=detail)
            return
        now = time.monotonic()
        if now - self.last_line >= self.between:
            self.last_line = now
            self.says(f"task {len(self.last)}/{len(self.run.tasks)}  {self._so_far(now)}")

    def ends(self) -> None:
        """Say the mean over all tasks."""
        self.stops()
        self.says(f"{len(self.last)} tasks  {mean_in_words(self.last, self.sign)}")

    def stops(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _so_far(self, now: float) -> str:
        done = len(self.last)
        pace = (now - self.started) / (done - self.done_before)
        left = in_words(pace * (len(self.run.tasks) - done))
        return f"{mean_in_words(self.last, self.sign)}  {left} left"


def mean_in_words(fractions: Sequence[float], sign: str) -> str:
    """Return the mean of last accuracies so far, with half its interval if it has one.

    Example:
        >>> mean_in_words([0.8], "+-"), mean_in_words([0.8, 0.9], "+-")
        ('last 80.00 %', 'last 85.00 +- 63.53 %')
    """
    found = mean_interval(fractions)
    if len(fractions) == 1:
        return f"last {100 * found.mean:.2f} %"
    return f"last {100 * found.mean:.2f} {sign} {100 * found.half_width:.2f} %"
