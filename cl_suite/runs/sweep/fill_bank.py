"""Fills the feature bank that a run reads, without running it: `python -m ... --config FILE`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from cl_suite import registry
from cl_suite.errors import UserError, on_command_line
from cl_suite.runs.arguments import names_in
from cl_suite.runs.assemble import build_model, build_stream
from cl_suite.runs.config import resolve

SECONDS_BETWEEN_LINES = 10.0


def fill_bank(arguments: Sequence[str]) -> None:
    """Compute the features of the run whose settings `--config` names.

    Raises:
        UserError: for what a run would refuse.
    """
    scenario, strategy = names_in(arguments)
    pair = registry.get("scenario", scenario), registry.get("strategy", strategy)
    (config,), _ = resolve(*pair, arguments)
    last = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            sys.stdout.write(f"features of {done:,}/{total:,} images\n")

    build_model(config, build_stream(config), say)


def main(arguments: Sequence[str]) -> int:
    """Fill a bank and return the exit code."""
    try:
        with on_command_line():
            fill_bank(arguments)
    except UserError as error:
        sys.stderr.write(f"cl-suite: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
