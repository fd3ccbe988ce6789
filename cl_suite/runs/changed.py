"""What a run's settings change of its pair's defaults, and the command that repeats it."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from cl_suite import registry
from cl_suite.runs.arguments import as_argument
from cl_suite.runs.config import RunConfig, build_parser, make_places_absolute
from cl_suite.runs.flat import flatten
from cl_suite.runs.same_settings import changes_results

APART = ("scenario_name", "strategy_name", "seed", "device")


def usual_settings(scenario: str, strategy: str) -> dict[str, Any]:
    """Return the defaults of a pair's settings, by dotted name.

    Raises:
        UserError: if the registry has no such pair.
    """
    parser = build_parser(registry.get("scenario", scenario), registry.get("strategy", strategy))
    defaults = parser.get_defaults()
    make_places_absolute(defaults)
    return flatten(yaml.safe_load(parser.dump(defaults, skip_validation=True, skip_unset=False)))


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that differ from the pair's defaults and can change a result.

    Names, seed and device are left out, and so is a draw that follows the seed. A scenario that a
    program made without registering it has no defaults, so nothing is known to differ.
    """
    if config.scenario_name not in registry.entries("scenario"):
        return {}
    usual = usual_settings(config.scenario_name, config.strategy_name)
    drawn = getattr(type(config.scenario), "drawn_by_seed", None)
    if drawn is not None:
        usual[f"scenario.{drawn}"] = config.seed
    return {
        key: value
        for key, value in flatten(yaml.safe_load(config.text)).items()
        if key not in APART and changes_results(key) and value != usual.get(key)
    }


def repeating_command(config: RunConfig) -> str:
    """Return the command that runs this again, in a line for a shell."""
    words = ["cl-suite", "run", config.scenario_name, config.strategy_name]
    words += ["--seed", str(config.seed)]
    words += [as_argument(key, value) for key, value in changed_settings(config).items()]
    return shlex.join(words)
