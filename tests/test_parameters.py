"""Parameters: annotations state their ranges, and one routine enforces them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from cl_suite.errors import UserError
from cl_suite.parameters import (
    Above,
    Parameters,
    Within,
    annotations_of,
    check_given,
    check_parameters,
    check_ranges,
    meanings_of,
)


@dataclass(kw_only=True, eq=False)
class Settings(Parameters):
    """A parameter of each kind."""

    share: Annotated[float, Within(0, 1)] = 0.5
    rate: Annotated[float, Within(0, 1, open_end=True)] = 0.5
    scale: Annotated[float, Above(0)] = 1.0
    fraction: Annotated[float, Above(0, 1, open_end=True)] = 0.5
    count: Annotated[int, Within(1)] = 1
    limit: Annotated[int, Within(1)] | None = None
    either: Annotated[int, Within(1)] | str = "1%"
    shape: Literal["round", "square"] = "round"
    order: Literal["natural", "seeded"] | list[str] = "natural"
    steps: list[Annotated[int, Within(0)]] = field(default_factory=list)
    shapes: Sequence[Literal["round", "square"]] | None = None
    flag: bool = False
    name: str = "x"
    anything: Any = None
    learned_: int = field(default=0, init=False)


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        (Within(0, 1), [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
        (Within(0, 1, open_end=True), [0, math.nextafter(1, 0)], [-1, 1]),
        (Within(2), [2, 1e300], [1.999]),
        (Above(0), [1e-300, 5], [0, -1]),
        (Above(0, 1), [1e-9, 1], [0, 1.1]),
        (Above(0, 1, open_end=True), [0.5], [0, 1]),
    ],
)
def test_an_end_belongs_to_a_range_unless_it_is_open(
    limits: Within | Above, inside: list[float], outside: list[float]
) -> None:
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in outside)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"share": 2}, "share must be in [0, 1], got 2"),
        ({"share": -0.5}, "share must be in [0, 1], got -0.5"),
        ({"rate": 1.0}, "rate must be in [0, 1), got 1.0"),
        ({"scale": 0}, "scale must be above 0, got 0"),
        ({"fraction": 0}, "fraction must be in (0, 1), got 0"),
        ({"fraction": 1}, "fraction must be in (0, 1), got 1"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"limit": 0}, "limit must be at least 1, or null, got 0"),
        ({"either": 0}, "either must be at least 1, got 0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(
    given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        Settings(**given)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["share", "scale"])
def test_what_is_not_finite_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{name} must be a finite number, got {value}$"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"share": "half"}, "share must be a number, got 'half'"),
        ({"share": None}, "share must be a number, got None"),
        ({"share": True}, "share must be a number, got True"),
        ({"count": 1.5}, "count must be a whole number, got 1.5"),
        ({"count": 2.0}, "count must be a whole number, got 2.0"),
        ({"count": False}, "count must be a whole number, got False"),
        ({"limit": "2"}, "limit must be a whole number, or null, got '2'"),
        ({"either": 1.5}, "either must be a whole number, got 1.5"),
        ({"flag": 1}, "flag must be true or false, got 1"),
        ({"name": 1}, "name must be text, got 1"),
        ({"shape": "oval"}, "shape must be one of round, square, got 'oval'"),
        ({"order": "natrual"}, "order must be one of natural, seeded, got 'natrual'"),
        ({"steps": 3}, "steps must be a list, got 3"),
        ({"steps": "12"}, "steps must be a list, got '12'"),
        ({"steps": [1, -1]}, "steps must be a list whose items must be at least 0, got [1, -1]"),
        (
            {"shapes": ["round", "oval"]},
            "shapes must be a list whose items must be one of round, square, or null, got "
            "['round', 'oval']",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        Settings(**given)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "given",
    [
        {"share": 1, "scale": 3},  # a whole number is a number
        {"limit": None},
        {"limit": 4},
        {"either": 500},
        {"either": "2MB"},
        {"order": "seeded"},
        {"order": ["b", "a"]},
        {"steps": (1, 2)},
        {"shapes": []},
        {"anything": object()},
    ],
)
def test_a_value_that_its_annotation_allows_is_stored_as_it_is(given: dict[str, Any]) -> None:
    made = Settings(**given)
    assert {name: vars(made)[name] for name in given} == given


def test_a_bad_value_is_a_value_error_for_a_program() -> None:
    with pytest.raises(ValueError, match=r"^share must be"):
        Settings(share=3)


def test_learned_state_is_no_parameter() -> None:
    assert "learned_" not in annotations_of(Settings)
    assert set(annotations_of(Settings)) == set(vars(Settings())) - {"learned_"}


@dataclass(kw_only=True, eq=False)
class Ordered(Parameters):
    """Its parameters depend on each other."""

    first: Annotated[int, Within(0)] = 0
    last: Annotated[int, Within(0)] = 1

    def check(self) -> None:
        if self.last < self.first:
            raise UserError(f"last must be {self.first} (first) or more, got {self.last}")
        if self.last == 100:
            raise UserError("a hundred is too many")


def test_a_check_of_several_parameters_comes_behind_that_of_each() -> None:
    with pytest.raises(UserError, match=r"^last must be at least 0, got -1$"):
        Ordered(first=5, last=-1)
    with pytest.raises(UserError, match=r"^last must be 5 \(first\) or more, got 2$"):
        Ordered(first=5, last=2)


def test_the_command_lines_prefix_stands_before_every_parameters_name() -> None:
    with pytest.raises(UserError, match=r"^--strategy\.last must be at least 0, got -1$"):
        check_given(Ordered, {"last": -1}, "--strategy.")
    with pytest.raises(UserError, match=r"^--strategy\.last must be 5 \(first\) or more, got 2$"):
        check_given(Ordered, {"first": 5, "last": 2}, "--strategy.")


def test_a_sentence_that_begins_with_no_parameter_gets_no_prefix() -> None:
    with pytest.raises(UserError, match=r"^a hundred is too many$"):
        check_given(Ordered, {"last": 100}, "--strategy.")


def test_good_values_pass_and_names_of_others_are_ignored() -> None:
    check_given(Ordered, {"first": 1, "last": 2}, "--strategy.")
    check_parameters(Ordered, {"first": 1, "elsewhere": "x"})


class Foreign:
    """A class of another library: a constructor with annotations of its own."""

    def __init__(self, size: int, rate: float = 0.1, device: Any = None) -> None:
        self.size = size


class Untyped:
    """A class whose annotations cannot be read at run time."""

    def __init__(self, size: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
        self.size = size


def test_a_class_of_another_library_is_checked_by_its_constructors_annotations() -> None:
    with pytest.raises(UserError, match=r"^--strategy\.size must be a whole number, got 'x'$"):
        check_given(Foreign, {"size": "x"}, "--strategy.")
    check_given(Foreign, {"size": 3, "rate": 1}, "--strategy.")


def test_annotations_that_cannot_be_read_check_nothing() -> None:
    assert annotations_of(Untyped) == {}
    check_given(Untyped, {"size": "x"}, "--strategy.")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"rate": -5}, "rate must be in [0, 1], got -5"),
        ({"rate": "x"}, "rate must be a number, got 'x'"),
        ({"rate": None}, "rate must be a number, got None"),
        ({"rate": math.nan}, "rate must be a finite number, got nan"),
        ({"device": 2}, "device must be in [0, 1], or null, got 2"),
    ],
)
def test_ranges_of_a_yaml_file_are_kept_to(given: dict[str, Any], problem: str) -> None:
    ranges = {"rate": (0, 1), "device": (0, 1)}
    with pytest.raises(UserError) as refused:
        check_ranges(Foreign, given, ranges, "--strategy.")
    assert str(refused.value) == f"--strategy.{problem}"


@pytest.mark.parametrize("given", [{"rate": 1}, {"rate": [0, 1]}, {"device": None}, {"size": -9}])
def test_within_the_ranges_of_a_yaml_file_all_is_well(given: dict[str, Any]) -> None:
    check_ranges(Foreign, given, {"rate": (0, 1), "device": (0, 1)})


class Parent(Parameters):
    """A parent.

    Args:
        rate: how fast.
        way: up or down, which is said in
            two lines.

    Raises:
        UserError: never.
    """


def test_a_docstring_gets_what_base_classes_say_of_their_parameters() -> None:
    class Child(Parent):
        """A child.

        Args:
            rate: how slow.

        Example:
            >>> 1 + 1
            2
        """

    assert inspect.getdoc(Child) == (
        "A child.\n\nArgs:\n    rate: how slow.\n    way: up or down, which is said in two lines."
        "\n\nExample:\n    >>> 1 + 1\n    2"
    )


def test_so_does_one_without_arguments_of_its_own() -> None:
    class Child(Parent):
        """A child.

        Raises:
            UserError: always.
        """

    assert inspect.getdoc(Child) == (
        "A child.\n\nArgs:\n    rate: how fast.\n    way: up or down, which is said in two lines."
        "\n\nRaises:\n    UserError: always."
    )
    assert meanings_of(Child) == meanings_of(Parent)


def test_long_explanations_are_wrapped_and_found_again() -> None:
    class Wordy(Parameters):
        __doc__ = f"Wordy.\n\nArgs:\n    rate: {'word ' * 40}end."

    class Child(Wordy):
        """A child."""

    assert max(map(len, str(Child.__doc__).splitlines())) <= 100
    assert meanings_of(Child) == meanings_of(Wordy)
