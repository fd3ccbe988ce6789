"""Completes the settings of older runs with today's defaults, so that versions can be compared.

An older run's settings lack the parameters that later versions added. The run behaved as their
defaults do, so these are filled in. Otherwise the runs of each version would count as a separate
method or stream.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from cl_suite.errors import UserError
from cl_suite.report.loaded_run import LoadedRun
from cl_suite.runs.flat import flatten

SECTIONS = ("scenario", "strategy", "model", "training", "evaluation")


def completed(runs: Sequence[LoadedRun]) -> list[LoadedRun]:
    """Return the runs, those that lack a setting of another one of their pair with its default."""
    known: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for owner, names in _names(run).items():
            known.setdefault(owner, set()).update(names)

    @functools.cache
    def usual(scenario: str, strategy: str) -> Mapping[str, Any]:
        from cl_suite.runs.changed import usual_settings  # which imports torch

        try:
            return usual_settings(scenario, strategy)
        except UserError:
            return {}  # of a program or a package that is not here

    found = []
    for run in runs:
        lacking = {n for owner, names in _names(run).items() for n in known[owner] - names}
        if lacking:
            defaults = usual(run.scenario_name, run.strategy_name)
            run = _with(run, {name: defaults[name] for name in lacking & defaults.keys()})
        found.append(run)
    return found


def _names(run: LoadedRun) -> dict[tuple[str, str], set[str]]:
    """Return the names of a run's settings, by what decides which there are."""
    found: dict[tuple[str, str], set[str]] = {}
    for section in SECTIONS:
        own = {"scenario": run.scenario_name, "strategy": run.strategy_name}
        names = flatten({section: run.config.get(section)})
        found[section, own.get(section, "")] = set(names)
    return found


def _with(run: LoadedRun, settings: Mapping[str, Any]) -> LoadedRun:
    config = dict(run.config)
    for name, value in settings.items():
        section, _, rest = name.partition(".")
        config[section] = {**(config.get(section) or {}), rest: value}
    return dataclasses.replace(run, config=config)
