"""A run from a program: the same outcome as the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.tiny_runs import TINY, run

import cl_suite
from cl_suite.cli import main
from cl_suite.runs.folder import RunFolder


def settings_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(RunFolder(folder).config_file.read_text("utf-8"))
    return found


def test_a_run_returns_its_folder(tmp_path: Path) -> None:
    folder = run(tmp_path / "all", seed=4)
    assert folder == tmp_path / "all" / "omniglot" / "prototype" / "seed4"
    assert RunFolder(folder).read_run_info()["finished"]


def test_its_figures_are_those_of_the_command_line(here: Path) -> None:
    folder = run(here / "program")
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    other = here / "runs/omniglot/prototype/seed0"
    assert RunFolder(folder).config_file.read_bytes() == RunFolder(other).config_file.read_bytes()
    assert (folder / "hits.npz").read_bytes() == (other / "hits.npz").read_bytes()


def test_its_model_is_loaded_by_the_public_face(tmp_path: Path) -> None:
    saved = cl_suite.load_model(run(tmp_path))
    assert len(saved.class_names) == 242


def test_without_listeners_it_is_silent_and_has_no_dashboard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
    assert not list(folder.rglob("*tfevents*"))


def test_by_default_the_console_and_the_dashboard_watch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path, listeners=None)
    assert "classes" in capfd.readouterr().out
    assert list(folder.rglob("*tfevents*"))


def test_settings_of_every_kind_arrive(tmp_path: Path) -> None:
    folder = run(
        tmp_path,
        "finetune",
        **{
            "training.lr": 1e-3,
            "training.schedule": "step",
            "training.milestones": [1, 2],
            "training.nesterov": False,
            "training.incremental_lr": None,
            "evaluation.probes": ["knn"],
        },
    )
    training = settings_of(folder)["training"]
    assert training["lr"] == 1e-3
    assert training["schedule"] == "step"
    assert training["milestones"] == [1, 2]
    assert training["nesterov"] is False
    assert training["incremental_lr"] is None
    assert settings_of(folder)["evaluation"]["probes"] == ["knn"]


@pytest.mark.parametrize(
    ("strategy", "settings", "sentence"),
    [
        ("teen", {"strategy.shift_weight": 2}, r"^--strategy\.shift_weight must be in \[0, 1\]"),
        ("teen", {"strategy.shift_wait": 1}, "shift_wait is unknown; did you mean 'shift_weight'"),
        ("teeen", {}, "strategy 'teeen' is unknown; did you mean 'teen'"),
        ("teen", {"training.batch_size": 0}, "must be at least 1, got 0"),
        (
            "teen",
            {"training.base_epochs": "many"},
            r"^--training\.base_epochs must be a whole number, got 'many'",
        ),
        ("teen", {"model.head": "linear"}, "needs a cosine head"),
        ("teen", {"scenario.shots": 11}, "too few images to learn from"),
        ("teen", {"seed": -1}, "--seed must be distinct numbers from 0"),
        ("teen", {"device": "cuda:99"}, "--device cuda:99 cannot be used"),
        ("teen", {"resume": True, "overwrite": True}, "contradict each other"),
    ],
)
def test_bad_input_is_a_value_error_and_leaves_nothing(
    strategy: str, settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(tmp_path / "out", strategy, **settings)
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_not_run_again_unless_it_is_overwritten(tmp_path: Path) -> None:
    hits = run(tmp_path) / "hits.npz"
    first = hits.stat().st_mtime_ns
    run(tmp_path)
    assert hits.stat().st_mtime_ns == first
    with pytest.raises(ValueError, match="holds a run with other settings"):
        run(tmp_path, **{"training.lr": 0.2})
    run(tmp_path, overwrite=True, **{"training.lr": 0.2})
    assert hits.stat().st_mtime_ns > first


def test_it_begins_after_another_runs_base_session(tmp_path: Path) -> None:
    base = run(tmp_path, "finetune")
    folder = run(tmp_path, "prototype", start_from=base)
    assert settings_of(folder)["start_from"] == str(base)
    assert RunFolder(folder).read_run_info()["finished"]
