"""The contract's checks of a class find faults in parameters, requirements and recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from helpers.contract_faults import MeanPlugin, fault_of

from cl_suite.plugin import StrategyPlugin, Within


def test_a_parameter_that_is_not_stored_is_found() -> None:
    class Doubling(StrategyPlugin):
        def __init__(self, *, rate: Annotated[float, Within(0)] = 1.5) -> None:
            self.rate = 2 * rate
            super().__init__()

    assert "rate is not stored" in fault_of(Doubling, "constructor_stores_its_parameters")


def test_a_positional_parameter_is_found() -> None:
    @dataclass(eq=False)
    class Positional(StrategyPlugin):
        rate: Annotated[float, Within(0)] = 1.0

    assert "kw_only=True" in fault_of(Positional, "constructor_stores_its_parameters")


def test_a_constructor_that_takes_anything_is_found() -> None:
    class Lenient(StrategyPlugin):
        def __init__(self, **anything: Any) -> None: ...

    assert "**kwargs" in fault_of(Lenient, "unknown_parameter_is_refused")


@dataclass(kw_only=True, eq=False)
class Unchecked(StrategyPlugin):
    """A constructor that leaves its base class's check out."""

    rate: Annotated[float, Within(0)] = 1.0
    mode: Literal["up", "down"] = "up"

    def __post_init__(self) -> None: ...


def test_parameters_that_nobody_checks_are_found() -> None:
    assert "rate=nan was taken" in fault_of(Unchecked, "numbers_out_of_range_are_refused")
    assert "mode='nonsense' was taken" in fault_of(Unchecked, "unknown_choices_are_refused")


def test_a_parameter_without_a_word_about_it_is_found() -> None:
    assert "rate, mode" in fault_of(Unchecked, "parameters_are_explained")


def test_requirements_that_are_no_record_are_found() -> None:
    class Dictionary(StrategyPlugin):
        requirements = {"head": "cosine"}  # type: ignore[assignment]  # noqa: RUF012

    assert "is a dict" in fault_of(Dictionary, "requirements_are_a_record")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"trainig": {"lr": 1}},
            "section 'trainig', which does not exist; did you mean 'training'",
        ),
        ({"training": {"epochs": 3}}, "'training.epochs', which does not exist"),
        ({"params": {"scael": 3}}, "'params.scael', which does not exist; did you mean 'scale'"),
        ({"training": 3}, r"\['training'\] must be a mapping"),
        (["training"], "must be a mapping of sections"),
        (
            {"for_scenario": {"omniglot": {"params": {"scale": 3}}}},
            r"\['omniglot'\] has a section 'params', which does not exist",
        ),
        (
            {"for_scenario": {"omniglot": {"strategy": {"scael": 3}}}},
            r"\['omniglot'\] sets 'strategy.scael', which does not exist; did you mean 'scale'",
        ),
        ({"tiny": {"scael": 3}}, "'tiny.scael', which does not exist; did you mean 'scale'"),
        ({"meant_for": 3}, r"\['meant_for'\] must be a mapping"),
        ({"meant_for": {"epoch": {"most": 1}}}, "'epoch', which does not exist; did you mean"),
    ],
)
def test_a_recipe_that_sets_nothing_is_found(recipe: Any, message: str) -> None:
    class Misspelt(MeanPlugin):
        default_config = recipe

    assert re.search(message, fault_of(Misspelt, "recipe_names_known_settings"))
