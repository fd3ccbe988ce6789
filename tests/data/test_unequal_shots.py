from __future__ import annotations

from collections import Counter

import pytest

from cl_suite.data.cut import shot_rows
from cl_suite.data.unequal_shots import shot_counts, shot_range
from cl_suite.errors import UserError


def test_numbers_of_a_range_are_drawn_alike() -> None:
    drawn = Counter(shot_counts("2..5", range(4000)).values())
    assert sorted(drawn) == [2, 3, 4, 5]
    # a thousand each, give or take four standard deviations of 27
    assert all(abs(num - 1000) < 110 for num in drawn.values())


def test_a_number_depends_on_the_seed_and_the_class_alone() -> None:
    many = shot_counts("1..100", range(50), 7)
    assert shot_counts("1..100", [40, 3], 7) == {40: many[40], 3: many[3]}
    assert shot_counts("1..100", range(50), 8) != many


def test_a_list_goes_by_the_order_of_arrival() -> None:
    assert shot_counts([4, 1, 9], [7, 2, 5]) == {7: 4, 2: 1, 5: 9}


@pytest.mark.parametrize("text", ["5", "", "5..1", "0..5", "1..", "a..b", "1..2..3", "1.5..2"])
def test_a_text_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^unequal_shots must be a range .* like 1\.\.10, or a list"
    ):
        shot_range(text)


def test_a_list_of_another_length_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^unequal_shots lists 2 numbers for 3 classes with few shots"
    ):
        shot_counts([1, 2], [0, 1, 2])


def test_rows_are_as_many_as_each_class_has_shots() -> None:
    candidates = {0: [0, 1, 2], 1: [3, 4, 5]}
    rows = shot_rows(candidates, [1, 0], shots={0: 1, 1: 2}, class_names=["a", "b"])
    assert rows == [3, 4, 0]
    with pytest.raises(
        UserError, match="class 'b' has too few images to learn from, 3 for 4 shots"
    ):
        shot_rows(candidates, [0, 1], shots={0: 1, 1: 4}, class_names=["a", "b"])
