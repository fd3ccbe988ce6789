"""Which strategy runs on which scenario, and why not on the others; without heavy imports."""

from __future__ import annotations

from cl_suite import registry
from cl_suite.requirements import misfit
from cl_suite.runs.early import required_by, stream_of


def pairs() -> dict[str, dict[str, str | None]]:
    """Return, for each strategy and scenario, None or why the two cannot be run together.

    It compares requirements with default parameters. A scenario's data may still not suit a
    strategy (class names that are numbers, sessions too small); a run refuses them before training.
    """
    streams = {name: stream_of(entry) for name, entry in registry.entries("scenario").items()}
    found: dict[str, dict[str, str | None]] = {}
    for name, entry in registry.entries("strategy").items():
        requirements = required_by(entry)
        found[name] = {
            scenario: misfit(requirements, kind, modality)
            for scenario, (kind, modality) in streams.items()
        }
    return found
