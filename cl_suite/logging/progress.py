"""Progress on the console: a live bar with rate and remaining time, or plain lines in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from cl_suite.engine.plugins import EpochRecord
    from cl_suite.runs.folder import SessionRecord

SECONDS_BETWEEN_LINES = 10.0


class ConsoleProgress:
    """Tells what a run is doing.

    On a terminal one bar counts the steps of the session under way; elsewhere a line comes every
    ten seconds. Either way each session ends with a line of its figures.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.last_line = time.monotonic()
        self.started = time.monotonic()
        self.epochs_at_start = 0
        self.images_done = 0

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def session_starts(self, session: int, num_sessions: int, epochs: int, done: int) -> None:
        """Begin to count `epochs` epochs, `done` of them behind us after a resume."""
        self.num_epochs, self.epochs_at_start, self.num_sessions = epochs, done, num_sessions
        self.started = self.last_line = time.monotonic()
        if not self.console.is_terminal or epochs == done:
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
        name = f"{session}/{num_sessions - 1}"
        self.task = self.bar.add_task("", total=epochs, completed=done, session=name, detail="")
        self.bar.start()

    def images(self, done: int, total: int) -> None:
        """Show how many images the feature bank has run through the network."""
        if done == total:
            self.stop()
            self.images_done = done
            self.say(f"features of {total:,} images computed, and kept for other runs")
            return
        now = time.monotonic()
        if done <= self.images_done:
            # another view, with images of its own to count
            self.started = self.last_line = now
        self.images_done = done
        if not self.console.is_terminal:
            if now - self.last_line >= SECONDS_BETWEEN_LINES:
                self.last_line = now
                left = (now - self.started) / done * (total - done)
                self.say(f"features of {done:,}/{total:,} images, {left:.0f} s left")
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

    def batch(self, session: int, epoch: int, step: int, steps: int) -> None:
        """Count one training step."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=epoch + step / steps)

    def epoch(self, record: EpochRecord) -> None:
        """Show an epoch's loss and rate."""
        rate = record.num_samples / record.seconds if record.seconds > 0 else 0.0
        loss = "  -  " if record.loss is None else f"{record.loss:.3f}"
        detail = f"loss {loss}  {rate:,.0f} images/s"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=record.epoch + 1, detail=detail)
            return
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            done = record.epoch + 1
            pace = (now - self.started) / (done - self.epochs_at_start)
            left = pace * (self.num_epochs - done)
            self.say(
                f"session {record.session}: epoch {done}/{self.num_epochs}  {detail}  "
                f"{left:.0f} s left"
            )

    def session_ends(self, record: SessionRecord) -> None:
        """Print the session's figures."""
        self.stop()
        parts = [f"all {_percent(record.accuracy)}"]
        if record.new is not None:
            parts += [
                f"base {_percent(record.base)}",
                f"new {_percent(record.new)}",
                f"harmonic {_percent(record.harmonic)}",
            ]
        line = (
            f"session {record.session:>2}/{self.num_sessions - 1}"
            f"{record.seen_classes:>5} classes  {'  '.join(parts)} %"
        )
        times = f"  (train {record.seconds_train:.1f} s, test {record.seconds_eval:.1f} s)"
        # a narrow terminal would break the line within a number
        fits = not self.console.is_terminal or len(line + times) <= self.console.width
        self.say(line + times if fits else line)

    def probe(self, name: str, record: SessionRecord) -> None:
        """Print what a probe measured after the session."""
        self.say(f"  {name}: all {_percent(record.accuracy)} %")

    def stop(self) -> None:
        """Take the bar off the screen."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = self.task = None


def _percent(fraction: float | None) -> str:
    return "  -  " if fraction is None else f"{100 * fraction:5.2f}"
