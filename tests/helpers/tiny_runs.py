"""A short run on real data by the command line, and a check of refused commands."""

from __future__ import annotations

import pytest

from cl_suite.cli import main

# two sessions of many classes each: quick, and real data
TINY = [
    "--scenario.base_classes",
    "12",
    "--scenario.way",
    "115",
    "--scenario.shots",
    "2",
    "--training.base_epochs",
    "2",
    "--training.incremental_epochs",
    "1",
    "--device",
    "cpu",
]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail; return its one sentence."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("cl-suite: ")
    assert error.count("\n") == 1
    return error
