"""Progress on the console: a live bar with rate and remaining time, or plain lines in a log."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.engine.session import EpochRecord
from cl_suite.logging.task_progress import TaskProgress
from cl_suite.logging.time_left import TimeLeft
from cl_suite.runs.folder import SessionRecord
from cl_suite.runs.forecast import in_words
from cl_suite.runs.listener import Listener, WatchedRun, WatchedTasks
from cl_suite.runs.task_records import TaskRecord

SECONDS_BETWEEN_LINES = 10.0


class ConsoleProgress(Listener):
    """Shows a run's progress on the console.

    On a terminal one bar counts the steps of the current session; elsewhere a line appears every
    ten seconds. Each session ends with a line of its figures. A run over tasks has a bar of tasks.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console() if console is None else console
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.last_line = time.monotonic()
        self.started = time.monotonic()
        self.epochs_at_start = 0
        self.images_done = 0
        self.tasks: TaskProgress | None = None

    def says(self, text: str) -> None:
        # above the bar if there is one; names of files may have brackets
        self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self.time_left = TimeLeft(run.session_epochs, run.session_sizes)

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        self.num_epochs, self.epochs_at_start = num_epochs, epochs_done
        self.time_left.session_starts(session)
        self.started = self.last_line = time.monotonic()
        if not self.console.is_terminal or num_epochs == epochs_done:
            return
        self.bar = Progress(
            TextColumn("session {task.fields[session]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epochs  {task.fields[detail]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        name = f"{session}/{self.run.info.num_sessions - 1}"
        self.task = self.bar.add_task(
            "", total=num_epochs, completed=epochs_done, session=name, detail=""
        )
        self.bar.start()

    def images(self, done: int, total: int) -> None:
        if done == total:
            self.stops()
            self.images_done = done
            self.says(f"features of {total:,} images computed, and kept for other runs")
            return
        now = time.monotonic()
        if done <= self.images_done:
            # another view, whose images are counted from 0
            self.started = self.last_line = now
        self.images_done = done
        if not self.console.is_terminal:
            if now - self.last_line >= SECONDS_BETWEEN_LINES:
                self.last_line = now
                left = (now - self.started) / done * (total - done)
                self.says(f"features of {done:,}/{total:,} images, {in_words(left)} left")
            return
        if self.bar is None:
            self.bar = Progress(
                TextColumn("features"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("images"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task("", total=total)
            self.bar.start()
        if self.task is not None:
            self.bar.update(self.task, completed=done, total=total)

    def batch(self, session: int, epoch: int, step: int, num_steps: int) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=epoch + step / num_steps)

    def epoch(self, record: EpochRecord) -> None:
        rate = record.num_samples / record.seconds if record.seconds > 0 else 0.0
        loss = "  -  " if record.loss is None else f"{record.loss:.3f}"
        self.time_left.epoch(record.session, record.seconds)
        detail = f"loss {loss}  {rate:,.0f} images/s"
        if self.bar is not None and self.task is not None:
            detail += self._left_of_run(record)
            self.bar.update(self.task, completed=record.epoch + 1, detail=detail)
            return
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            done = record.epoch + 1
            pace = (now - self.started) / (done - self.epochs_at_start)
            left = pace * (self.num_epochs - done)
            self.says(
                f"session {record.session}: epoch {done}/{self.num_epochs}  {detail}  "
                f"{in_words(left)} left{self._left_of_run(record)}"
            )

    def _left_of_run(self, record: EpochRecord) -> str:
        """Return the run's remaining time in words, if it has further sessions."""
        left = self.time_left.seconds_left(record.session, record.epoch + 1)
        is_last = record.session == self.run.info.num_sessions - 1
        return "" if left is None or is_last else f"  (run: about {in_words(left)})"

    def session_ends(self, session: int) -> None:
        self.stops()
        self.time_left.session_ends()
        self._print_figures(self.run.log.records[session])
        for name, log in self.run.probes.items():
            accuracy = _percent(log.records[session].accuracy)
            self.says(f"  {IN_WORDS[name]}: all {accuracy} %")

    def tasks_start(self, run: WatchedTasks) -> None:
        self.tasks = TaskProgress(self.console, run, self.says, SECONDS_BETWEEN_LINES)

    def task_ends(self, record: TaskRecord) -> None:
        if self.tasks is not None:
            self.tasks.task_ends(record)

    def tasks_end(self) -> None:
        if self.tasks is not None:
            self.tasks.ends()

    def stops(self) -> None:
        if self.tasks is not None:
            self.tasks.stops()
        if self.bar is not None:
            self.bar.stop()
            self.bar = self.task = None

    def _print_figures(self, record: SessionRecord) -> None:
        parts = [f"all {_percent(record.accuracy)}"]
        if record.new is not None:
            parts += [
                f"base {_percent(record.base)}",
                f"new {_percent(record.new)}",
                f"harmonic {_percent(record.harmonic)}",
            ]
        line = (
            f"session {record.session:>2}/{self.run.info.num_sessions - 1}"
            f"{record.seen_classes:>5} classes  {'  '.join(parts)} %"
        )
        times = f"  (train {record.seconds_train:.1f} s, test {record.seconds_eval:.1f} s)"
        # a narrow terminal would break the line within a number
        fits = not self.console.is_terminal or len(line + times) <= self.console.width
        self.says(line + times if fits else line)


def _percent(fraction: float | None) -> str:
    return "  -  " if fraction is None else f"{100 * fraction:5.2f}"
