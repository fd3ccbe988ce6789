"""The registry: no heavy imports, suggestions for unknown names, refusal of name clashes."""

from __future__ import annotations

from importlib import metadata
from typing import Any

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


def test_the_package_of_strategies_lists_its_classes() -> None:
    import cl_suite.strategies

    assert "COCONUTPlugin" in cl_suite.strategies.__all__
    assert cl_suite.strategies.__all__ == dir(cl_suite.strategies)


def test_a_class_has_one_name_and_its_former_one_leads_to_it() -> None:
    import cl_suite.strategies
    from cl_suite.strategies import COCONUTPlugin, CoconutPlugin
    from cl_suite.strategies.coconut import CoconutPlugin as InItsModule

    assert CoconutPlugin is COCONUTPlugin
    assert InItsModule is COCONUTPlugin
    assert "CoconutPlugin" not in cl_suite.strategies.__all__


def own_strategy(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> registry.Entry:
    """Return the entry of a third party's strategy with this recipe."""
    from cl_suite.plugin import StrategyPlugin

    own = type("Own", (StrategyPlugin,), {"default_config": recipe})
    load = registry._import
    monkeypatch.setattr(registry, "_import", lambda *names: own if "own" in names else load(*names))
    entry = registry.Entry("strategy", "own", "own.Own", "", "a-package")
    with monkeypatch.context() as alone:
        alone.setattr(registry, "entries", lambda kind: {"own": entry})
        return registry.get("strategy", "own")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"trainig": {"lr": 1}}, " has a section 'trainig'.*did you mean 'training'"),
        (["training"], " must be a mapping of sections.*got"),
        ({"training": 3}, ": 'training' must be a mapping of settings, got 3"),
        ({"tiny": ["steps"]}, r": 'tiny' must be a mapping of settings, got \['steps'\]"),
        ({"for_scenario": ["omniglot"]}, ": 'for_scenario' must be a mapping of settings"),
        ({"meant_for": "images"}, ": 'meant_for' must be a mapping of settings, got 'images'"),
        (
            {"for_scenario": {"omniglot": {"params": {"scale": 1}}}},
            " for scenario 'omniglot' has a section 'params', which does not exist",
        ),
        (
            {"for_scenario": {"omniglot": {"training": 3}}},
            " for scenario 'omniglot': 'training' must be a mapping of settings, got 3",
        ),
        ({"bounds": {"scale": 3}}, ": bounds of 'scale' must be two numbers, got 3"),
    ],
)
def test_a_recipe_that_nobody_would_read_is_refused(
    recipe: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=f"default_config of strategy 'own'{message}"):
        own_strategy(recipe, monkeypatch)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"tiny": {"scael": 1}}, "of own, under 'tiny', set 'strategy.scael'"),
        ({"bounds": {"scael": [0, 1]}}, "of own, under 'bounds', set 'strategy.scael'"),
        # the run is on another scenario than that of the wrong setting
        (
            {"for_scenario": {"cub200": {"training": {"epochs": 1}}}},
            "of own on cub200 set 'training.epochs'",
        ),
        (
            {"for_scenario": {"omniglot": {"scenario": {"shotz": 1}}}},
            "of own on omniglot set 'scenario.shotz'",
        ),
    ],
)
def test_a_setting_that_a_run_does_not_read_is_refused_like_those_that_it_does(
    recipe: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = registry.get("scenario", "omniglot"), own_strategy(recipe, monkeypatch)
    with pytest.raises(UserError, match=f"{message}, which does not exist"):
        build_parser(*pair)


def test_a_ground_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_strategy({"meant_for": {"base_shot": {"most": 16}}}, monkeypatch)
    with pytest.raises(UserError, match="under 'meant_for', set 'base_shot', which does not exist"):
        build_parser(registry.get("scenario", "omniglot"), own)


def test_settings_for_a_scenario_that_is_not_installed_may_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = {"for_scenario": {"elsewhere": {"scenario": {"shots": 2}, "training": {"lr": 0.5}}}}
    strategy = own_strategy(recipe, monkeypatch)
    parser = build_parser(registry.get("scenario", "omniglot"), strategy)
    assert parser.get_default("training.lr") == 0.1


SECTIONS = {"scenario", "strategy", "model", "training", "evaluation"}


@pytest.mark.parametrize("kind", ["scenario", "strategy"])
def test_a_yaml_file_has_no_key_that_nobody_reads(kind: registry.Kind) -> None:
    for name, entry in registry.entries(kind).items():
        known = {"params", "bounds", "model", "training", "evaluation"}
        known |= (
            {"for_scenario", "meant_for", "tiny", "runs_on"} if kind == "strategy" else {"stream"}
        )
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
