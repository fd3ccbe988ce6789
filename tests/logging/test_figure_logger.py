"""What loggers of figures are told, and in which order."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.task_runs import run_tasks
from helpers.tiny_runs import run

from cl_suite.errors import UserError
from cl_suite.logging.figure_logger import Axis, FigureLogger, package_of


class Notes(FigureLogger):
    """Notes everything."""

    def __init__(self) -> None:
        self.rows: list[tuple[Axis, int, tuple[str, ...]]] = []
        self.calls: list[str] = []

    def begins(self, run: Any) -> None:
        self.calls.append("begins")

    def adds(self, axis: Axis, step: int, figures: dict[str, float]) -> None:
        assert all(math.isfinite(value) for value in figures.values())
        self.rows.append((axis, step, tuple(figures)))

    def closes(self) -> None:
        self.calls.append(f"closes, finished: {self.finished}")


def test_epochs_count_over_all_sessions_and_precede_their_sessions_figures(tmp_path: Path) -> None:
    notes = Notes()
    run(tmp_path, "finetune", listeners=[notes])
    assert [(axis, step) for axis, step, _ in notes.rows] == [
        ("epoch", 0),
        ("epoch", 1),
        ("session", 0),
        ("epoch", 2),
        ("session", 1),
        ("epoch", 3),
        ("session", 2),
        ("session", 2),  # the outcome
    ]
    assert "outcome/average accuracy" in notes.rows[-1][2]
    assert notes.calls == ["begins", "closes, finished: True"]


def test_an_undefined_figure_is_left_out(tmp_path: Path) -> None:
    notes = Notes()
    run(tmp_path, listeners=[notes])
    tags = [tags for axis, _, tags in notes.rows if axis == "session"]
    assert "accuracy/new" not in tags[0]
    assert "accuracy/new" in tags[1]


def test_what_came_before_is_added_again_in_its_first_order(tmp_path: Path) -> None:
    live, again = Notes(), Notes()
    run(tmp_path, "finetune", listeners=[live])
    seen: Any = []

    class Keeps(FigureLogger):
        def begins(self, run: Any) -> None:
            seen.append(run)

        def adds(self, *ignored: Any) -> None: ...

        def closes(self) -> None: ...

    run(tmp_path / "other", "finetune", listeners=[Keeps()])
    again.starts(seen[0])  # its records are all there by now
    assert again.rows == live.rows[:-1]  # all but the outcome


def test_a_task_is_a_step_and_the_means_are_the_outcome(tmp_path: Path) -> None:
    notes = Notes()
    run_tasks(tmp_path, "0..2", pair=("cfsl", "cfsl"), listeners=[notes])
    assert [(axis, step) for axis, step, _ in notes.rows] == [
        *(("task", 0), ("task", 1), ("task", 2), ("task", 2))
    ]
    assert notes.rows[0][2] == ("task/last", "task/average")
    assert "outcome/last accuracy" in notes.rows[-1][2]


def test_a_run_that_is_refused_is_not_closed() -> None:
    notes = Notes()
    notes.stops()
    assert notes.calls == []


def test_a_missing_package_is_told_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"logger 'nowhere' needs .* 'cl-suite\[nowhere\]'"):
        package_of("nowhere")


def test_a_stopped_run_is_closed_unfinished() -> None:
    notes = Notes()
    records: Any = SimpleNamespace(records=[])
    notes.starts(SimpleNamespace(epochs=[], log=records, probes={}))  # type: ignore[arg-type]
    notes.stops()
    assert notes.calls == ["begins", "closes, finished: False"]
