"""What the environment says of a run's processes, and what is said of mistakes in it."""

from __future__ import annotations

import pytest

from cl_suite.distributed import group
from cl_suite.errors import UserError
from cl_suite.report import processes


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        # a variable that a cluster sets for every job says nothing by itself
        ({"RANK": "3"}, (0, 1)),
    ],
)
def test_rank_and_number_of_processes_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[int, int]
) -> None:
    _set(monkeypatch, environment)
    assert group.launched() == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one'"),
        ({"WORLD_SIZE": "2"}, "RANK is ''"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "ranks are counted from 0 to 1"),
    ],
)
def test_an_unusable_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    _set(monkeypatch, environment)
    with pytest.raises(UserError, match=message):
        group.launched()


def test_processes_without_a_meeting_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(UserError, match="MASTER_ADDR is not set"):
        group.start("cpu")


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    _set(monkeypatch, {"RANK": "0", "WORLD_SIZE": "2", **place})
    with pytest.raises(UserError, match="pass --device cuda"):
        group.start("cuda:0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match=r"1 GPU is visible to process 1 .* 2 processes want one"):
        group.start("cuda")
    # the first process finds the same fault, if it knows how many there are
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"1 GPU is visible to process 0 .* 3 processes want one"):
        group.start("cuda")


def test_one_process_needs_no_group() -> None:
    group.start("cpu")
    assert (group.rank(), group.size(), group.started()) == (0, 1, False)
    assert group.from_first(lambda: {"a": 1}) == {"a": 1}
    group.wait_for_all()


def test_a_process_that_has_not_joined_writes_its_own_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # such as a program that trains by itself on several processes
    _set(monkeypatch, {"RANK": "1", "WORLD_SIZE": "2"})
    assert group.is_first()


@pytest.mark.parametrize(
    ("environment", "error", "expected"),
    [
        ({}, UserError("x"), ""),
        ({"RANK": "0", "WORLD_SIZE": "2"}, UserError("x"), ""),
        # the only one that has failed: nobody has ended it meanwhile
        ({"RANK": "1", "WORLD_SIZE": "2"}, UserError("x"), "process 1 of 2: "),
        ({"RANK": "one", "WORLD_SIZE": "2"}, UserError("x"), ""),
    ],
)
def test_who_tells_of_a_failure_before_the_processes_have_met(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    error: UserError,
    expected: str | None,
) -> None:
    _set(monkeypatch, environment)
    monkeypatch.setattr(processes, "SECONDS_TO_BE_ENDED", 0.0)
    assert processes.says_why(error) == expected


def test_a_process_that_is_ended_meanwhile_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(seconds: float) -> None:
        raise KeyboardInterrupt

    _set(monkeypatch, {"RANK": "1", "WORLD_SIZE": "2"})
    monkeypatch.setattr("time.sleep", stopped)
    assert processes.says_why(UserError("x")) is None


def _set(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
