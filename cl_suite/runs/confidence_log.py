"""Measures after each session how far the classifier's probabilities can be trusted."""

from __future__ import annotations

import math
from typing import Any

from cl_suite.engine.confidence import confidence
from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError, option
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder


def confidence_log(folder: RunFolder, engine: Engine, config: RunConfig) -> ConfidenceLog | None:
    """Return the log of a run, None if it is not asked for; see `ConfidenceLog`."""
    if not config.evaluation.confidence:
        return None
    return ConfidenceLog(folder, engine, config.strategy_name)


class ConfidenceLog:
    """Writes `confidence.jsonl`, a line a session.

    Raises:
        UserError: if the strategy has no classifier.
    """

    def __init__(self, folder: RunFolder, engine: Engine, strategy: str) -> None:
        if engine.measure != "classifier":
            raise UserError(
                f"strategy '{strategy}' has no classifier, so there are no probabilities to "
                f"measure; leave out {option('evaluation.confidence')}"
            )
        self.folder, self.engine = folder, engine

    def measure(self, session: int) -> None:
        """Measure after a session and add a line; lines of this one and later ones are replaced."""
        path = self.folder.confidence_file
        before = self.folder.read_confidence()[:session] if path.is_file() else []
        # training may have diverged, or a class have a probability of 0
        figures = confidence(self.engine.measuring, session)
        found = {name: _plain(value) for name, value in figures.items()}
        self.folder.write_confidence([*before, found])


def _plain(value: Any) -> Any:
    """Return a value for JSON, which has no numbers that are not finite."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
