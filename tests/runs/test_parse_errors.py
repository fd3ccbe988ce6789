"""A value that cannot be parsed is refused in one sentence, for any kind of parameter."""

from __future__ import annotations

import pytest

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.runs.config import resolve


@pytest.mark.parametrize(
    ("strategy", "option", "problem"),
    [
        ("teen", "strategy.shift_weight=half", "must be a number, got 'half'"),
        ("der", "strategy.buffer=1.5", "must be a whole number, got '1.5'"),
        ("ranpac", "strategy.ridge=nan", "must be a number or null, got 'nan'"),
        ("ranpac", "strategy.balanced=null", "must be true or false, got 'null'"),
        ("ranpac", "model.bank=maybe", "must be true or false or null, got 'maybe'"),
        ("limit", "strategy.score=best", "must be one of cosine, semi, got 'best'"),
        ("limit", "strategy.milestones=word", "must be a list, got 'word'"),
        (
            "cpe_clip",
            "strategy.class_names=[1, two]",
            "must be null or a list whose items must be text, got [1, 'two']",
        ),
        ("cler", "strategy.host_params=word", "must be a mapping or null, got 'word'"),
        ("teen", "seed=first", "must be a whole number, got 'first'"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_sentence(
    strategy: str, option: str, problem: str
) -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", strategy)
    with pytest.raises(UserError) as error:
        resolve(*pair, [f"--{option}"])
    assert str(error.value) == f"--{option.partition('=')[0]} {problem}"
