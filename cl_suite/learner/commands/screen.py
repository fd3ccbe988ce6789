"""What the learner's commands print: tables and JSON on stdout, all else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

A_FEW = 16  # pictures that need no bar


class Columns(Protocol):
    """Prints a table, see `cl_suite.report.console.print_columns`."""

    def __call__(
        self, console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]], right: str
    ) -> None: ...


class Screen:
    """Where a command prints; names of files and classes are never taken for markup."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.out = Console(markup=False, emoji=False, highlight=False)
        self.error = Console(markup=False, emoji=False, highlight=False, stderr=True)

    def say(self, text: str = "") -> None:
        """Print a line."""
        self.out.print(_harmless(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line beside the results, on stderr."""
        self.error.print(_harmless(text), soft_wrap=True)

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> None:
        """Print a table; `right` names the columns whose cells stand to the right."""
        self._columns(self.out, titles, rows, right)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print names and values, those without a value left out."""
        width = max(map(len, facts))
        for name, value in facts.items():
            if value:
                self.say(f"{name:{width}}  {value}")

    @contextlib.contextmanager
    def progress(self, total: int, what: str) -> Iterator[Progress | None]:
        """Show a bar on stderr inside the block, if there is much to do and someone looks."""
        if total <= A_FEW or not self.error.is_terminal:
            yield None
            return
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.error,
            transient=True,
            redirect_stdout=False,  # results stay on stdout
        ) as progress:
            progress.add_task(what, total=total)
            yield progress


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object as a line of UTF-8."""
    in_utf8()
    sys.stdout.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def in_utf8() -> None:
    """Write UTF-8 to stdout, whatever the terminal's own encoding is."""
    if isinstance(sys.stdout, TextIOWrapper):
        # a file name that is not valid text holds half surrogates; JSON escapes them
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def shown(name: object) -> str:
    """Return a name with escapes for what would move the cursor or end the line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def _harmless(text: str) -> str:
    # what a stranger's classifier file says may not steer the terminal
    return text.replace("\x1b", shown("\x1b")).replace("\x9b", shown("\x9b"))


def pictures(number: int) -> str:
    """Return a number of pictures in words."""
    return f"{number:,} picture" if number == 1 else f"{number:,} pictures"


def classes(number: int) -> str:
    """Return a number of classes in words."""
    return f"{number:,} class" if number == 1 else f"{number:,} classes"
