"""A base session shared by `--start-from`, and refused if the runs differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.tiny_runs import TINY, assert_equal_runs, interrupt_after, refused

from cl_suite.cli import main


def test_start_from_shares_the_base_session(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    base = "runs/omniglot/prototype/seed0"
    assert main(["run", "omniglot", "teen", *TINY, "--start-from", base]) == 0
    assert main(["run", "omniglot", "teen", *TINY, "--out", "alone"]) == 0
    started, alone = (
        np.load(here / root / "omniglot/teen/seed0/accuracy_matrix.npy")
        for root in ("runs", "alone")
    )
    assert np.array_equal(started, alone, equal_nan=True)
    metrics = (here / "runs/omniglot/teen/seed0/metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[0])["accuracy"] == started[0, 0]


def test_start_from_refuses_other_classes_backbone_and_preprocessing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    start = ["--start-from", "runs/omniglot/prototype/seed0", "--out", "b"]
    tiny = [*TINY]
    error = refused(capsys, "run", "omniglot", "teen", *tiny, *start, "--scenario.class_order", "5")
    assert "differs in base classes" in error
    error = refused(
        capsys, "run", "omniglot", "teen", *tiny, *start, "--model.backbone", "resnet20"
    )
    assert "differs in backbone: conv4" in error
    error = refused(capsys, "run", "omniglot", "teen", *TINY, "--start-from", "nowhere")
    assert "no finished base session" in error
    assert not (here / "b").exists()


def make_pictures(root: Path) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for class_id in range(4):
        (root / f"kind{class_id}").mkdir(parents=True)
        for index in range(10):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"kind{class_id}" / f"{index}.png")


def test_start_from_refuses_a_base_session_of_another_split(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # its training images are partly this run's test images
    make_pictures(here / "pictures")
    common = [
        "--scenario.root",
        "pictures",
        "--scenario.base_classes",
        "2",
        "--scenario.way",
        "2",
        "--scenario.shots",
        "3",
        "--scenario.image_size",
        "28",
        "--training.base_epochs",
        "1",
        "--device",
        "cpu",
    ]
    assert main(["run", "image_folder", "prototype", *common]) == 0
    start = ["--start-from", "runs/image_folder/prototype/seed0"]
    error = refused(capsys, "run", "image_folder", "teen", *common, *start, "--scenario.seed", "1")
    assert "differs in base training data" in error
    assert main(["run", "image_folder", "teen", *common, *start]) == 0


def test_start_from_and_resume_go_together(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    start = [*TINY, "--start-from", "runs/omniglot/prototype/seed0"]
    assert main(["run", "omniglot", "finetune", *start, "--out", "whole"]) == 0
    interrupt_after(monkeypatch, 1, KeyboardInterrupt())
    assert main(["run", "omniglot", "finetune", *start]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert main(["run", "omniglot", "finetune", *start, "--resume"]) == 0
    assert_equal_runs(here / "runs/omniglot/finetune/seed0", here / "whole/omniglot/finetune/seed0")


def test_a_seed_in_braces_gives_each_seed_its_own_base(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY, "--seed", "0", "1"]) == 0
    start = ["--start-from", "runs/omniglot/prototype/seed{seed}"]
    assert main(["run", "omniglot", "teen", *TINY, *start, "--seed", "0", "1"]) == 0
    assert "share" not in capsys.readouterr().out
    for seed in (0, 1):
        config = yaml.safe_load((here / f"runs/omniglot/teen/seed{seed}/config.yaml").read_text())
        assert config["start_from"] == str(here / f"runs/omniglot/prototype/seed{seed}")
