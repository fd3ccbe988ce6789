"""The commands of `cl-suite` that make, teach, ask and ship a classifier."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper

from cl_suite.learner.commands.arguments import HELP, parse
from cl_suite.learner.commands.early import refuse_early
from cl_suite.learner.commands.screen import Columns, Screen

# the module and function of each; they import torch
_HOME: Mapping[str, tuple[str, str]] = {
    "learn": ("teach", "learn"),
    "predict": ("ask", "predict"),
    "forget": ("change", "forget"),
    "rename": ("change", "rename"),
    "undo": ("change", "undo"),
    "merge": ("change", "merge"),
    "info": ("about", "info"),
    "evaluate": ("ask", "evaluate"),
    "export": ("ship", "export"),
    "serve": ("ship", "serve"),
}

__all__ = ["HELP", "run_command"]


def run_command(words: Sequence[str], print_columns: Columns) -> int:
    """Run a command, named by the first word, and return its exit code.

    Args:
        print_columns: see `cl_suite.report.console`.

    Raises:
        UserError: for unusable input; nothing is changed then.
    """
    parsed = parse(words)
    refuse_early(parsed)
    # names of files and labels may hold any character, and every terminal can show an escape
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    module, name = _HOME[parsed.command]
    command: Callable[..., int] = getattr(
        importlib.import_module(f"cl_suite.learner.commands.{module}"), name
    )
    return command(parsed, Screen(print_columns))
