"""A short run on real data by the command line, and a check of refused commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cl_suite
from cl_suite.cli import main
from cl_suite.runs import run as run_module

# two sessions of many classes each: quick, and real data
SETTINGS: dict[str, Any] = {
    "scenario.base_classes": 12,
    "scenario.way": 115,
    "scenario.shots": 2,
    "training.base_epochs": 2,
    "training.incremental_epochs": 1,
}
TINY = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
TINY += ["--device", "cpu"]


# fields of a line of metrics.jsonl, in order
METRIC_KEYS = [
    "session",
    "accuracy",
    "base",
    "new",
    "harmonic",
    "forgetting",
    "seconds_train",
    "seconds_eval",
    "seen_classes",
    "gacc",
    "retention",
    "backward",
    "new_as_base",
    "base_as_new",
]


def run(out: Path, strategy: str = "prototype", **changed: Any) -> Path:
    """Run a strategy in silence from a program; return the run's folder."""
    settings = {"device": "cpu", "listeners": (), **SETTINGS, **changed}
    return cl_suite.run("omniglot", strategy, out=out, **settings)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail; return its one sentence."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("cl-suite: ")
    assert error.count("\n") == 1
    return error


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int, error: BaseException) -> None:
    calls = []
    original = run_module.Run._after_epoch

    def stop(self: run_module.Run, record: object) -> None:
        original(self, record)  # type: ignore[arg-type]
        calls.append(record)
        if len(calls) == epochs:
            raise error

    monkeypatch.setattr(run_module.Run, "_after_epoch", stop)


def assert_equal_runs(one: Path, other: Path) -> None:
    for name in ("hits.npz", "accuracy_matrix.npy", "model/model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
