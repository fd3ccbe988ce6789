"""Files that a sweep refuses: one sentence, exit code 2, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.sweeps import write_sweep
from helpers.tiny_runs import refused

from cl_suite.errors import UserError
from cl_suite.runs.sweep.spec import read_sweep


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"seeeds": 1}, "has key 'seeeds', which is unknown; did you mean 'seeds'?"),
        ({"training.lr": 1}, "put settings of all runs under set"),
        ({"scenarios": []}, "has no scenarios"),
        ({"scenarios": ["omniglott"]}, "scenario 'omniglott' is unknown; did you mean 'omniglot'?"),
        ({"strategies": 3}, "must be names, or names with settings"),
        ({"strategies": {"teen": 3}}, "strategies.teen must be a mapping"),
        ({"strategies": ["teeen"]}, "strategy 'teeen' is unknown; did you mean 'teen'?"),
        ({"set": {"training.lrr": 1}}, "--training.lrr is unknown; did you mean 'lr'?"),
        ({"set": {"training": {"lr": "x"}}}, "--training.lr must be a number or auto, got 'x'"),
        ({"set": {"seed": 1}}, "a sweep has the key seeds"),
        ({"set": {"overwrite": True}}, "which a sweep decides itself"),
        ({"grid": {"training.lr": [0.1, -1]}}, "--training.lr must be above 0, got -1"),
        ({"grid": {"training.lr": 0.1}}, "must be a list of values"),
        ({"grid": {"training.lr": [0.1, 0.1]}}, "has a value twice"),
        ({"random": {"training.lr": {"uniform": [0, 1]}}}, "no samples"),
        ({"samples": 0}, "samples must be a whole number from 1"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"seeds": "x"}, "seeds must be whole numbers"),
        ({"seeds": "4-2"}, "must run from a smaller number"),
        ({"retries": -1}, "retries must be a whole number from 0"),
        ({"name": "a/b"}, "name must be a folder's name"),
        ({"device": "cuda:1"}, "gives each run one that is free"),
        ({"device": "cudaa"}, "--device cudaa cannot be used"),
        ({"threads": 0}, "threads must be a whole number"),
        ({"gpus": 1.5}, "gpus must be 0, a share of one"),
        ({"base": "teeen"}, "strategy 'teeen' is unknown"),
        ({"base": ["teen", "joint"]}, "base must be one strategy"),
        ({"base": {"finetune": {"model.head": "linear"}}}, "it cannot start from that base"),
        ({"select": "best"}, "figure 'best' is unknown"),
        ({"select": {"figur": "last"}}, "did you mean 'figure'?"),
        ({"select": {"reduction": 1}}, "reduction must be a number"),
        ({"select": "last", "grid": {"scenario.shots": [1, 2]}}, "do not compare"),
        ({"select": "last", "grid": {"training.lr": [1, 2]}}, "pass --ray"),
        ({"gpus": 64}, "asks for 64 GPUs, but this machine has"),
    ],
)
def test_a_file_is_refused_before_anything_is_started(
    content: dict[str, Any], sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(here, content)
    assert sentence in refused(capsys, "sweep", str(path))
    assert [each.name for each in here.rglob("*") if each.name == "sweep.log"] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--jobs", "0"], "--jobs must be from 1"),
        (["--slurm", "--ray"], "--slurm and --ray contradict each other"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster answers at '127.0.0.1:1'"),
    ],
)
def test_options_are_refused(
    options: list[str], sentence: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "127.0.0.1:1" in options:
        pytest.importorskip("ray", reason="needs Ray (the extra `sweep`)")
    assert sentence in refused(capsys, "sweep", str(write_sweep(here)), *options)


def test_ray_that_is_not_installed_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'cl-suite[sweep]'" in refused(
        capsys, "sweep", str(write_sweep(here)), "--ray"
    )


def test_seeds_may_be_a_range(tmp_path: Path) -> None:
    assert read_sweep(write_sweep(tmp_path, {"seeds": ["0-2", 7]})).seeds == (0, 1, 2, 7)


def test_settings_may_be_nested_or_dotted(tmp_path: Path) -> None:
    nested = write_sweep(tmp_path, {"set": {"training": {"lr": 0.2}, "model.head": "cosine"}})
    assert read_sweep(nested).common.settings == {"training.lr": 0.2, "model.head": "cosine"}


def test_a_yaml_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="must be a mapping"):
        read_sweep(path)
