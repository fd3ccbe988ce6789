"""A benchmark's protocol: read from its YAML file, and checked for its form.

A built-in one is a file in `configs/benchmark/`. A third party's is a file that is named by its
path, or an entry point in the group `cl_suite.benchmarks` that names a mapping of the same form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Literal, get_args

from cl_suite import registry
from cl_suite.data.similar_order import Similar
from cl_suite.errors import UserError, suggestion
from cl_suite.runs.arguments import SECTIONS, read_settings
from cl_suite.runs.reading import from_yaml

Measure = Literal["classifier", "linear", "knn"]
Settings = Mapping[str, Any]  # by dotted name

GROUP = "cl_suite.benchmarks"
KEYS = (
    *("summary", "scenarios", "reference", "rows", "strategies", "draws", "set", "seed"),
    *("measure", "share_base", "tune", "only"),
)
REQUIRED = ("scenarios", "reference", "strategies", "draws")
OF_DRAWS = ("set", "grid", "similar")
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Draws:
    """Streams that belong together, such as all drawn ones.

    Attributes:
        settings: of all of them.
        grid: lists of values; each combination is a draw.
        similar: put look-alike classes apart or together, by the reference's class means.
    """

    settings: Settings = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    similar: Similar | None = None


@dataclass(frozen=True)
class Protocol:
    """What a benchmark measures.

    Attributes:
        scenarios: names of the scenarios it fits, the default one first.
        reference: the strategy that all others are compared with; it learns class means alone, or
            is the plainest form of training on.
        rows: further strategies that are always measured, with settings of their own.
        strategies: those that are measured unless others are asked for.
        draws: the streams, in groups by name.
        settings: of all runs.
        measure: what counts the hits: the classifier, or probes on features.
        share_base: strategies that start from the reference's base session where it is trained, for
            scenarios whose shots are those of later sessions alone. Empty: none share.
        tune: values that `--tune-on` tries, by strategy.
        only: groups of draws to which a costly strategy is limited.
    """

    name: str
    summary: str
    scenarios: tuple[str, ...]
    reference: str
    strategies: tuple[str, ...]
    draws: Mapping[str, Draws]
    rows: Mapping[str, Settings] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    seed: int = 0
    measure: tuple[Measure, ...] = ("classifier",)
    share_base: frozenset[str] = frozenset()
    tune: Mapping[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def runs_on(self, strategy: str, group: str) -> bool:
        """Return whether a strategy is measured on a group of draws."""
        return group in self.only.get(strategy, (group,))


def names() -> dict[str, str]:
    """Return the summary of each built-in protocol and third party's, by name."""
    found = {name: str(content.get("summary", "")) for name, content in _built_in().items()}
    for point in metadata.entry_points(group=GROUP):
        found.setdefault(point.name, "")
    return found


def read_protocol(name: str) -> Protocol:
    """Return a protocol by its name, or from a YAML file by its path.

    Raises:
        UserError: if there is none, or it has another form.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        return _protocol(path.stem, read_settings(path), f"benchmark file '{name}'")
    own = _built_in()
    if name in own:
        return _protocol(name, own[name], f"benchmark '{name}'")
    for point in metadata.entry_points(group=GROUP):
        if point.name == name:
            return _protocol(name, point.load(), f"benchmark '{name}' of '{point.value}'")
    raise UserError(
        f"benchmark '{name}' is unknown (a file of your own is named by its path, such as my.yaml)"
        f"{suggestion(name, names())}"
    )


def _built_in() -> dict[str, dict[str, Any]]:
    folder = resources.files("cl_suite.configs").joinpath("benchmark")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): from_yaml(f.read_text("utf-8")) for f in files}


def _protocol(name: str, content: object, where: str) -> Protocol:
    if not isinstance(content, Mapping):
        raise UserError(f"{where} must be a mapping such as the built-in ones, got {content!r}")
    for key in content:
        if key not in KEYS:
            raise UserError(f"{where} has key '{key}', which is unknown{suggestion(key, KEYS)}")
    for key in REQUIRED:
        if not content.get(key):
            raise UserError(f"{where} has no {key}; see configs/benchmark/fscil.yaml for one")
    if not _NAME.fullmatch(name):
        raise UserError(f"{where} must be named by letters, digits, - and _")
    seed = content.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"{where}: seed must be a whole number from 0, got {seed!r}")
    protocol = Protocol(
        name=name,
        summary=str(content.get("summary", "")),
        scenarios=_names(content["scenarios"], f"{where}: scenarios"),
        reference=str(content["reference"]),
        strategies=_names(content["strategies"], f"{where}: strategies"),
        draws=_draws(content["draws"], f"{where}: draws"),
        rows={
            key: _settings(own, f"{where}: rows.{key}")
            for key, own in _mapping(content.get("rows"), f"{where}: rows").items()
        },
        settings=_settings(content.get("set"), f"{where}: set"),
        seed=seed,
        measure=_measures(content.get("measure", ["classifier"]), f"{where}: measure"),
        share_base=frozenset(_names(content.get("share_base") or [], f"{where}: share_base")),
        tune={
            key: _grid(values, f"{where}: tune.{key}")
            for key, values in _mapping(content.get("tune"), f"{where}: tune").items()
        },
        only={
            key: _names(groups, f"{where}: only.{key}")
            for key, groups in _mapping(content.get("only"), f"{where}: only").items()
        },
    )
    _check_only(protocol, where)
    for strategy in (protocol.reference, *protocol.strategies, *protocol.rows):
        registry.get("strategy", strategy)
    for scenario in protocol.scenarios:
        registry.get("scenario", scenario)
    return protocol


def _check_only(protocol: Protocol, where: str) -> None:
    if protocol.reference in protocol.only:
        raise UserError(f"{where}: only names '{protocol.reference}', which every draw needs")
    for groups in protocol.only.values():
        for group in groups:
            if group not in protocol.draws:
                raise UserError(f"{where}: only has '{group}'{suggestion(group, protocol.draws)}")


def _draws(content: object, where: str) -> dict[str, Draws]:
    found = {}
    for name, own in _mapping(content, where).items():
        own, group = _mapping(own, f"{where}.{name}"), f"{where}.{name}"
        if not _NAME.fullmatch(name):
            raise UserError(f"{group} must be named by letters, digits, - and _")
        for key in own:
            if key not in OF_DRAWS:
                raise UserError(f"{group} has key '{key}'{suggestion(key, OF_DRAWS)}")
        similar = own.get("similar")
        if similar is not None and similar not in get_args(Similar):
            raise UserError(f"{group}: similar must be apart or together, got {similar!r}")
        settings = _settings(own.get("set"), f"{group}: set")
        found[name] = Draws(settings, _grid(own.get("grid"), f"{group}: grid"), similar)
    return found


def _mapping(content: object, where: str) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise UserError(f"{where} must be a mapping, got {content!r}")
    return {str(key): value for key, value in content.items()}


def _settings(content: object, where: str) -> dict[str, Any]:
    settings = _mapping(content, where)
    for name in settings:
        if name.partition(".")[0] not in SECTIONS or "." not in name:
            raise UserError(f"{where} has '{name}'; name a setting, such as training.base_epochs")
    return settings


def _grid(content: object, where: str) -> dict[str, list[Any]]:
    grid = _settings(content, where)
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}: {name} must have a list of values, got {values!r}")
    return grid


def _names(content: object, where: str) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{where} must be a list of names, got {content!r}")
    return tuple(content)


def _measures(content: object, where: str) -> tuple[Measure, ...]:
    found = _names(content, where)
    for name in found:
        if name not in get_args(Measure):
            raise UserError(f"{where} has '{name}'{suggestion(name, get_args(Measure))}")
    return found  # type: ignore[return-value]  # checked above
