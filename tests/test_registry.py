"""Names: found without heavy imports, refused with the nearest, clashes said."""

from __future__ import annotations

from importlib import metadata

import pytest

from cl_suite import registry
from cl_suite.errors import UserError


class Point:
    """A third party's entry point."""

    name, value, dist = "teen", "other.package:Thing", None


def test_an_unknown_name_comes_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'omniglot'"):
        registry.get("scenario", "omnigolt")


def test_a_third_party_may_not_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point()])
    with pytest.raises(UserError, match="package 'other' has a built-in one's name"):
        registry.entries("strategy")


def test_a_class_that_cannot_be_imported_is_named() -> None:
    entry = registry.Entry("strategy", "ghost", "no.such.Thing", "")
    with pytest.raises(UserError, match=r"'ghost' names class 'no\.such\.Thing'"):
        entry.load()


def test_classes_are_attributes_of_their_package() -> None:
    import cl_suite.strategies
    from cl_suite.scenarios import Omniglot
    from cl_suite.strategies import TEENPlugin

    assert TEENPlugin.__name__ == "TEENPlugin"
    assert Omniglot.__name__ == "Omniglot"
    assert "TEENPlugin" in dir(cl_suite.strategies)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = cl_suite.strategies.Nonsense
