"""What a command's process does with signals and with other libraries' warnings."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

STOPPED = 130  # exit code after Ctrl-C
# a developer's concern, not a user's
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning)


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
def calm_warnings() -> Iterator[None]:
    """Print other libraries' warnings as one line each, once, without code and file names."""
    said: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = " ".join(str(message).split())
        if text not in said and not issubclass(category, FOR_DEVELOPERS):
            said.add(text)
            sys.stderr.write(f"note: {_package(filename)}: {text}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _package(filename: str) -> str:
    """Return the name of the package that a file belongs to."""
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts[:-1]:
            return parts[len(parts) - parts[::-1].index(folder)]
    return Path(filename).stem
