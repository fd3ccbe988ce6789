"""What a run is refused for before the engine, or even its classes, are imported: they are slow.

Without the classes, names come from their source and the fit of a pair from the YAML files; the
checks with the classes themselves follow in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.requirements import (
    KINDS,
    MODALITIES,
    Requirements,
    does_not_run,
    misfit,
    requirements_of,
    unmet,
    unmet_by_scenario,
)
from cl_suite.runs.arguments import OPTIONS, SETTINGS, named_settings, refuse_unknown
from cl_suite.runs.class_source import ClassSource

if TYPE_CHECKING:
    from cl_suite.runs.config import RunConfig

_ONLY_SHOWN = {"-h", "--help", "--print_config"}


def refuse_early(
    scenario: registry.Entry, strategy: registry.Entry, arguments: Sequence[str]
) -> None:
    """Raise `UserError` for an unknown option, or for a pair that no parameter can make fit."""
    if (known := known_options(scenario, strategy)) is None:
        return
    refuse_unknown(arguments, known)
    if not _ONLY_SHOWN & set(arguments):
        _refuse_misfit(scenario, strategy, arguments)


def check_pair(config: RunConfig) -> None:
    """Raise `UserError` for settings or a kind of scenario that the strategy cannot use."""
    required = requirements_of(config.strategy)
    if (problem := unmet(required, config) or unmet_by_scenario(required, config)) is not None:
        raise UserError(problem)


def known_options(scenario: registry.Entry, strategy: registry.Entry) -> set[str] | None:
    """Return the names of a pair's options; None if they cannot be told without its classes.

    Example:
        >>> known = known_options(registry.get("scenario", "omniglot"),
        ...                       registry.get("strategy", "teen"))
        >>> "strategy.shift_weight" in known, "strategy.shift_wait" in known
        (True, False)
    """
    if {scenario.origin, strategy.origin} != {"cl-suite"}:
        # a third party's class is imported with its recipe, and may make its signature itself
        return None
    found = set(OPTIONS)
    paths = {"scenario": scenario.class_path, "strategy": strategy.class_path, **SETTINGS}
    for section, path in paths.items():
        source = ClassSource.find(path)
        if source is None or (names := source.parameters()) is None:
            return None
        found |= {f"{section}.{name}" for name in names}
    return found


def stream_of(entry: registry.Entry) -> tuple[Any, Any]:
    """Return the kind and the modality of a scenario's stream, with default parameters."""
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


def required_by(entry: registry.Entry) -> Requirements:
    """Return a strategy's requirements with default parameters, as far as pairs depend on them."""
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


def _refuse_misfit(
    scenario: registry.Entry, strategy: registry.Entry, arguments: Sequence[str]
) -> None:
    required, (kind, modality) = required_by(strategy), stream_of(scenario)
    reason = misfit(required, kind, modality)
    if reason is None:
        return
    wrong = {"kind": kind not in required.kinds, "modality": modality not in required.modalities}
    given = {key.partition(".")[0] for key, _ in named_settings(arguments)}
    given |= set(strategy.settings.get("for_scenario", {}).get(scenario.name, {}))
    hopeless = any(is_wrong and _fixed(scenario, name) for name, is_wrong in wrong.items())
    decided_by_parameters = ("scenario" in given and not hopeless) or (
        "strategy" in given and not _fixed(strategy, "requirements")
    )
    if not decided_by_parameters:
        raise UserError(f"strategy '{strategy.name}' {does_not_run(scenario.name, reason)}")


def _fixed(entry: registry.Entry, attribute: str) -> bool:
    """Return whether a class decides an attribute by itself, whatever its parameters are."""
    source = ClassSource.find(entry.class_path)
    return source is not None and source.fixes(attribute)
