import numpy as np
import pytest

from cl_suite.data.similar_order import similar_order, within_sessions


def groups(seed: int = 0) -> np.ndarray:
    """Return 12 class means in four groups of three that look alike, shuffled."""
    source = np.random.default_rng(seed)
    means = np.eye(4).repeat(3, axis=0) + 0.05 * source.normal(size=(12, 4))
    return means[source.permutation(12)]


def group_of(means: np.ndarray) -> np.ndarray:
    return means.argmax(axis=1)


def test_together_puts_each_group_into_one_session() -> None:
    means = groups()
    order = similar_order(means, [3, 3, 3, 3], "together")
    found = group_of(means)[order].reshape(4, 3)
    assert all(len(set(session)) == 1 for session in found)


def test_apart_puts_no_two_of_a_group_into_one_session() -> None:
    means = groups()
    order = similar_order(means, [4, 4, 4], "apart")
    found = group_of(means)[order].reshape(3, 4)
    assert all(len(set(session)) == 4 for session in found)


@pytest.mark.parametrize("seed", range(3))
def test_no_exchange_of_two_classes_improves_an_order(seed: int) -> None:
    means, sizes = np.random.default_rng(seed).normal(size=(9, 5)), [5, 2, 2]
    for similar, sign in (("together", 1), ("apart", -1)):
        order = similar_order(means, sizes, similar)  # type: ignore[arg-type]
        best = sign * sum_within(means, order, sizes)
        for a in range(9):
            for b in range(a):
                other = list(order)
                other[a], other[b] = other[b], other[a]
                assert sign * sum_within(means, other, sizes) <= best + 1e-9


def sum_within(means: np.ndarray, order: list[int], sizes: list[int]) -> float:
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    total, start = 0.0, 0
    for size in sizes:
        members = order[start : start + size]
        total += sum(unit[a] @ unit[b] for a in members for b in members if a < b)
        start += size
    return float(total)


def test_within_sessions_is_the_mean_over_pairs() -> None:
    means = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    assert within_sessions(means, [0, 1, 2], [2, 1]) == pytest.approx(0.6)
    assert np.isnan(within_sessions(means, [0, 1, 2], [1, 1, 1]))


def test_every_class_comes_once_and_a_zero_mean_is_no_error() -> None:
    means = np.vstack([groups(), np.zeros((1, 4))])
    assert sorted(similar_order(means, [5, 8], "apart")) == list(range(13))


def test_sizes_must_fill_the_classes() -> None:
    with pytest.raises(ValueError, match="12 classes do not fill sessions of"):
        similar_order(groups(), [3, 3], "apart")
