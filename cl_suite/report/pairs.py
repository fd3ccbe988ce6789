"""Which strategy runs on which scenario, and why not on the others; without heavy imports."""

from __future__ import annotations

from typing import Any

from cl_suite import registry
from cl_suite.requirements import KINDS, MODALITIES, Requirements, misfit, requirements_of


def pairs() -> dict[str, dict[str, str | None]]:
    """Return, for each strategy and scenario, None or why the two cannot be run together.

    It compares requirements with default parameters. A scenario's data may still not suit a
    strategy (class names that are numbers, sessions too small); a run refuses them before training.
    """
    streams = {name: _stream(entry) for name, entry in registry.entries("scenario").items()}
    found: dict[str, dict[str, str | None]] = {}
    for name, entry in registry.entries("strategy").items():
        requirements = _by_default(entry)
        found[name] = {
            scenario: misfit(requirements, kind, modality)
            for scenario, (kind, modality) in streams.items()
        }
    return found


def _stream(entry: registry.Entry) -> tuple[Any, Any]:
    """Return the kind and the modality of a scenario's stream."""
    if entry.origin == "cl-suite":
        stated = entry.settings.get("stream", {})
        return stated.get("kind", "class"), stated.get("modality", "image")
    made_of = entry.load()
    kind, modality = getattr(made_of, "kind", "class"), getattr(made_of, "modality", "image")
    # a property depends on the parameters
    return (
        kind if kind in KINDS else "class",
        modality if modality in MODALITIES else "image",
    )


def _by_default(entry: registry.Entry) -> Requirements:
    if entry.origin == "cl-suite":
        # its YAML file repeats what its class requires, because importing all classes takes seconds
        stated = entry.settings.get("runs_on", {})
        return Requirements(
            kinds=tuple(stated.get("kinds", KINDS)),
            modalities=tuple(stated.get("modalities", MODALITIES)),
        )
    made_of = entry.load()
    # an Avalanche plugin states nothing, and some cannot be made without arguments
    if not hasattr(made_of, "requirements"):
        return Requirements()
    entry = registry.get("strategy", entry.name)
    return requirements_of(made_of(**(entry.settings.get("params") or {})))
