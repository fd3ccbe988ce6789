"""Which strategy runs on which scenario, and why not on the others."""

from __future__ import annotations

from cl_suite import registry
from cl_suite.requirements import Requirements, misfit, requirements_of


def pairs() -> dict[str, dict[str, str | None]]:
    """Return, for each strategy and scenario, None or why the two cannot be run together.

    It compares requirements with default parameters. A scenario's data may still not suit a
    strategy (class names that are numbers, sessions too small); a run refuses them before training.
    """
    scenarios = {name: entry.load() for name, entry in registry.entries("scenario").items()}
    found: dict[str, dict[str, str | None]] = {}
    for name in registry.entries("strategy"):
        requirements = _by_default(registry.get("strategy", name))
        found[name] = {
            scenario: misfit(
                requirements, getattr(cls, "kind", "class"), getattr(cls, "modality", "image")
            )
            for scenario, cls in scenarios.items()
        }
    return found


def _by_default(entry: registry.Entry) -> Requirements:
    made_of = entry.load()
    # an Avalanche plugin states nothing, and some cannot be made without arguments
    if not hasattr(made_of, "requirements"):
        return Requirements()
    return requirements_of(made_of(**(entry.settings.get("params") or {})))
