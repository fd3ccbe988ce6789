"""Compares a run's settings with those of its folder: by resolved values, not by text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.runs.config import RunConfig, is_place, resolve_again
from cl_suite.runs.flat import flatten
from cl_suite.runs.reading import from_yaml, parse_mapping

CHANGES_NO_RESULT = {"training.num_workers"}  # and who watches: the section `logging`
_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """A setting with one value in the folder and another in this run."""

    key: str
    there: Any
    here: Any

    @property
    def is_place(self) -> bool:
        """Whether data or weights lie elsewhere; a fingerprint tells if they are the same."""
        both = is_place(self.key, self.there) and is_place(self.key, self.here)
        # another base session is another run
        return both and self.key != "start_from"

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.there)} there, {_shown(self.here)} here"


def changes_results(key: str) -> bool:
    """Return whether a setting, by its dotted name, can change a run's figures."""
    return key not in CHANGES_NO_RESULT and key.partition(".")[0] != "logging"


def differences(text: str, config: RunConfig) -> list[Difference]:
    """Return the settings that differ from those of another run's `config.yaml`, in order.

    Equal numbers (0 and 0.0) and spellings of one path are equal, and settings that change no
    result are left out. A setting that an older version did not have takes its default.

    Raises:
        UserError: if the text holds no settings.
    """
    if text == config.text:
        return []
    here, there = flatten(yaml.safe_load(config.text)), _parsed(text)
    found = _differing(flatten(there), here)
    if any(_ABSENT in (d.there, d.here) for d in found) and (again := _resolved(there, config)):
        found = _differing(flatten(again), here)
    return found


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    keys = [key for key in {**here, **there} if changes_results(key)]
    pairs = [Difference(key, there.get(key, _ABSENT), here.get(key, _ABSENT)) for key in keys]
    return [d for d in pairs if not _same(d.there, d.here) and not _same_place(d)]


def _same(a: object, b: object) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _same_place(found: Difference) -> bool:
    if not (is_place(found.key, found.there) and is_place(found.key, found.here)):
        return False
    places = (os.path.expanduser(place) for place in (found.there, found.here))
    return len({os.path.realpath(place) for place in places}) == 1


def _parsed(text: str) -> dict[str, Any]:
    try:
        return parse_mapping(text, from_yaml)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"the run's settings cannot be read ({error}); replace the run by --overwrite"
        ) from error


def _resolved(content: dict[str, Any], config: RunConfig) -> Any:
    """Return the settings with today's defaults; None if they are no longer accepted."""
    pair = (
        registry.get("scenario", config.scenario_name),
        registry.get("strategy", config.strategy_name),
    )
    try:
        return yaml.safe_load(resolve_again(*pair, content).text)
    except ValueError:
        return None


def _shown(value: object) -> str:
    return "nothing" if value is _ABSENT else str(value)
