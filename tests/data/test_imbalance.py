from __future__ import annotations

import pytest

from cl_suite.data.imbalance import long_tail


def sizes(ratio: float, *, num: int = 100, classes: int = 5, seed: int = 0) -> list[int]:
    rows = {c: range(c * num, (c + 1) * num) for c in range(classes)}
    return sorted((len(kept) for kept in long_tail(rows, ratio, seed).values()), reverse=True)


def test_classes_fall_off_exponentially_from_all_to_the_ratios_share() -> None:
    assert sizes(16) == [100, 50, 25, 12, 6]


def test_a_ratio_of_one_keeps_everything() -> None:
    rows = {3: [4, 2], 1: [9]}
    assert long_tail(rows, 1) == {3: [4, 2], 1: [9]}


def test_a_lone_class_is_its_own_head() -> None:
    assert long_tail({7: [1, 2, 3]}, 50) == {7: [1, 2, 3]}


def test_every_class_keeps_a_sample() -> None:
    assert sizes(1000, num=10) == [10, 2, 1, 1, 1]


@pytest.mark.parametrize("ratio", [2.0, 10.0])
def test_rows_are_those_of_their_class_in_their_order(ratio: float) -> None:
    rows = {c: list(range(c, 300, 3)) for c in range(3)}
    for c, kept in long_tail(rows, ratio, 4).items():
        assert kept == sorted(set(kept) & set(rows[c]))


def test_a_seed_draws_the_ranks_and_the_samples() -> None:
    rows = {c: range(100) for c in range(6)}
    assert long_tail(rows, 10, 1) == long_tail(rows, 10, 1)
    heads = {
        max(kept, key=lambda c: len(kept[c])) for kept in (long_tail(rows, 10, s) for s in range(9))
    }
    assert len(heads) > 1
    pair = {c: range(100) for c in range(2)}
    tails = {tuple(min(long_tail(pair, 10, seed).values(), key=len)) for seed in range(9)}
    assert len(tails) == 9


def test_a_higher_ratio_leaves_a_part_of_what_a_lower_one_leaves() -> None:
    rows = {c: range(100) for c in range(6)}
    few, many = long_tail(rows, 50, 2), long_tail(rows, 5, 2)
    assert all(set(few[c]) <= set(many[c]) for c in rows)


def test_the_order_of_the_classes_does_not_matter() -> None:
    rows = {c: range(50) for c in (4, 1, 9)}
    assert long_tail(rows, 9, 3) == long_tail({c: rows[c] for c in (9, 4, 1)}, 9, 3)
