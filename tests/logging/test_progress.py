"""Progress: a bar on a terminal, plain lines with rate and remaining time elsewhere."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from helpers.tiny_streams import make_stream
from rich.console import Console

from cl_suite.engine.session import EpochRecord
from cl_suite.logging import progress
from cl_suite.logging.progress import ConsoleProgress
from cl_suite.runs.folder import SessionRecord
from cl_suite.runs.listener import WatchedRun


def record(epoch: int) -> EpochRecord:
    return EpochRecord(0, epoch, 1.25, 0.1, num_samples=3000, seconds=2.0)


def session(new: float | None) -> SessionRecord:
    return SessionRecord(1, 0.5, 0.6, new, new, 0.1, 12.34, 0.5, seen_classes=20)


def watched(*figures: SessionRecord, sessions: int = 3, probes: Any = ()) -> WatchedRun:
    """Return a run of so many sessions whose log has these figures."""
    info = make_stream([[i] for i in range(sessions)]).info
    nothing: Any = None
    log: Any = SimpleNamespace(records=list(figures))
    return WatchedRun(nothing, nothing, info, log, probes=dict(probes))


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    shown_by = ConsoleProgress(Console(file=out, force_terminal=terminal, width=110))
    shown_by.starts(watched(session(0.4)))
    shown_by.session_starts(0, num_epochs=4, epochs_done=1)
    for epoch in (1, 2, 3):
        for step in (1, 2):
            shown_by.batch(0, epoch, step, 2)
        shown_by.epoch(record(epoch))
    shown_by.session_ends(0)
    shown_by.stops()
    return out.getvalue()


def test_a_log_gets_plain_lines_with_rate_and_remaining_time(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    text = shown(terminal=False)
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert lines[0].startswith("session 0: epoch 2/4  loss 1.250  1,500 images/s")
    assert lines[0].endswith("s left")
    assert len(lines) == 4


def test_a_log_is_not_flooded() -> None:
    assert len(shown(terminal=False).splitlines()) == 1  # the session's figures alone


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    text = shown(terminal=True)
    assert "session 0/2" in text
    assert "loss 1.250" in text
    assert text.rstrip().endswith("harmonic 40.00 %  (train 12.3 s, test 0.5 s)")


def test_a_session_ends_with_its_figures() -> None:
    text = shown(terminal=False).splitlines()[-1]
    for part in (
        "session  1/2",
        "20 classes",
        "all 50.00",
        "base 60.00",
        "new 40.00",
        "harmonic 40.00 %",
    ):
        assert part in text


def test_a_narrow_terminal_gets_one_line_without_times() -> None:
    out = io.StringIO()
    shown_by = ConsoleProgress(Console(file=out, force_terminal=True, width=80))
    shown_by.starts(watched(session(0.4), sessions=13))
    shown_by.session_starts(0, num_epochs=0, epochs_done=0)
    shown_by.session_ends(0)
    (line,) = out.getvalue().splitlines()
    assert len(line) <= 80
    assert "train" not in line


def test_undefined_figures_are_left_out() -> None:
    out = io.StringIO()
    shown_by = ConsoleProgress(Console(file=out, width=100))
    shown_by.starts(watched(session(None)))
    shown_by.session_starts(0, num_epochs=0, epochs_done=0)
    shown_by.session_ends(0)
    assert "new" not in out.getvalue()


def test_a_probes_figure_comes_below_the_classifiers() -> None:
    out = io.StringIO()
    shown_by = ConsoleProgress(Console(file=out, width=110))
    probe = SimpleNamespace(records=[session(0.4)])
    shown_by.starts(watched(session(0.4), probes={"knn": probe}))
    shown_by.session_starts(0, num_epochs=0, epochs_done=0)
    shown_by.session_ends(0)
    first, second = out.getvalue().splitlines()
    assert first.startswith("session")
    assert second.startswith("  ")
    assert second.endswith("all 50.00 %")


def test_a_sentence_of_the_run_is_one_line_as_it_is_however_narrow_the_terminal() -> None:
    out, sentence = io.StringIO(), "note: left out '[red] 1.png', " + "and others, " * 5
    ConsoleProgress(Console(file=out, width=30)).says(sentence)
    assert out.getvalue() == f"{sentence}\n"


def test_a_bar_that_a_stop_left_standing_is_taken_away() -> None:
    shown_by = ConsoleProgress(Console(file=io.StringIO(), force_terminal=True, width=110))
    shown_by.starts(watched(session(0.4)))
    shown_by.session_starts(0, num_epochs=4, epochs_done=1)
    assert shown_by.bar is not None
    shown_by.stops()
    assert shown_by.bar is None


def test_images_of_the_bank_are_counted_view_by_view() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    progress = ConsoleProgress(console)
    for view in range(2):
        progress.images(10, 20)
        first = progress.started
        progress.images(20, 20)
        assert progress.images_done == 20, view
    progress.images(10, 20)
    assert progress.started > first
    assert console.file.getvalue().count("features of 20 images computed") == 2  # type: ignore[attr-defined]
