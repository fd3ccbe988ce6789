"""The published figures: oracles worked by hand, properties, and Avalanche's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import FloatArray, Hits, IntArray, accuracy_matrix
from cl_suite.metrics.running import RunningFigures

nan = float("nan")
N1 = np.array([600, 50, 50])
A1 = np.array([[0.9, nan, nan], [0.85, 0.6, nan], [0.8, 0.5, 0.7]])


def stream(seed: int, num_sessions: int = 4) -> tuple[FloatArray, IntArray]:
    generator = np.random.default_rng(seed)
    num_images = generator.integers(1, 100, num_sessions)
    matrix = generator.integers(0, num_images + 1, (num_sessions, num_sessions)) / num_images
    matrix[np.triu_indices(num_sessions, k=1)] = nan
    return matrix, num_images


# M1: three sessions by hand


def test_session_accuracy_weighs_sessions_by_their_images() -> None:
    assert_allclose(figures.session_accuracy(A1, N1), [0.9, 0.8307692, 0.7714286], atol=1e-7)


def test_average_accuracy_is_the_plain_mean_over_sessions() -> None:
    assert figures.average_accuracy(A1, N1) == pytest.approx(0.8340659, abs=1e-7)


def test_last_accuracy() -> None:
    assert figures.last_accuracy(A1, N1) == pytest.approx(0.7714286, abs=1e-7)


def test_performance_drop() -> None:
    assert figures.performance_drop(A1, N1) == pytest.approx(0.1285714, abs=1e-7)


def test_base_and_new_accuracy() -> None:
    assert_allclose(figures.base_accuracy(A1, N1), [0.9, 0.85, 0.8])
    assert_allclose(figures.new_accuracy(A1, N1), [nan, 0.6, 0.6])


def test_harmonic_mean() -> None:
    assert_allclose(figures.harmonic_mean(A1, N1), [nan, 0.7034483, 0.6857143], atol=1e-7)


def test_retention_of_all_and_of_base_differ() -> None:
    assert figures.retention(A1, N1) == pytest.approx(0.8571429, abs=1e-7)
    assert figures.retention(A1, N1, which="base") == pytest.approx(0.8888889, abs=1e-7)


def test_forgetting_and_backward_transfer() -> None:
    assert figures.forgetting(A1, N1) == pytest.approx(0.1)
    assert figures.backward_transfer(A1, N1) == pytest.approx(-0.1)


def test_forgetting_measures_from_the_best_not_the_first() -> None:
    matrix = np.array([[0.5, nan, nan], [0.9, 0.6, nan], [0.6, 0.6, 0.6]])
    assert figures.forgetting(matrix, N1) == pytest.approx(0.15)
    assert figures.backward_transfer(matrix, N1) == pytest.approx(0.05)


def test_what_the_last_session_gained_is_forgetting_below_zero() -> None:
    # the best of the sessions before the last: 0.6 for the base classes, which end at 0.8
    matrix = np.array([[0.5, nan, nan], [0.6, 0.6, nan], [0.8, 0.5, 0.7]])
    assert figures.forgetting(matrix, N1) == pytest.approx((-0.2 + 0.1) / 2)


def test_the_weighted_forms_weigh_by_images() -> None:
    matrix = np.array([[0.9, nan, nan], [0.9, 0.6, nan], [0.7, 0.5, 0.7]])
    expected = (600 * 0.2 + 50 * 0.1) / 650
    assert figures.forgetting(matrix, N1, weighted=True) == pytest.approx(expected)
    assert figures.backward_transfer(matrix, N1, weighted=True) == pytest.approx(-expected)


# M2


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.8], [0.7, 0.65], [0.65, 0.6, 0.55]], 0.6936955328621996),
        ([[0.8], [0.8, 0], [0.8, 0, 0]], 0.6428140378140378),
        ([[0.5], [0.5, 0.5], [0.5, 0.5, 0.5]], 0.4930555555555555),
    ],
)
def test_generalised_accuracy(rows: list[list[float]], expected: float) -> None:
    matrix = np.full((3, 3), np.nan)
    for session, row in enumerate(rows):
        matrix[session, : session + 1] = row
    assert figures.generalised_accuracy(matrix, 12) == pytest.approx(expected, abs=1e-15)
    running = RunningFigures(12)
    found = [running.add(np.array(row), np.full(len(row), 10)) for row in rows]
    assert found[-1].gacc == pytest.approx(expected, abs=1e-15)


def test_generalised_accuracy_needs_a_later_session() -> None:
    assert np.isnan(figures.generalised_accuracy(np.array([[0.9]]), None))
    assert figures.base_ratio(60, 0) is None
    assert [figures.base_ratio(60, 5), figures.base_ratio(7, 4), figures.base_ratio(1, 5)] == [
        12,
        2,
        1,
    ]


def test_running_figures_are_those_of_the_matrix() -> None:
    draw = np.random.default_rng(3)
    matrix = np.tril(draw.random((6, 6)))
    matrix[np.triu_indices(6, 1)] = np.nan
    images = draw.integers(5, 60, 6)
    running = RunningFigures(4)
    for session in range(6):
        found = running.add(matrix[session, : session + 1], images[: session + 1])
        so_far, num = matrix[: session + 1, : session + 1], images[: session + 1]
        assert found.gacc == pytest.approx(figures.generalised_accuracy(so_far, 4))
        assert found.retention == pytest.approx(figures.retention(so_far, num))
        expected = figures.backward_transfer(so_far, num)
        assert found.backward == pytest.approx(expected, nan_ok=True)


def test_forward_transfer() -> None:
    matrix = A1.copy()
    matrix[0, 1] = matrix[1, 2] = 0.1
    assert figures.forward_transfer(matrix, [0.02, 0.02, 0.03]) == pytest.approx(0.075)


def test_forward_transfer_of_a_growing_head_is_undefined() -> None:
    assert np.isnan(figures.forward_transfer(A1, [0.02, 0.02, 0.03]))


# M3: perfect on base, never a new class


def blind_to_new(base: int, way: int, num_sessions: int) -> tuple[FloatArray, IntArray]:
    matrix = np.where(np.tri(num_sessions, dtype=bool), 0.0, nan)
    matrix[:, 0] = 1.0
    return matrix, np.array([100 * base] + [100 * way] * (num_sessions - 1))


def test_a_method_blind_to_new_classes_on_sixty_and_eight_times_five() -> None:
    matrix, num_images = blind_to_new(60, 5, 9)
    expected = [1, 0.9231, 0.8571, 0.8, 0.75, 0.7059, 0.6667, 0.6316, 0.6]
    assert_allclose(figures.session_accuracy(matrix, num_images), expected, atol=5e-5)
    assert figures.average_accuracy(matrix, num_images) == pytest.approx(0.7705, abs=5e-5)
    assert_allclose(figures.new_accuracy(matrix, num_images)[1:], 0)
    assert_allclose(figures.harmonic_mean(matrix, num_images)[1:], 0)


def test_a_method_blind_to_new_classes_on_a_hundred_and_ten_times_ten() -> None:
    matrix, num_images = blind_to_new(100, 10, 11)
    assert figures.last_accuracy(matrix, num_images) == pytest.approx(0.5)
    assert figures.average_accuracy(matrix, num_images) == pytest.approx(0.6989, abs=5e-5)


# M4


def test_accuracy_is_hits_over_images_not_the_mean_of_batches() -> None:
    matrix = np.array([[0.9, nan], [0.9, 0.4]])
    accuracy = figures.session_accuracy(matrix, np.array([100, 50]))
    assert accuracy[1] == pytest.approx(0.7333333, abs=1e-7)


# M5


def test_a_single_session_has_no_drop_and_nothing_new() -> None:
    matrix, num_images = np.array([[0.8]]), np.array([10])
    assert figures.performance_drop(matrix, num_images) == 0
    undefined = [
        figures.forgetting(matrix, num_images),
        figures.backward_transfer(matrix, num_images),
        figures.forward_transfer(matrix, [0.1]),
        figures.new_accuracy(matrix, num_images)[0],
        figures.harmonic_mean(matrix, num_images)[0],
    ]
    assert np.isnan(undefined).all()


def test_one_class_a_session_works() -> None:
    hits = Hits(np.array([[4, 0, 0], [3, 5, 0], [3, 4, 2]]), np.full(3, 5), np.arange(3))
    matrix, num_images = accuracy_matrix(hits)
    assert_allclose(figures.session_accuracy(matrix, num_images), [0.8, 0.8, 0.6])


# M6


def test_test_sizes_of_the_published_benchmark() -> None:
    session_of_class = np.concatenate([np.zeros(60, int), 1 + np.arange(40) // 5])
    hits = Hits(np.zeros((9, 100), int), np.full(100, 100), session_of_class)
    seen = accuracy_matrix(hits)[1].cumsum()
    assert (seen[8], seen[3]) == (10_000, 7_500)


# edges


def test_the_harmonic_mean_of_two_failures_is_zero() -> None:
    matrix = np.array([[0.5, nan], [0.0, 0.0]])
    assert figures.harmonic_mean(matrix, np.array([10, 10]))[1] == 0


def test_retention_of_nothing_is_undefined() -> None:
    assert np.isnan(figures.retention(np.array([[0.0]]), np.array([10])))


def test_a_session_without_test_images_has_no_say() -> None:
    matrix = np.array([[0.9, nan, nan], [0.8, nan, nan], [0.7, nan, 0.5]])
    num_images = np.array([10, 0, 10])
    assert_allclose(figures.session_accuracy(matrix, num_images), [0.9, 0.8, 0.6])
    assert figures.forgetting(matrix, num_images) == pytest.approx(0.2)


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="pass a square matrix"):
        figures.average_accuracy(A1[:2], N1)
    with pytest.raises(ValueError, match="at least one session"):
        figures.last_accuracy(np.zeros((0, 0)), np.zeros(0, int))


def test_macro_accuracy_is_the_mean_over_classes() -> None:
    hits = Hits(np.array([[9, 0, 0], [9, 1, 0]]), np.array([10, 2, 7]), np.array([0, 1, -1]))
    assert_allclose(figures.macro_accuracy(hits), [0.9, 0.7])


def test_macro_equals_micro_where_classes_are_equally_large() -> None:
    hits = Hits(np.array([[9, 5, 0], [9, 4, 1]]), np.full(3, 10), np.array([0, 0, 1]))
    assert_allclose(figures.macro_accuracy(hits), figures.session_accuracy(*accuracy_matrix(hits)))


# properties


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_figures_stay_within_bounds(seed: int, num_sessions: int) -> None:
    matrix, num_images = stream(seed, num_sessions)
    accuracy = figures.session_accuracy(matrix, num_images)
    assert ((accuracy >= 0) & (accuracy <= 1)).all()
    assert accuracy.min() <= figures.average_accuracy(matrix, num_images) <= accuracy.max() + 1e-12
    if num_sessions > 1:
        base, new = (
            figures.base_accuracy(matrix, num_images),
            figures.new_accuracy(matrix, num_images),
        )
        harmonic = figures.harmonic_mean(matrix, num_images)
        assert (harmonic[1:] <= np.maximum(base, new)[1:] + 1e-12).all()
        assert (harmonic[1:] >= np.minimum(base, new)[1:] - 1e-12).all()
        for weighted in (False, True):
            lost = figures.forgetting(matrix, num_images, weighted=weighted)
            transferred = figures.backward_transfer(matrix, num_images, weighted=weighted)
            assert lost >= -transferred - 1e-12


@given(st.integers(0, 10_000))
def test_session_accuracy_lies_between_base_and_new(seed: int) -> None:
    matrix, num_images = stream(seed)
    base = figures.base_accuracy(matrix, num_images)[1:]
    new = figures.new_accuracy(matrix, num_images)[1:]
    accuracy = figures.session_accuracy(matrix, num_images)[1:]
    assert (np.minimum(base, new) - 1e-12 <= accuracy).all()
    assert (accuracy <= np.maximum(base, new) + 1e-12).all()


@given(st.integers(0, 10_000))
def test_equal_sessions_make_weighted_and_unweighted_equal(seed: int) -> None:
    matrix, _ = stream(seed)
    num_images = np.full(4, 30)
    assert figures.forgetting(matrix, num_images, weighted=True) == pytest.approx(
        figures.forgetting(matrix, num_images)
    )


# another implementation


def test_backward_transfer_agrees_with_avalanche() -> None:
    metrics = pytest.importorskip("avalanche.evaluation.metrics")
    matrix, num_images = stream(7, num_sessions=5)
    lost, transferred = metrics.Forgetting(), metrics.BWT()
    for metric in (lost, transferred):
        for session in range(5):
            metric.update(session, matrix[session, session], initial=True)
        for session in range(4):
            metric.update(session, matrix[4, session])
    ours = figures.backward_transfer(matrix, num_images)
    assert ours == pytest.approx(np.mean(list(transferred.result().values())))
    # Avalanche measures from the first accuracy, not from the best
    assert ours == pytest.approx(-np.mean(list(lost.result().values())))


def test_forgetting_agrees_with_avalanche_where_the_first_accuracy_is_the_best() -> None:
    metrics = pytest.importorskip("avalanche.evaluation.metrics")
    lost = metrics.Forgetting()
    for session in range(3):
        lost.update(session, A1[session, session], initial=True)
        lost.update(session, A1[2, session])
    theirs = [lost.result_key(session) for session in range(2)]
    assert figures.forgetting(A1, N1) == pytest.approx(np.mean(theirs))
