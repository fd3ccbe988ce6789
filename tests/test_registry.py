"""The registry: no heavy imports, suggestions for unknown names, refusal of name clashes."""

from __future__ import annotations

from importlib import metadata

import pytest

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.runs.config import build_parser


class Point:
    """A third party's entry point."""

    name, value, dist = "teen", "other.package:Thing", None


def test_an_unknown_name_comes_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'omniglot'"):
        registry.get("scenario", "omnigolt")


def test_a_third_party_may_not_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point()])
    with pytest.raises(UserError, match="package 'other' has the name of a built-in one"):
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


SECTIONS = {"scenario", "strategy", "model", "training", "evaluation"}


@pytest.mark.parametrize("kind", ["scenario", "strategy"])
def test_a_yaml_file_has_no_key_that_nobody_reads(kind: registry.Kind) -> None:
    for name, entry in registry.entries(kind).items():
        known = {"params", "bounds", "model", "training", "evaluation"}
        known |= {"for_scenario", "tiny"} if kind == "strategy" else set()
        assert set(entry.settings) <= known, name
        for scenario, settings in entry.settings.get("for_scenario", {}).items():
            assert scenario in registry.entries("scenario"), name
            assert set(settings) <= SECTIONS, name


def test_a_strategys_settings_for_one_scenario_reach_that_scenario_alone() -> None:
    strategy = registry.get("strategy", "teen")
    epochs = [
        build_parser(registry.get("scenario", name), strategy).get_default("training.base_epochs")
        for name in ("mini_imagenet", "omniglot")
    ]
    assert epochs == [1000, 45]
