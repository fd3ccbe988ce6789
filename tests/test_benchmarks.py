"""The benchmarks: each runs at its smallest size and prints its table; times are not judged.

`benchmarks/tables.py` has tests of its own, in `test_tables.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from helpers.programs import ROOT
from helpers.tiny_layouts import write_mini_imagenet
from safetensors.torch import save_file

OWN_TESTS = {"tables.py"}
TINY_BACKBONE = "test_resnet"


def printed_by(program: str, *options: object, folder: Path) -> str:
    """Return what a benchmark prints; it runs in a folder with its own bank and results."""
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / program, *map(str, options)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "RESULTS": str(folder / "results")},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def generated(tmp_path: Path) -> list[str]:
    """Options that name generated images in miniImageNet's layout, and a tiny random network."""
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model(TINY_BACKBONE).state_dict(), weights)
    root = write_mini_imagenet(tmp_path / "images")
    return ["--root", str(root), "--weights", str(weights), "--backbone", TINY_BACKBONE]


def test_every_benchmark_has_a_test_here() -> None:
    programs = {
        path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()
    }
    here = Path(__file__).read_text("utf-8")
    assert {name for name in programs - OWN_TESTS if f'"{name}"' not in here} == set()


@pytest.mark.slow
def test_coact_step_compares_three_variants(tmp_path: Path) -> None:
    options = ["--rounds", 1, "--batch", 2, "--model", "deit_tiny_patch16_224"]
    heading, *rows = printed_by("coact_step.py", *options, folder=tmp_path).splitlines()
    assert heading == "deit_tiny_patch16_224, batch 2, 1 rounds"
    assert [row[2:12].strip() for row in rows] == ["shared", "4 encoders", "6 passes"]


def test_engine_overhead_compares_training_and_later_sessions(tmp_path: Path) -> None:
    out = printed_by("engine_overhead.py", "--rounds", 1, "--epochs", 1, folder=tmp_path)
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "training, engine / bare loop",
        "later sessions, engine / bare",
        "seconds a session outside the model",
    ]


def test_feature_bank_measures_building_and_training(tmp_path: Path) -> None:
    network = ["--model", TINY_BACKBONE, "--size", 32, "--images", 4]
    cached = ["--features", 256, "--dim", 8, "--rounds", 1]
    lines = printed_by("feature_bank.py", *network, *cached, folder=tmp_path).splitlines()
    assert len(lines) == 6
    assert all("median" in line for line in lines)


def test_cold_bank_compares_three_sides(tmp_path: Path) -> None:
    options = ["--model", TINY_BACKBONE, "--images", 2, "--rounds", 1]
    heading, *rows = printed_by("cold_bank.py", *options, folder=tmp_path).splitlines()
    assert heading == f"{TINY_BACKBONE}, 2 images, one thread, CPU ms an image"
    assert [row[:10].strip() for row in rows] == ["as it was", "float32", "bfloat16"]


def test_frozen_features_measures_session_costs(tmp_path: Path) -> None:
    out = printed_by("frozen_features.py", "--classes", 10, "--rounds", 1, folder=tmp_path)
    heading, *rows = out.splitlines()
    assert heading.endswith("10 classes")
    assert len(rows) == 5


def test_frozen_features_writes_accuracies(tmp_path: Path, generated: list[str]) -> None:
    chosen = ["--methods", "class_means", "--seeds", 1]
    out = printed_by("frozen_features.py", *generated, *chosen, folder=tmp_path)
    _, row, written = out.splitlines()
    assert row.startswith("class_means")
    assert Path(written.removeprefix("written: ")).is_file()


def test_frozen_run_times_a_cold_and_a_warm_run(tmp_path: Path, generated: list[str]) -> None:
    chosen = ["--strategies", "prototype", "--rounds", 1]
    out = printed_by("frozen_run.py", *generated, *chosen, folder=tmp_path)
    heading, round_line, median_line = out.splitlines()
    assert "distinct images" in heading
    assert "cold / forward" in round_line
    assert "median" in median_line


def test_learner_serve_loads_the_real_server(tmp_path: Path) -> None:
    options = ["--classes", 2, "--clients", 1, "--seconds", 0]
    heading, _, *rows = printed_by("learner_serve.py", *options, folder=tmp_path).splitlines()
    assert heading == "conv4, 2 classes"
    assert [row.split()[0].strip(",") for row in rows] == [
        "Learner.predict",
        "predict",
        "predict",
        "learn",
    ]


def test_learner_calibration_measures_probabilities_and_strangers(tmp_path: Path) -> None:
    chosen = ["--base", 12, "--epochs", 1, "--seeds", 1, "--rules", "simple_cil"]
    row, written = printed_by("learner_calibration.py", *chosen, folder=tmp_path).splitlines()
    assert row.startswith("Omniglot, conv4")
    assert {"ece", "ece_raw", "auroc", "auroc_raw", "false_alarms", "found"} <= set(row.split())
    assert Path(written.removeprefix("written: ")).is_file()


def test_learner_cost_measures_learning_predicting_and_the_file(
    tmp_path: Path, generated: list[str]
) -> None:
    chosen = ["--classes", 3, "--rules", "simple_cil", "ranpac", "--rounds", 1]
    out = printed_by("learner_cost.py", *generated[2:], *chosen, folder=tmp_path)
    means, shares, times, file, ridge, *_, written = out.splitlines()
    # learning costs one pass a picture, whatever the rule
    assert means == "simple_cil, 3 classes: 5 passes for 5 pictures"
    assert ridge == "ranpac, 3 classes: 5 passes for 5 pictures"
    assert all("predict_64" in line for line in (shares, times))
    assert "bytes of numbers a class" in file
    assert Path(written.removeprefix("written: ")).is_file()


def test_mamlcon_inner_compares_both_orders(tmp_path: Path) -> None:
    options = ["--rounds", 1, "--episodes", 1, "--network", "mlp"]
    heading, *rows = printed_by("mamlcon_inner.py", *options, folder=tmp_path).splitlines()
    assert heading.startswith("1 episodes")
    assert [row.split()[:2] for row in rows] == [["mlp", "first"], ["mlp", "second"]]


@pytest.mark.slow
def test_method_overhead_compares_every_method(tmp_path: Path) -> None:
    out = printed_by("method_overhead.py", "--rounds", 1, "--epochs", 1, folder=tmp_path)
    methods = [line.split()[0] for line in out.splitlines()]
    assert methods == ["finetune", "er", "coconut", "cler", "sycon"]
