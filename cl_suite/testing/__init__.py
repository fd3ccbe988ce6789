"""The contract tests for authors of methods, and streams small enough for unit tests.

    from cl_suite.testing import strategy_checks

    test_contract = strategy_checks(MeanPlugin)  # one pytest case for each check

`check_strategy(MeanPlugin)` runs the same checks without pytest. Importing this package alone
imports neither torch nor pytest; its names do when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_suite.testing.contract import CHECKS, check_strategy
    from cl_suite.testing.pytest_plugin import strategy_checks
    from cl_suite.testing.streams import make_samples, make_stream

__all__ = ["CHECKS", "check_strategy", "make_samples", "make_stream", "strategy_checks"]

_HOME = {
    "CHECKS": "contract",
    "check_strategy": "contract",
    "make_samples": "streams",
    "make_stream": "streams",
    "strategy_checks": "pytest_plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cl_suite.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"cl_suite.testing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
