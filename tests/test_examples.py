"""The examples run unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(*arguments: object, folder: Path, **environment: str) -> str:
    """Run Python in a folder and return what it prints."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def installed(example: str, folder: Path) -> str:
    """Install an example's package into a folder and return that."""
    source = shutil.copytree(EXAMPLES / example, folder / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run("-m", "pip", "install", *options, "--target", folder / "site", source, folder=folder)
    return str(folder / "site")


def test_the_avalanche_program_learns_new_digits(tmp_path: Path) -> None:
    out = run(EXAMPLES / "avalanche_program.py", folder=tmp_path)
    accuracies = [float(line.split()[1]) for line in out.splitlines()]
    assert len(accuracies) == 3
    assert accuracies[0] > 0.9
    assert accuracies[2] > 0.7


def test_the_scenario_of_ones_own_runs_by_name(tmp_path: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join([installed("own_scenario", tmp_path), *sys.path])}
    words = ["run", "digit_stream", "prototype", "--scenario.shots", "3"]
    run("-m", "cl_suite.cli", *words, folder=tmp_path, **path)
    metrics = tmp_path / "runs/digit_stream/prototype/seed0/metrics.jsonl"
    assert len(metrics.read_text("utf-8").splitlines()) == 5


def test_the_method_of_ones_own_runs_by_name(tmp_path: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join([installed("own_method", tmp_path), *sys.path])}
    words = ["run", "omniglot", "mean_method", "--scenario.base_classes", "12", "--scenario.way"]
    options = ["115", "--training.base_epochs", "1", "--strategy.shrink", "0.3"]
    out = run("-m", "cl_suite.cli", *words, *options, folder=tmp_path, **path)
    assert "242 class means" in out


def test_photos_end_in_a_model_that_names_a_picture(tmp_path: Path) -> None:
    out = run(EXAMPLES / "photos/learn_from_photos.py", folder=tmp_path)
    *_, last = out.splitlines()
    picture, _, name = last.partition(": ")
    assert picture == "blue disc/0.png"
    colour, shape = name.split()
    assert colour in {"blue", "gold", "green", "red"}
    assert shape in {"disc", "square"}


def test_the_sweep_files_plan_runs(tmp_path: Path) -> None:
    for name in ("grid", "tune"):
        words = ["sweep", EXAMPLES / f"sweep/{name}.yaml", "--dry-run"]
        out = run("-m", "cl_suite.cli", *words, folder=tmp_path)
        assert f"sweep {name}: " in out
        assert " new" in out
