"""Shows a sweep while it runs: a live table on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cl_suite.runs.forecast import in_words
from cl_suite.runs.sweep.job import Progress, log_tail
from cl_suite.runs.sweep.progress import Reached, reached, seconds_left

MOST_ROWS = 12
SECONDS_BETWEEN_TABLES = 1.0
SECONDS_BETWEEN_LINES = 30.0
KINDS = {"bank": "features", "base": "base session", "run": "run", "tuning": "candidate"}
STATES = ("finished", "running", "queued", "waiting", "failed")  # queued: given to a cluster


class SweepTable:
    """Shows the jobs of a sweep.

    Args:
        at_once: jobs that run at a time, for the estimate of the remaining time.
    """

    def __init__(self, console: Console, at_once: int) -> None:
        self.console, self.at_once = console, at_once
        self.all: Sequence[Progress] = ()
        self.live: Live | None = None
        self.last = 0.0

    def starts(self, progress: Sequence[Progress]) -> None:
        self.all = progress
        self.last = time.monotonic()
        if found := sum(one.found_finished for one in progress):
            self.says(f"{found} of {len(progress)} are finished already")
        if self.console.is_terminal and any(one.state == "waiting" for one in progress):
            self.live = Live(
                self._table(), console=self.console, auto_refresh=False, transient=True
            )
            self.live.start()

    def changes(self, one: Progress) -> None:
        what = f"{KINDS[one.job.kind]} {one.job.name}"
        if one.state == "running":
            if self.live is None:
                again = f", try {one.tries}" if one.tries > 1 else ""
                self.says(f"started   {what}{again}")
        elif one.state == "finished":
            self.says(f"finished  {what}{self._outcome(one)}{self._left()}")
        elif one.state == "waiting":
            self.says(f"retried   {what}: {one.reason}; {_last_words(one)}")
        else:
            self.says(f"failed    {what}: {one.reason}; {_last_words(one)}")

    def ticks(self) -> None:
        now = time.monotonic()
        if self.live is not None:
            if now - self.last >= SECONDS_BETWEEN_TABLES:
                self.last = now
                self.live.update(self._table(), refresh=True)
        elif now - self.last >= SECONDS_BETWEEN_LINES:
            self.last = now
            for one in self.all:
                if one.state == "running" and one.begun:
                    self.says(f"          {KINDS[one.job.kind]} {one.job.name}: {_where(one)}")
            self.says(f"          {self._counts()}{self._left()}")

    def says(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def stops(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _counts(self) -> str:
        count = Counter(
            "queued" if one.state == "running" and not one.begun else one.state for one in self.all
        )
        return ", ".join(f"{count[state]} {state}" for state in STATES if count[state])

    def _left(self) -> str:
        if all(one.state in ("finished", "failed") for one in self.all):
            return ""
        left = seconds_left(self.all, self.at_once)
        return "" if left is None else f"; about {in_words(left)} left"

    def _outcome(self, one: Progress) -> str:
        seconds = "" if one.seconds is None else f" in {in_words(one.seconds)}"
        accuracy = reached(one.job).accuracy if one.job.kind in ("run", "base") else None
        done = sum(other.state == "finished" for other in self.all)
        if one.job.kind == "tuning":
            return f"{seconds}, {one.reason} ({done}/{len(self.all)})"
        last = "" if accuracy is None else f", last {100 * accuracy:.2f} %"
        return f"{seconds}{last} ({done}/{len(self.all)})"

    def _table(self) -> Group:
        done = sum(one.state == "finished" for one in self.all)
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for title in ("job", "try", "time", "done", ""):
            table.add_column(title, no_wrap=True)
        shown = [one for one in self.all if one.state == "running"]
        for one in shown[:MOST_ROWS]:
            share = reached(one.job).share if one.begun else 0.0
            spent = in_words(time.monotonic() - one.started) if one.begun else "-"
            bar = ProgressBar(total=1.0, completed=share, width=16)
            table.add_row(
                Text(one.job.name),
                str(one.tries),
                spent,
                bar,
                _where(one) if one.begun else "queued",
            )
        more = len(shown) - MOST_ROWS
        rest = [Text(f"and {more} more")] if more > 0 else []
        whole = ProgressBar(total=max(1, len(self.all)), completed=done, width=40)
        return Group(table, *rest, Text(), whole, Text(f"{self._counts()}{self._left()}"))


def failed_lines(progress: Sequence[Progress]) -> list[str]:
    """Return what is said at the end of the jobs that failed: why, and their logs' last lines."""
    lines: list[str] = []
    for one in progress:
        if one.state == "failed":
            tries = f", {one.tries} tries" if one.tries > 1 else ""
            lines.append(f"failed: {KINDS[one.job.kind]} {one.job.name} ({one.reason}{tries})")
            if one.tries:
                lines += [f"    {line}" for line in log_tail(one.job.log)]
                lines.append(f"    (the whole log: {one.job.log})")
    return lines


def _where(one: Progress) -> str:
    """Return how far a job is in words: its session and epoch, or its log's last line."""
    found = reached(one.job)
    if not found.of:
        tail = log_tail(one.job.log, 1)
        return tail[0].strip()[:40] if tail else "starting"
    return _session(found)


def _session(found: Reached) -> str:
    epoch = f", epoch {found.epoch}/{found.of_epochs}" if found.of_epochs else ""
    last = "" if found.accuracy is None else f", last {100 * found.accuracy:.2f} %"
    return f"session {min(found.sessions, found.of - 1)}/{found.of - 1}{epoch}{last}"


def _last_words(one: Progress) -> str:
    tail = log_tail(one.job.log, 1)
    return tail[0].strip() if tail else "it printed nothing"
