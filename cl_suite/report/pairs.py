"""Which strategy runs on which scenario, and why not on the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cl_suite import registry
from cl_suite.data.stream import Kind, Modality

KINDS: Mapping[Kind, str] = {
    "class": "streams of new classes",
    "data": "streams that bring more data of the same classes",
    "domain": "streams that bring other domains of the same classes",
    "mixed": "streams that bring new classes and more data of earlier ones",
}
MODALITIES: Mapping[Modality, str] = {"image": "images", "audio": "sounds"}


def misfit(strategy: Any, kind: Kind, modality: Modality) -> str | None:
    """Return why a strategy (a class or an instance) cannot run on a stream, None if it can."""
    kinds = getattr(strategy, "kinds", tuple(KINDS))
    if kind not in kinds:
        return f"it learns from {' and '.join(KINDS[k] for k in kinds)} alone"
    modalities = getattr(strategy, "modalities", tuple(MODALITIES))
    if modality not in modalities:
        return f"it learns from {' and '.join(MODALITIES[m] for m in modalities)} alone"
    return None


def pairs() -> dict[str, dict[str, str | None]]:
    """Return, for each strategy and scenario, None or why the two cannot be run together.

    By what the classes state. A scenario's data may still not suit a strategy (class names that are
    numbers, sessions too small), which a run says before it trains.
    """
    scenarios = {name: entry.load() for name, entry in registry.entries("scenario").items()}
    found: dict[str, dict[str, str | None]] = {}
    for name, entry in registry.entries("strategy").items():
        strategy = entry.load()
        found[name] = {
            scenario: misfit(
                strategy, getattr(cls, "kind", "class"), getattr(cls, "modality", "image")
            )
            for scenario, cls in scenarios.items()
        }
    return found
