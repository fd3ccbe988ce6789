"""Hits and the accuracy matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix


def random_hits(seed: int, num_sessions: int = 4, *, stray: bool = True) -> Hits:
    """Return hits of a stream of unequal sessions whose class ids come in no order."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 4, num_sessions)
    session_of_class = np.repeat(np.arange(num_sessions), sizes)
    if stray:
        session_of_class = np.append(session_of_class, -1)
    session_of_class = generator.permutation(session_of_class).astype(np.int64)
    counts = generator.integers(1, 9, len(session_of_class))
    hits = generator.integers(0, counts + 1, (num_sessions, len(counts)))
    seen = (session_of_class >= 0) & (session_of_class <= np.arange(num_sessions)[:, None])
    return Hits(np.where(seen, hits, 0), counts, session_of_class)


def test_an_entry_is_hits_over_images_of_a_sessions_classes() -> None:
    hits = Hits(
        np.array([[8, 0, 2, 0], [7, 3, 1, 0]]), np.array([10, 5, 10, 9]), np.array([0, 1, 0, -1])
    )
    matrix, num_images = accuracy_matrix(hits)
    np.testing.assert_allclose(matrix, [[0.5, np.nan], [0.4, 0.6]])
    np.testing.assert_array_equal(num_images, [20, 5])


def test_the_future_is_shown_on_demand_only() -> None:
    hits = Hits(np.array([[8, 2], [8, 4]]), np.array([10, 5]), np.array([0, 1]))
    assert np.isnan(accuracy_matrix(hits)[0][0, 1])
    assert accuracy_matrix(hits, allow_future=True)[0][0, 1] == pytest.approx(0.4)


def test_sessions_to_come_are_left_out() -> None:
    hits = Hits(np.array([[8, 0]]), np.array([10, 5]), np.array([0, 1]))
    matrix, num_images = accuracy_matrix(hits)
    assert matrix.shape == (1, 1)
    assert num_images.tolist() == [10]


def test_a_session_without_test_images_is_undefined() -> None:
    hits = Hits(np.array([[8, 0], [8, 0]]), np.array([10, 0]), np.array([0, 1]))
    matrix, num_images = accuracy_matrix(hits)
    assert np.isnan(matrix[1, 1])
    assert num_images.tolist() == [10, 0]


def test_what_was_known_after_a_session() -> None:
    hits = random_hits(0)
    whole, part = accuracy_matrix(hits)[0], accuracy_matrix(hits.until(1))[0]
    np.testing.assert_array_equal(part, whole[:2, :2])


@given(st.integers(0, 10_000))
def test_it_equals_a_recount_sample_by_sample(seed: int) -> None:
    hits = random_hits(seed)
    matrix, num_images = accuracy_matrix(hits)
    for after in range(hits.num_sessions):
        for session in range(after + 1):
            correct = []
            for class_id in np.flatnonzero(hits.session_of_class == session):
                num_right = hits.hits[after, class_id]
                correct += [k < num_right for k in range(hits.counts[class_id])]
            assert len(correct) == num_images[session]
            assert matrix[after, session] == pytest.approx(sum(correct) / len(correct))


@given(st.integers(0, 10_000))
def test_class_ids_do_not_matter(seed: int) -> None:
    hits = random_hits(seed)
    order = np.random.default_rng(seed + 1).permutation(len(hits.counts))
    shuffled = Hits(hits.hits[:, order], hits.counts[order], hits.session_of_class[order])
    np.testing.assert_array_equal(accuracy_matrix(hits)[0], accuracy_matrix(shuffled)[0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1], [1], [0]), r"got shape \(1,\)"),
        (([[1]], [1, 2], [0]), "hits has 1 classes"),
        (([[3]], [2], [0]), "class 0 has 2 test images, but 3 hits after session 0"),
        (([[-1]], [2], [0]), "-1 hits"),
    ],
)
def test_impossible_hits_are_refused(arrays: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hits(*(np.array(values) for values in arrays))
