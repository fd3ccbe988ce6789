"""A run over tasks on the console and in TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from helpers.task_runs import lines, run_tasks
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_suite.logging import progress
from cl_suite.logging.progress import ConsoleProgress
from cl_suite.logging.run_dashboard import RunDashboard

CFSL = ("cfsl", "cfsl")


@pytest.mark.parametrize("terminal", [False, True])
def test_the_console_tells_the_mean_so_far_and_the_time_left(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100)
    folder = run_tasks(tmp_path, "0..3", pair=CFSL, listeners=[ConsoleProgress(console)])
    text = written.getvalue()
    mean = 100 * sum(line["last"] for line in lines(folder)) / 4
    assert f"4 tasks  last {mean:.2f}" in text
    if not terminal:
        assert "task 2/4  last " in text
        assert "s left" in text
        assert text.count("backbone: ") == 1


def test_the_dashboard_has_a_point_for_each_task_and_no_picture(tmp_path: Path) -> None:
    folder = run_tasks(tmp_path, "0..3", pair=CFSL, listeners=[RunDashboard()])
    events = EventAccumulator(str(folder))
    events.Reload()
    last = [line["last"] for line in lines(folder)]
    assert [event.value for event in events.Scalars("task/last")] == pytest.approx(last)
    means = [sum(last[: i + 1]) / (i + 1) for i in range(4)]
    assert [event.value for event in events.Scalars("task/mean_last")] == pytest.approx(means)
    assert [event.step for event in events.Scalars("task/half_interval")] == [1, 2, 3]
    assert events.Scalars("outcome/last accuracy")[0].value == pytest.approx(means[-1])
    assert events.Tags()["images"] == []
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
