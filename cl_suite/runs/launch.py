"""Starts a run from a program: `cl_suite.run("omniglot", "teen", seed=0)`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_suite import registry
from cl_suite.runs.arguments import as_argument
from cl_suite.runs.config import OnCollapse, resolve
from cl_suite.runs.listener import Listener
from cl_suite.runs.run import run as run_one


def run(
    scenario: str,
    strategy: str,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] = "runs",
    device: str = "auto",
    start_from: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_collapse: OnCollapse = "say",
    listeners: Sequence[Listener] | None = None,
    **settings: Any,
) -> Path:
    """Train and evaluate a strategy on a scenario, as `cl-suite run` does; return the run's folder.

    Args:
        scenario, strategy: names as `cl-suite list` prints them.
        seed: seed of everything random.
        out: folder of all runs.
        device: cpu, cuda, cuda:1 or auto.
        start_from: folder of a run whose finished base session this run starts from.
        resume: continue a run that was stopped.
        overwrite: delete the run folder's files.
        on_collapse: if training diverges, or makes a network worse: say so and go on, stop, or off.
        listeners: listeners of the run; None for the console and the loggers that the settings
            name, which is the dashboard unless `logging.loggers` says otherwise; `()` for none.
        settings: settings by dotted name, `**{"training.base_epochs": 3}`.

    Raises:
        UserError: (a `ValueError`) for bad input, before anything is trained.
    """
    given = {
        "seed": seed,
        "out": str(out),
        "device": device,
        "on_collapse": on_collapse,
        **settings,
    }
    if start_from is not None:
        given["start_from"] = str(start_from)
    arguments = [as_argument(name, value) for name, value in given.items()]
    arguments += ["--resume"] * resume + ["--overwrite"] * overwrite
    pair = registry.get("scenario", scenario), registry.get("strategy", strategy)
    (config,), options = resolve(*pair, arguments)
    if listeners is None:
        listeners = registry.make_listeners(config.logging.loggers, config.logging.options)
    return run_one(config, options, listeners).path
