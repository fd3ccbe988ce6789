from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_suite.data.copies import draw_test, without_copies
from cl_suite.errors import UserError

KEYS = [b"x", b"y", b"x", b"z", b"y", b"x"]
NAMES = ["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"]
CLASSES = ["a", "a", "a", "b", "b", "b"]


def test_copies_are_named_and_counted_by_where_they_are() -> None:
    rows, notes = without_copies(KEYS, NAMES, CLASSES, "keep")
    assert rows == [0, 1, 2, 3, 4, 5]
    (across,) = notes
    assert across.startswith(
        "3 images are copies of others in another class (a/0 = a/2, a/0 = b/2, a/1 = b/1); "
    )
    _, notes = without_copies(KEYS[:3], NAMES[:3], CLASSES[:3], "keep")
    assert notes[0].startswith("1 image is a copy of another in the same class (a/0 = a/2); ")


def test_the_first_of_each_stays_if_copies_are_dropped() -> None:
    assert without_copies(KEYS, NAMES, CLASSES, "drop")[0] == [0, 1, 3]


def test_copies_are_refused_with_their_names_and_the_remedy() -> None:
    with pytest.raises(
        UserError, match=r"3 images .*\(a/0 = a/2, .*\); remove .*duplicates='drop'"
    ):
        without_copies(KEYS, NAMES, CLASSES, "refuse")


def test_nothing_is_said_of_data_without_copies() -> None:
    assert without_copies([b"1", b"2"], ["a", "b"], ["c", "c"], "refuse") == ([0, 1], [])


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.integers(1, 29), st.integers(0, 9))
def test_no_content_is_on_both_sides(contents: list[int], num_test: int, seed: int) -> None:
    keys = [bytes([content]) for content in contents]
    order = np.random.default_rng(seed).permutation(len(keys)).tolist()
    test = draw_test(order, min(num_test, len(keys) - 1), keys, {})
    assert not {keys[row] for row in test} & {keys[row] for row in order if row not in test}
    if len(set(contents)) > 1:
        assert len(test) < len(order)


@given(st.integers(2, 30), st.integers(1, 29))
def test_without_copies_the_first_rows_are_tested(num: int, num_test: int) -> None:
    order = list(reversed(range(num)))
    num_test = min(num_test, num - 1)
    keys = [bytes([row]) for row in range(num)]
    assert draw_test(order, num_test, keys, {}) == set(order[:num_test])


def test_another_class_with_the_same_pictures_has_the_same_division() -> None:
    keys = [b"%d" % (row % 5) for row in range(10)]
    on_test: dict[bytes, bool] = {}
    first = draw_test([3, 1, 0, 2, 4], 2, keys, on_test)
    assert draw_test([9, 8, 7, 6, 5], 2, keys, on_test) == {row + 5 for row in first} == {6, 8}
