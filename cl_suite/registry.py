"""Names of scenarios and strategies, and where each lives; nothing heavy is imported to list them.

A built-in one is a YAML file in `configs/`; a third party's is an entry point in the group
`cl_suite.strategies` or `cl_suite.scenarios` that names its class. A class may carry its own
`default_config`, a mapping with the keys of such a YAML file.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata, resources
from typing import Any, Literal

import yaml

from cl_suite.errors import UserError, suggestion

Kind = Literal["scenario", "strategy"]
GROUPS: dict[Kind, str] = {"scenario": "cl_suite.scenarios", "strategy": "cl_suite.strategies"}
LISTENER_GROUP = "cl_suite.listeners"
LISTENERS = {  # of every run; third parties add theirs by entry points
    "tensorboard": "cl_suite.logging.run_dashboard.RunDashboard",
    "console": "cl_suite.logging.progress.ConsoleProgress",
}


@dataclass(frozen=True)
class Entry:
    """One registered scenario or strategy.

    Attributes:
        class_path: dotted name of its class.
        summary: one line for the list.
        settings: the rest of its YAML: `params`, `bounds`, `model`, `training`, `evaluation`, and
            of a strategy `for_scenario` (the same sections for one scenario, by name) and `tiny`
            (parameters that make tests of it short; no run reads them).
        origin: cl-suite, or the package that brought it.
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
                f"{kind} '{point.name}' of package '{_package(point)}' has a built-in one's name; "
                "uninstall the package or ask its authors for another name"
            )
        class_path = point.value.replace(":", ".")
        found[point.name] = Entry(kind, point.name, class_path, "", _package(point))
    return found


def get(kind: Kind, name: str) -> Entry:
    """Return the entry of this name, with what a third party's class says of its defaults.

    Raises:
        UserError: if there is none, with the nearest name.
    """
    known = entries(kind)
    if name not in known:
        raise UserError(f"{kind} '{name}' is unknown{suggestion(name, known)}")
    entry = known[name]
    if entry.origin != "cl-suite":
        settings = dict(getattr(entry.load(), "default_config", {}))
        entry = Entry(kind, name, entry.class_path, entry.summary, entry.origin, settings)
    return entry


def make_listeners() -> list[Any]:
    """Return a new listener of each kind that is known: the suite's own, and third parties'.

    Raises:
        UserError: if one cannot be imported.
    """
    paths = dict(LISTENERS)
    for point in sorted(metadata.entry_points(group=LISTENER_GROUP), key=lambda p: p.name):
        paths[point.name] = point.value.replace(":", ".")
    return [_import("listener", name, path)() for name, path in paths.items()]


def lazy_classes(kind: Kind, package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package whose classes the YAML files name.

    So `from cl_suite.strategies import TEENPlugin` works, and a new file needs no line elsewhere.
    """

    def classes() -> dict[str, Entry]:
        own = [e for e in _built_in(kind).values() if e.class_path.startswith(f"{package}.")]
        return {entry.class_path.rpartition(".")[2]: entry for entry in own}

    def get_class(name: str) -> Any:
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
            found[name] = _from_yaml(kind, name, yaml.safe_load(file.read_text("utf-8")))
    return found


def _from_yaml(kind: Kind, name: str, content: Mapping[str, Any]) -> Entry:
    settings = {k: v for k, v in content.items() if k not in ("class", "summary")}
    return Entry(kind, name, content["class"], content["summary"], settings=settings)


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.split(".")[0]


def _import(kind: str, name: str, class_path: str) -> type:
    module_name, _, class_name = class_path.rpartition(".")
    if module_name.startswith("avalanche."):
        # its import warns of a solver that few plugins need; ours filters that
        importlib.import_module("cl_suite.avalanche.api")
    try:
        found: type = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{kind} '{name}' names class '{class_path}', which cannot be imported ({error}); fix "
            "its entry or install what it needs"
        ) from error
    return found
