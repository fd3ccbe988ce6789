"""Values that a sweep lists or draws."""

from __future__ import annotations

import random

import pytest

from cl_suite.errors import UserError
from cl_suite.runs.sweep.distributions import Distribution, combinations, draws, read_distribution


def test_every_combination_comes_once_and_the_last_parameter_changes_fastest() -> None:
    found = combinations({"a": [1, 2], "b": ["x", "y"]})
    assert [tuple(each.values()) for each in found] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]


def test_more_samples_begin_with_the_same_draws() -> None:
    space = {"a": Distribution("uniform", (0, 1)), "b": Distribution("choice", ("x", "y", "z"))}
    assert draws(space, 8, seed=3)[:5] == draws(space, 5, seed=3)


def test_another_parameter_leaves_the_draws_as_they_were() -> None:
    space = {"a": Distribution("uniform", (0, 1))}
    more = {"b": Distribution("int", (1, 9)), **space}
    assert [each["a"] for each in draws(more, 5, 0)] == [each["a"] for each in draws(space, 5, 0)]


def test_another_seed_draws_other_values() -> None:
    space = {"a": Distribution("uniform", (0, 1))}
    assert draws(space, 5, seed=0) != draws(space, 5, seed=1)


def test_whole_numbers_include_both_ends() -> None:
    source = random.Random(0)
    drawn = {Distribution("int", (2, 4)).draw(source) for _ in range(100)}
    assert drawn == {2, 3, 4}


def test_log_uniform_numbers_spread_over_the_orders_of_magnitude() -> None:
    source = random.Random(0)
    drawn = [Distribution("log_uniform", (1e-4, 1.0)).draw(source) for _ in range(2000)]
    # half of them lie below the geometric mean, where a uniform draw has 1 %
    assert 900 < sum(value < 1e-2 for value in drawn) < 1100
    assert 1e-4 <= min(drawn) < max(drawn) <= 1.0


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    found = read_distribution({"log_uniform": ["1e-4", 1]}, "here")
    assert found == Distribution("log_uniform", (1e-4, 1.0))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "must be one distribution"),
        ({"uniform": [0, 1], "int": [0, 1]}, "must be one distribution"),
        ({"unifrom": [0, 1]}, "did you mean 'uniform'?"),
        ({"uniform": [1, 0]}, "the smaller first"),
        ({"uniform": [0, "x"]}, "two numbers"),
        ({"uniform": [0, float("nan")]}, "two numbers"),
        ({"int": [1, 2.5]}, "two whole numbers"),
        ({"log_uniform": [0, 1]}, "above 0"),
        ({"choice": []}, "a list of values"),
    ],
)
def test_what_is_no_distribution_is_refused(content: object, reason: str) -> None:
    with pytest.raises(UserError, match=f"^here.*{reason}".replace("?", r"\?")):
        read_distribution(content, "here")
