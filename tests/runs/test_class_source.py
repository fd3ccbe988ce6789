"""A class's parameters as its source says them, against the constructor that Python makes."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from cl_suite import registry
from cl_suite.runs.class_source import ClassSource

PACKAGE = {
    "__init__.py": "from .methods import Method as Renamed\n",
    "methods.py": """
from dataclasses import InitVar, dataclass, field
from typing import ClassVar

from .bases import Base, Mixin, Plain


@dataclass(kw_only=True)
class Method(Mixin, Base):
    own: int = 1
    kept_: list = field(default_factory=list, init=False)
    shared: ClassVar[int] = 2
    start: InitVar[int] = 3
    fixed: int = field(default=0, init=False)


class Undecorated(Method):
    note: int = 4


class Written(Plain):
    def __init__(self, first, *, second=2):
        self.kind = first


class Inherited(Written):
    pass


class Open(Plain):
    def __init__(self, **settings):
        pass


class Deciding(Plain):
    @property
    def kind(self):
        return "data"


class Foreign(elsewhere.Unknown):
    pass
""",
    "bases.py": """
from dataclasses import dataclass


@dataclass(kw_only=True)
class Base:
    fixed: int = 1
    inherited: int = 1


@dataclass(kw_only=True)
class Mixin:
    mixed: int = 1


class Plain:
    kind: str = "class"
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the path that nobody has imported."""
    (tmp_path / "unread").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "unread" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "unread"


def source(class_path: str) -> ClassSource:
    found = ClassSource.find(class_path)
    assert found is not None, class_path
    return found


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Renamed", {"own", "start", "mixed", "inherited"}),
        ("methods.Method", {"own", "start", "mixed", "inherited"}),
        ("methods.Undecorated", {"own", "start", "mixed", "inherited"}),
        ("methods.Written", {"first", "second"}),
        ("methods.Inherited", {"first", "second"}),
        ("bases.Plain", set()),
        ("methods.Open", None),
        ("methods.Foreign", None),
    ],
)
def test_parameters_are_read_without_an_import_or_are_left_open(
    name: str, parameters: set[str] | None, package: str
) -> None:
    assert source(f"{package}.{name}").parameters() == parameters


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("bases.Plain", True),
        ("methods.Open", True),
        ("methods.Deciding", False),
        ("methods.Inherited", False),  # its constructor sets it
        ("methods.Foreign", False),
    ],
)
def test_an_attribute_that_parameters_decide_is_told_from_one_of_the_class(
    name: str, fixed: bool, package: str
) -> None:
    assert source(f"{package}.{name}").fixes("kind") == fixed


@pytest.mark.parametrize(
    "class_path", ["nowhere.Thing", "json.Thing", "cl_suite.nothing.Thing", "Thing", ""]
)
def test_what_files_do_not_lead_to_is_none(class_path: str) -> None:
    assert ClassSource.find(class_path) is None


@pytest.mark.parametrize("kind", ["scenario", "strategy"])
def test_every_registered_class_is_read_as_python_makes_it(kind: registry.Kind) -> None:
    for name, entry in registry.entries(kind).items():
        made = set(inspect.signature(entry.load()).parameters)
        assert source(entry.class_path).parameters() == made, name
