"""cl-suite: continual and few-shot class-incremental learning.

Importing the package imports neither torch nor Avalanche; using its public names does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_suite.learner.learner import Learner
    from cl_suite.plugin import StrategyPlugin
    from cl_suite.runs.launch import run
    from cl_suite.runs.saved_model import load_model

__version__ = "0.13.0"
__all__ = ["Learner", "StrategyPlugin", "__version__", "load_model", "run"]

_HOME = {
    "Learner": "cl_suite.learner.learner",
    "StrategyPlugin": "cl_suite.plugin",
    "load_model": "cl_suite.runs.saved_model",
    "run": "cl_suite.runs.launch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cl_suite' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
