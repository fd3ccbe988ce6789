"""Listeners of a run: their calls, the order of these, and a third party's listener."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from helpers.tiny_runs import TINY

import cl_suite
from cl_suite import registry
from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.logging.progress import ConsoleProgress
from cl_suite.logging.run_dashboard import RunDashboard
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.runs.listener import Listener, Listeners, WatchedRun

CALLS = [name for name in vars(Listener) if not name.startswith("_")]
SETTINGS: dict[str, Any] = {
    "scenario.base_classes": 12,
    "scenario.way": 115,
    "scenario.shots": 2,
    "training.base_epochs": 2,
    "training.incremental_epochs": 1,
    "training.batch_size": 64,
}


class Recorder(Listener):
    """Notes each call, and what of the run can be seen in it."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.made.append(self)

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self.calls.append(("starts", run.folder.config_file.exists(), len(run.log.records)))

    def says(self, text: str) -> None:
        self.calls.append(("says", text))

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        self.calls.append(("session_starts", session, num_epochs, epochs_done))

    def batch(self, session: int, epoch: int, step: int, num_steps: int) -> None:
        self.calls.append(("batch", session, epoch, step, num_steps))

    def epoch(self, record: Any) -> None:
        assert self.run.epochs[-1] is record
        self.calls.append(("epoch", record.session, record.epoch))

    def session_ends(self, session: int) -> None:
        self.calls.append(("session_ends", session, len(self.run.log.records)))

    def ends(self, head: ClassHead) -> None:
        self.calls.append(("ends", len(head.classes)))

    def stops(self) -> None:
        self.calls.append(("stops",))


class Point:
    """A third party's entry point."""

    def __init__(self, name: str, value: str) -> None:
        self.name, self.value, self.dist = name, value, None


def with_points(monkeypatch: pytest.MonkeyPatch, *points: Point) -> None:
    def entry_points(group: str) -> list[Point]:
        return list(points) if group == "cl_suite.listeners" else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Recorder.made.clear()
    return tmp_path


def of(recorder: Recorder, *names: str) -> list[tuple[Any, ...]]:
    return [call for call in recorder.calls if call[0] in names]


# --- which there are ---


def test_a_run_has_the_dashboard_and_the_console() -> None:
    assert [type(each) for each in registry.make_listeners()] == [RunDashboard, ConsoleProgress]


def test_third_parties_come_behind_in_the_order_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = Point("zebra", f"{__name__}:Recorder"), Point("ape", f"{__name__}:Listeners")
    monkeypatch.setattr(Listeners, "__init__", lambda self: None)
    with_points(monkeypatch, *points)
    names = [type(each).__name__ for each in registry.make_listeners()]
    assert names == ["RunDashboard", "ConsoleProgress", "Listeners", "Recorder"]


def test_each_run_has_listeners_of_its_own() -> None:
    first, second = registry.make_listeners(), registry.make_listeners()
    assert not {id(each) for each in first} & {id(each) for each in second}


def test_a_listener_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_points(monkeypatch, Point("ghost", "no.such:Thing"))
    with pytest.raises(UserError, match=r"listener 'ghost' names class 'no\.such\.Thing'"):
        registry.make_listeners()


# --- what they are told ---


def test_a_third_partys_listener_is_called_in_order(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_points(monkeypatch, Point("recorder", f"{__name__}:Recorder"))
    assert main(["run", "omniglot", "finetune", *TINY, "--training.batch_size", "64"]) == 0
    [recorder] = Recorder.made
    assert recorder.calls[0] == ("starts", True, 0)
    assert of(recorder, "session_starts", "epoch", "session_ends", "ends", "stops") == [
        ("session_starts", 0, 2, 0),
        ("epoch", 0, 0),
        ("epoch", 0, 1),
        ("session_ends", 0, 1),
        ("session_starts", 1, 1, 0),
        ("epoch", 1, 0),
        ("session_ends", 1, 2),
        ("session_starts", 2, 1, 0),
        ("epoch", 2, 0),
        ("session_ends", 2, 3),
        ("ends", 242),
        ("stops",),
    ]
    # 12 classes of ten drawings: two batches of 64 an epoch
    assert of(recorder, "batch")[:4] == [
        ("batch", 0, 0, 1, 2),
        ("batch", 0, 0, 2, 2),
        ("batch", 0, 1, 1, 2),
        ("batch", 0, 1, 2, 2),
    ]
    assert recorder.calls.index(("batch", 0, 0, 2, 2)) < recorder.calls.index(("epoch", 0, 0))
    assert any("parameters" in call[1] for call in of(recorder, "says"))
    assert "classes" in capsys.readouterr().out  # the console goes on beside it


def test_a_listener_sees_the_run_and_its_folder(here: Path) -> None:
    recorder = Recorder()
    folder = cl_suite.run(
        "omniglot", "finetune", device="cpu", listeners=[recorder], seed=3, **SETTINGS
    )
    assert recorder.run.folder.path == folder
    assert recorder.run.config.seed == 3
    assert recorder.run.config.strategy_name == "finetune"
    assert recorder.run.info.num_sessions == len(recorder.run.log.records) == 3
    assert [(e.session, e.epoch) for e in recorder.run.epochs] == [(0, 0), (0, 1), (1, 0), (2, 0)]


def test_a_resumed_run_tells_its_listeners_what_came_before(here: Path) -> None:
    class Stopping(Recorder):
        def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
            super().session_starts(session, num_epochs, epochs_done)
            if session == 1:
                raise KeyboardInterrupt

    first, second = Stopping(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        cl_suite.run("omniglot", "finetune", device="cpu", listeners=[first], **SETTINGS)
    assert first.calls[-1] == ("stops",)  # whatever ended the run
    assert not of(first, "ends")
    cl_suite.run("omniglot", "finetune", device="cpu", listeners=[second], resume=True, **SETTINGS)
    assert second.calls[0] == ("starts", True, 1)
    assert of(second, "session_starts", "ends") == [
        ("session_starts", 1, 1, 0),
        ("session_starts", 2, 1, 0),
        ("ends", 242),
    ]
    assert len(second.run.epochs) == 4


def test_a_run_that_is_refused_starts_nothing_and_stops(here: Path) -> None:
    recorder = Recorder()
    with pytest.raises(UserError):
        cl_suite.run(
            "omniglot", "finetune", device="cpu", listeners=[recorder], **{"scenario.shots": 11}
        )
    assert recorder.calls == [("stops",)]


def test_a_finished_run_is_said_to_be_finished(here: Path) -> None:
    for recorder in (Recorder(), Recorder()):
        cl_suite.run("omniglot", "finetune", device="cpu", listeners=[recorder], **SETTINGS)
    (said, stopped) = recorder.calls
    assert said[0] == "says"
    assert "finished already" in said[1]
    assert stopped == ("stops",)


def test_the_bank_counts_its_images(here: Path) -> None:
    class Counting(Listener):
        seen: ClassVar[list[tuple[int, int]]] = []

        def images(self, done: int, total: int) -> None:
            self.seen.append((done, total))

    settings = SETTINGS | {"model.frozen": True, "model.bank": True}
    cl_suite.run("omniglot", "prototype", device="cpu", listeners=[Counting()], **settings)
    assert Counting.seen
    assert [done for done, _ in Counting.seen] == sorted(done for done, _ in Counting.seen)
    assert Counting.seen[-1][0] == Counting.seen[-1][1] > 0


# --- several as one ---


def test_every_call_goes_to_all_of_them_in_order() -> None:
    order: list[tuple[str, str, tuple[Any, ...]]] = []

    def noting(name: str) -> Any:
        calls = {
            call: lambda *arguments, call=call: order.append((name, call, arguments))
            for call in CALLS
        }
        return SimpleNamespace(**calls)

    both = Listeners([noting("first"), noting("second")])
    arguments: dict[str, tuple[Any, ...]] = {
        "images": (1, 2),
        "starts": ("run",),
        "says": ("text",),
        "session_starts": (0, 2, 1),
        "batch": (0, 1, 2, 3),
        "epoch": ("record",),
        "base_trained": ("found", "trouble"),
        "session_ends": (0,),
        "ends": ("head",),
        "tasks_start": ("run",),
        "task_ends": ("record",),
        "tasks_end": (),
        "stops": (),
    }
    assert set(arguments) == set(CALLS)
    for call, given in arguments.items():
        order.clear()
        getattr(both, call)(*given)
        assert order == [("first", call, given), ("second", call, given)]


def test_a_listener_that_overrides_nothing_does_nothing() -> None:
    listener: Any = Listener()
    for call, given in (("images", (1, 2)), ("says", ("x",)), ("stops", ())):
        assert getattr(listener, call)(*given) is None
