"""What a command's process does with signals and with other libraries' warnings."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

STOPPED = 130  # exit code after Ctrl-C
# a developer's concern, not a user's
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)
NAMELESS = ("root", "absl")  # loggers that say nothing of the package that logs
MOST_ALIKE = 3  # warnings from one line of a library's code


@contextlib.contextmanager
def quiet_stops() -> Iterator[None]:
    """Make Ctrl-C and a polite kill raise `KeyboardInterrupt` once; a second one ends at once.

    Files are written whole or not at all, so the second is as harmless as a kill.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _stop) for number in signals}
    try:
        yield
    finally:
        # once stopped, the quiet handlers stay: the interpreter's own end takes a while
        if signal.getsignal(signal.SIGINT) is _stop:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stop(number: int, frame: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _end)
    raise KeyboardInterrupt


def _end(number: int, frame: object) -> None:
    os._exit(STOPPED)


@contextlib.contextmanager
def calm_libraries() -> Iterator[None]:
    """Print what other libraries warn of or log as one line each, without code and file names."""
    notes = _Notes(sys.stderr)
    emit = logging.StreamHandler.emit

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, FOR_DEVELOPERS):
            notes.say(_package(filename), str(message))

    def emit_calmly(handler: logging.StreamHandler[Any], record: logging.LogRecord) -> None:
        if notes.reach(handler.stream):
            notes.log(record)
        else:
            emit(handler, record)

    with warnings.catch_warnings():
        warnings.showwarning = show
        # libraries add handlers when they are imported; Python's last resort is one as well
        logging.StreamHandler.emit = emit_calmly  # type: ignore[assignment, method-assign]  # for a while
        try:
            yield
        finally:
            logging.StreamHandler.emit = emit  # type: ignore[method-assign]  # as it was


class _Notes:
    """Prints other libraries' messages: each once, and only the first of many alike.

    Args:
        terminal: where they are printed.
    """

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal
        self._said: set[str] = set()
        self._alike: Counter[tuple[str, int]] = Counter()

    def reach(self, stream: object) -> bool:
        """Return whether a stream leads to the terminal."""
        terminals = (self.terminal, sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)
        return any(stream is each for each in terminals)

    def log(self, record: logging.LogRecord) -> None:
        """Print a log record; errors are all printed."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)  # its arguments do not fit
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        name = record.name.partition(".")[0]
        package = _package(record.pathname) if name in NAMELESS else name
        place = (record.pathname, record.lineno) if record.levelno < logging.ERROR else None
        self.say(package, text, place)

    def say(self, package: str, text: str, place: tuple[str, int] | None = None) -> None:
        """Print a text as one line, once.

        Args:
            place: the line of code that says it; only its first few texts are printed.
        """
        text = " ".join(text.split()).removeprefix(f"{package}: ")  # named once
        if text in self._said:
            return
        self._said.add(text)
        if place is not None:
            self._alike[place] += 1
            if self._alike[place] > MOST_ALIKE:
                return
            if self._alike[place] == MOST_ALIKE:
                text += " (more like it are not shown)"
        self.terminal.write(f"note: {package}: {text}\n")


def _package(filename: str) -> str:
    """Return the name of the package that a file belongs to."""
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts[:-1]:
            return parts[len(parts) - parts[::-1].index(folder)]
    return Path(filename).stem
