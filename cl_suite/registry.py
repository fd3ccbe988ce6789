"""The registry: finds scenarios and strategies by name, without heavy imports.

A built-in one is a YAML file in `configs/`; a third party's is an entry point in the group
`cl_suite.strategies` or `cl_suite.scenarios` that names its class. Its recipe is the attribute
`default_config` of that class, a mapping with the sections of such a YAML file:

    default_config = {"training": {"base_epochs": 10, "incremental_epochs": 0}}
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from typing import Any, Literal

import yaml

from cl_suite.errors import UserError, suggestion

Kind = Literal["scenario", "strategy"]
GROUPS: dict[Kind, str] = {"scenario": "cl_suite.scenarios", "strategy": "cl_suite.strategies"}
# the same safe loader in C, far faster, if it is there
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# of a YAML file, besides class and summary, and of `default_config`
SECTIONS = (
    "params",
    "bounds",
    "model",
    "training",
    "evaluation",
    "for_scenario",
    "meant_for",
    "tiny",
)
RUN_SECTIONS = ("scenario", "strategy", "model", "training", "evaluation")  # of a run's settings
LISTENER_GROUP = "cl_suite.listeners"
LISTENERS = {  # of every run; third parties add theirs by entry points
    "console": "cl_suite.logging.progress.ConsoleProgress",
}
LOGGER_GROUP = "cl_suite.loggers"
LOGGERS = {  # listeners that a run's settings name; third parties add theirs by entry points
    "tensorboard": "cl_suite.logging.run_dashboard.RunDashboard",
    "csv": "cl_suite.logging.csv_files.CsvFiles",
    "wandb": "cl_suite.logging.wandb_run.WandbRun",
    "mlflow": "cl_suite.logging.mlflow_run.MlflowRun",
}
USUAL_LOGGERS = ("tensorboard",)


@dataclass(frozen=True)
class Entry:
    """One registered scenario or strategy.

    Attributes:
        class_path: dotted name of its class.
        summary: one line for the list.
        settings: the rest of its YAML: `params`, `bounds`, `model`, `training`, `evaluation`, and
            for a strategy `for_scenario` (the same sections for one scenario, by name),
            `meant_for` (see `cl_suite.engine.ground`) and `tiny` (parameters for short tests; runs
            do not read them). `runs_on` of a strategy and `stream` of a scenario repeat what their
            classes say of kinds and modalities, for `cl-suite list pairs`.
        origin: cl-suite, or the package that provides it.
    """

    kind: Kind
    name: str
    class_path: str
    summary: str
    origin: str = "cl-suite"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> type:
        """Import and return the class.

        Raises:
            UserError: if it cannot be imported.
        """
        return _import(self.kind, self.name, self.class_path)


def entries(kind: Kind) -> dict[str, Entry]:
    """Return every registered entry of a kind by name, built-in ones first, each in name order."""
    found = dict(_built_in(kind))
    for point in sorted(metadata.entry_points(group=GROUPS[kind]), key=lambda p: p.name):
        if point.name in found:
            raise UserError(
                f"{kind} '{point.name}' of package '{_package(point)}' has the name of a "
                "built-in one; uninstall the package or ask its authors for another name"
            )
        class_path = point.value.replace(":", ".")
        found[point.name] = Entry(kind, point.name, class_path, "", _package(point))
    return found


def get(kind: Kind, name: str) -> Entry:
    """Return the entry of this name, with the defaults that a third party's class states.

    Raises:
        UserError: if there is none; it suggests the nearest name.
    """
    known = entries(kind)
    if name not in known:
        other: Kind = "strategy" if kind == "scenario" else "scenario"
        if name in entries(other):
            raise UserError(
                f"'{name}' is a {other}, not a {kind}; the order is SCENARIO STRATEGY, as in "
                "`cl-suite run omniglot teen`"
            )
        raise UserError(f"{kind} '{name}' is unknown{suggestion(name, known)}")
    entry = known[name]
    if entry.origin != "cl-suite":
        settings = _own_settings(entry)
        entry = Entry(kind, name, entry.class_path, entry.summary, entry.origin, settings)
    return entry


def make_listeners(
    loggers: Sequence[str] = USUAL_LOGGERS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Any]:
    """Return new listeners: these loggers, the console, and those of third parties.

    Args:
        loggers: names of loggers.
        options: arguments of a logger, by its name.

    Raises:
        UserError: if one is unknown, cannot be imported, or lacks a package.
    """
    made = [logger_class(name)(**(options or {}).get(name, {})) for name in loggers]
    paths = LISTENERS | _points(LISTENER_GROUP)
    return made + [_import("listener", name, path)() for name, path in paths.items()]


def logger_paths() -> dict[str, str]:
    """Return the class path of every logger by name, built-in ones first.

    Raises:
        UserError: if a third party's has the name of a built-in one.
    """
    found = _points(LOGGER_GROUP)
    if clash := LOGGERS.keys() & found.keys():
        raise UserError(
            f"logger '{min(clash)}' of another package has the name of a built-in one; uninstall "
            "the package or ask its authors for another name"
        )
    return LOGGERS | found


def logger_class(name: str) -> type:
    """Import and return a logger's class.

    Raises:
        UserError: if it is unknown or cannot be imported.
    """
    known = logger_paths()
    if name not in known:
        raise UserError(f"logger '{name}' is unknown{suggestion(name, known)}")
    return _import("logger", name, known[name])


def lazy_classes(
    kind: Kind, package: str, aliases: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package whose classes the YAML files name.

    With them `from cl_suite.strategies import TEENPlugin` works without a list of classes, and
    `__all__` names them.

    Args:
        aliases: from a former name of a class to its name.
    """
    former = aliases or {}

    def classes() -> dict[str, Entry]:
        own = [e for e in _built_in(kind).values() if e.class_path.startswith(f"{package}.")]
        return {entry.class_path.rpartition(".")[2]: entry for entry in own}

    def get_class(name: str) -> Any:
        if name == "__all__":
            return sorted(classes())
        name = former.get(name, name)
        if name.startswith("_") or name not in (known := classes()):
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return known[name].load()

    return get_class, lambda: sorted(classes())


@functools.cache
def _built_in(kind: Kind) -> Mapping[str, Entry]:
    found = {}
    folder = resources.files("cl_suite.configs").joinpath(kind)
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            name = file.name.removesuffix(".yaml")
            found[name] = _from_yaml(kind, name, _LOADER(file.read_text("utf-8")).get_single_data())
    return found


def _from_yaml(kind: Kind, name: str, content: Mapping[str, Any]) -> Entry:
    settings = {k: v for k, v in content.items() if k not in ("class", "summary")}
    return Entry(kind, name, content["class"], content["summary"], settings=settings)


def _own_settings(entry: Entry) -> dict[str, Any]:
    settings = getattr(entry.load(), "default_config", {})
    whose = f"default_config of {entry.kind} '{entry.name}'"
    _check_sections(settings, SECTIONS, whose)
    for scenario, own in (settings.get("for_scenario") or {}).items():
        _check_sections(own, RUN_SECTIONS, f"{whose} for scenario '{scenario}'")
    for name, ends in (settings.get("bounds") or {}).items():
        if not isinstance(ends, Sequence) or len(ends) != 2:
            raise UserError(f"{whose}: bounds of '{name}' must be two numbers, got {ends!r}")
    return dict(settings)


def _check_sections(settings: Any, known: Sequence[str], whose: str) -> None:
    """Raise `UserError` unless settings are a mapping of known sections to mappings."""
    if not isinstance(settings, Mapping):
        raise UserError(
            f"{whose} must be a mapping of sections, such as "
            f"{{'training': {{'base_epochs': 10}}}}, got {settings!r}"
        )
    for section, values in settings.items():
        if section not in known:
            raise UserError(
                f"{whose} has a section '{section}', which does not exist"
                f"{suggestion(str(section), known)}"
            )
        if values is not None and not isinstance(values, Mapping):
            raise UserError(f"{whose}: '{section}' must be a mapping of settings, got {values!r}")


def _points(group: str) -> dict[str, str]:
    """Return the class paths that third parties register in a group, in order of their names."""
    points = sorted(metadata.entry_points(group=group), key=lambda point: point.name)
    return {point.name: point.value.replace(":", ".") for point in points}


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.split(".")[0]


def _import(kind: str, name: str, class_path: str) -> type:
    module_name, _, class_name = class_path.rpartition(".")
    if module_name.startswith("avalanche."):
        # its import warns of a solver that few plugins need; our import filters the warning
        importlib.import_module("cl_suite.avalanche.api")
    try:
        found: type = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{kind} '{name}' names class '{class_path}', which cannot be imported ({error}); fix "
            "its entry or install what it needs"
        ) from error
    return found
