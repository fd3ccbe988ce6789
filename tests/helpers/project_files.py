"""Promises of the project's own files: versions of Python, dependencies, pins."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PREFIX = "Programming Language :: Python :: 3."


def promised_pythons() -> list[str]:
    """Return the versions that the classifiers name, as 3.11."""
    found = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if c.startswith(PREFIX)]
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def dependencies() -> dict[str, Requirement]:
    """Return what an installation needs to run, by normalised name."""
    return _by_name(PROJECT["dependencies"])


def all_dependencies() -> dict[str, Requirement]:
    """Return the same with what every extra adds."""
    extras = PROJECT["optional-dependencies"].values()
    return dependencies() | _by_name([line for extra in extras for line in extra])


def pins() -> dict[str, set[str]]:
    """Return the versions in constraints.txt by normalised name; markers may choose among them."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (exact,) = pin.specifier
            assert exact.operator == "==", line
            found.setdefault(canonicalize_name(pin.name), set()).add(exact.version)
    return found


def _by_name(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}
