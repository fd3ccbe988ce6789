from __future__ import annotations

import pytest

from cl_suite.data.holdout import held_out, num_held_out


def test_the_last_of_each_class_are_held_out() -> None:
    targets = [7] * 10 + [3] * 10
    kept, out = held_out(targets, 0.5)
    assert kept == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert out == [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("num", [1, 2, 3, 7, 60])
def test_every_class_keeps_something_to_learn_from(num: int, rate: float) -> None:
    kept, out = held_out([0, 1] * num, rate)
    assert sorted(kept + out) == list(range(2 * num))
    assert {i % 2 for i in kept} == {0, 1}
    assert len(out) == 2 * num_held_out(num, rate)


def test_where_each_class_has_one_sample_nothing_is_held_out() -> None:
    assert held_out([4, 2], 0.5) == ([0, 1], [])
