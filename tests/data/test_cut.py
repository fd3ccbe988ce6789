from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_suite.data.cut import (
    all_rows,
    class_order,
    common_way,
    cut_classes,
    published_or_drawn,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.errors import UserError

NAMES = [f"class {i}" for i in range(10)]


def test_customary_order_begins_as_published() -> None:
    assert class_order(100, "1993")[:10] == [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]


def test_natural_order_is_counting() -> None:
    assert class_order(4, "natural", seed=3) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["natural", "1993", "seeded"])
def test_every_order_holds_each_class_once(kind: str) -> None:
    assert sorted(class_order(31, kind, seed=5)) == list(range(31))  # type: ignore[arg-type]


def test_seeded_order_follows_its_seed() -> None:
    assert class_order(30, "seeded", 1) == class_order(30, "seeded", 1)
    assert class_order(30, "seeded", 1) != class_order(30, "seeded", 2)


def test_classes_are_cut_in_their_order() -> None:
    assert cut_classes([4, 2, 0, 1, 3], base_classes=1, way=2) == ((4,), (2, 0), (1, 3))


def test_a_remainder_is_kept_as_a_smaller_session() -> None:
    assert cut_classes(range(10), base_classes=3, way=3)[-1] == (9,)


def test_all_classes_may_be_base_classes() -> None:
    assert cut_classes(range(3), base_classes=3, way=5) == ((0, 1, 2),)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20))
def test_cutting_loses_no_class(num_classes: int, base_classes: int, way: int) -> None:
    if base_classes <= num_classes:
        sessions = cut_classes(range(num_classes), base_classes=base_classes, way=way)
        assert [c for classes in sessions for c in classes] == list(range(num_classes))
        assert all(len(classes) == way for classes in sessions[1:-1])


def test_too_many_base_classes_are_refused() -> None:
    with pytest.raises(UserError, match="base_classes is 4, but there are 3 classes"):
        cut_classes(range(3), base_classes=4, way=1)


def test_way_is_known_only_where_sessions_agree() -> None:
    assert common_way(((0, 1, 2), (3, 4), (5, 6))) == 2
    assert common_way(((0,), (3, 4), (5,))) is None
    assert common_way(((0,),)) is None


def test_remainder_is_said_and_an_even_cut_is_not() -> None:
    assert remainder_notes(((0,), (1, 2), (3,)), 2)[0].startswith("the last session has 1 instead")
    assert remainder_notes(((0,), (1, 2)), 2) == ()
    assert remainder_notes(((0,),), 2) == ()


def test_rows_are_grouped_by_class_in_order() -> None:
    assert rows_by_class([3, 1, 3, 1, 1]) == {3: [0, 2], 1: [1, 3, 4]}


def test_all_rows_come_class_by_class_up_to_a_limit() -> None:
    candidates = {3: [0, 2], 1: [1, 3, 4]}
    assert all_rows(candidates, [1, 3]) == [1, 3, 4, 0, 2]
    assert all_rows(candidates, [1, 3], 1) == [1, 0]


def test_first_shots_are_the_first_rows() -> None:
    rows = shot_rows({0: [5, 6, 7], 1: [1, 2]}, [1, 0], shots=2, class_names=NAMES)
    assert rows == [1, 2, 5, 6]


def test_random_shots_follow_seed_and_class_alone() -> None:
    candidates = {c: list(range(10 * c, 10 * c + 10)) for c in range(5)}

    def draw(classes: list[int], shots: int, seed: int) -> list[int]:
        return shot_rows(
            candidates, classes, shots=shots, class_names=NAMES, selection="random", seed=seed
        )

    assert draw([1, 2], 3, seed=0) == draw([1], 3, seed=0) + draw([2], 3, seed=0)
    assert draw([1], 5, seed=0)[:3] == draw([1], 3, seed=0)
    assert draw([0, 1, 2], 5, seed=0) != draw([0, 1, 2], 5, seed=1)
    assert len(set(draw([4], 10, seed=7))) == 10


def test_too_few_images_name_class_count_and_remedy() -> None:
    with pytest.raises(UserError, match=r"'class 2' has too few images .* 1 for 5 shots; .* add"):
        shot_rows({2: [4]}, [2], shots=5, class_names=NAMES)


def test_a_list_of_all_class_ids_is_the_order() -> None:
    assert published_or_drawn(["a", "b", "c"], [2, 0, 1]) == [2, 0, 1]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ([0, 1, 3], "names class 3, but the classes are 0 to 2"),
        ([0, 1, 1], "names class 1 twice"),
        ([0, 2], "lacks class 1"),
    ],
)
def test_a_list_must_name_every_class_once(choice: list[int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        published_or_drawn(["a", "b", "c"], choice)
