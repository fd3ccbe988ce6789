"""Runs that stop in the middle and go on, for listeners that must neither repeat nor lose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cl_suite
from cl_suite import registry
from cl_suite.runs.listener import Listener
from helpers.tiny_runs import SETTINGS, run


class StopsIn(Listener):
    """Stops a run after an epoch of a session: what the run's listeners got is not yet saved."""

    def __init__(self, session: int) -> None:
        self.session = session

    def epoch(self, record: Any) -> None:
        if record.session == self.session:
            raise KeyboardInterrupt


def run_with(out: Path, logger: str, strategy: str = "finetune", **changed: Any) -> Path:
    """Run a pair with one logger alone; return its folder."""
    options = changed.pop("options", {})
    listeners = registry.make_listeners([logger], {logger: options})[:1]
    return run(out, strategy, listeners=listeners, **changed)


def stop_and_resume(
    out: Path,
    logger: str,
    options: dict[str, Any] | None = None,
    session: int = 1,
    *,
    process_ends: Callable[[], None] = lambda: None,
) -> Path:
    """Run `finetune` with a logger, stop it within a session, and resume it.

    Args:
        out: folder of the runs.
        logger: name of the only logger.
        options: the logger's.
        session: the first run stops after an epoch of it.
        process_ends: called after each of the two runs, which stand for two processes.
    """

    def listeners(*more: Listener) -> list[Listener]:
        return [*registry.make_listeners([logger], {logger: options or {}})[:1], *more]

    settings = {"device": "cpu", "out": out, **SETTINGS}
    with pytest.raises(KeyboardInterrupt):
        cl_suite.run("omniglot", "finetune", listeners=listeners(StopsIn(session)), **settings)
    process_ends()
    folder = cl_suite.run("omniglot", "finetune", listeners=listeners(), resume=True, **settings)
    process_ends()
    return folder
