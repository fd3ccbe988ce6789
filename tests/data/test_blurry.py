from __future__ import annotations

from cl_suite.data.blurry import blurred

SESSIONS = ((0, 1), (2, 3), (4, 5))
ROWS = [list(range(40)), list(range(40, 80)), list(range(80, 120))]
TARGETS = [row // 20 for row in range(120)]


def test_a_share_of_each_class_comes_in_later_sessions() -> None:
    _, rows = blurred(SESSIONS, ROWS, TARGETS, 0.25)
    of_class = [[sum(TARGETS[row] == c for row in each) for c in range(6)] for each in rows]
    assert of_class[0][:2] == [15, 15]
    assert of_class[1][2:4] == [15, 15]
    assert of_class[2][2:] == [5, 5, 20, 20]  # the last session has nowhere to leave samples
    assert [of_class[1][c] + of_class[2][c] for c in (0, 1)] == [5, 5]


def test_no_sample_comes_early_or_gets_lost() -> None:
    _, rows = blurred(SESSIONS, ROWS, TARGETS, 0.5, 3)
    assert sorted(row for each in rows for row in each) == list(range(120))
    own = {row: session for session, each in enumerate(ROWS) for row in each}
    assert all(own[row] <= session for session, each in enumerate(rows) for row in each)


def test_late_classes_follow_a_sessions_own() -> None:
    sessions, rows = blurred(SESSIONS, ROWS, TARGETS, 0.5)
    assert sessions[0] == (0, 1)
    assert sessions[1][:2] == (2, 3)
    assert set(sessions[2]) == set(range(6))
    assert all({TARGETS[row] for row in r} == set(s) for s, r in zip(sessions, rows, strict=True))


def test_every_class_keeps_a_sample_in_its_session() -> None:
    sessions, rows = blurred(((0,), (1,)), [[0, 1], [2]], [0, 0, 1], 0.99)
    assert (sessions, [len(each) for each in rows]) == (((0,), (1, 0)), [1, 2])


def test_late_samples_are_spread_over_all_later_sessions() -> None:
    many = tuple((c,) for c in range(4))
    targets = [c for c in range(4) for _ in range(900)]
    rows = [list(range(900 * c, 900 * (c + 1))) for c in range(4)]
    _, found = blurred(many, rows, targets, 0.5)
    late = [sum(targets[row] == 0 for row in each) for each in found[1:]]
    assert sum(late) == 450
    # 150 each, give or take four standard deviations of 10
    assert all(abs(num - 150) < 40 for num in late)


def test_a_seed_draws_them() -> None:
    first, again, other = (blurred(SESSIONS, ROWS, TARGETS, 0.3, seed) for seed in (1, 1, 2))
    assert first == again != other


def test_no_share_changes_nothing() -> None:
    assert blurred(SESSIONS, ROWS, TARGETS, 0) == (SESSIONS, ROWS)
