"""A run of version 0.1.0 stays usable: shown, started from, and loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from cl_suite import load_model
from cl_suite.cli import main
from cl_suite.runs.folder import RunFolder

STORED = Path(__file__).parents[1] / "fixtures" / "run_0_1_0"
SETTINGS = [
    *("--scenario.base_classes", "12", "--scenario.way", "115"),
    *("--model.backbone", "vit_tiny_patch16_224", "--device", "cpu"),
    "--model.backbone_args={img_size: 28, patch_size: 14, embed_dim: 16, depth: 1, num_heads: 2}",
]


@pytest.fixture
def older(tmp_path: Path) -> Path:
    shutil.copytree(STORED, tmp_path / "older")
    return tmp_path / "older/omniglot/teen/seed0"


def test_its_figures_are_shown(older: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(older)]) == 0
    out = capsys.readouterr().out
    assert "harmonic mean 0.69 %" in " ".join(out.split())


def test_its_model_is_loaded(older: Path) -> None:
    saved = load_model(RunFolder(older))
    assert len(saved.class_names) == 242
    assert saved.classifier(torch.zeros(2, *saved.input_shape)).shape == (2, 242)


@pytest.mark.parametrize("option", ["--start-from", "--model.weights"])
def test_another_run_begins_with_it(older: Path, tmp_path: Path, option: str) -> None:
    out = ["--out", str(tmp_path / "runs"), "--training.base_epochs", "1"]
    assert main(["run", "omniglot", "prototype", *SETTINGS, option, str(older), *out]) == 0
    begun = RunFolder(tmp_path / "runs/omniglot/prototype/seed0")
    first, second = (load_model(folder).classifier for folder in (RunFolder(older), begun))
    same = first.backbone.body.state_dict()["blocks.0.attn.qkv.weight"].equal(
        second.backbone.body.state_dict()["blocks.0.attn.qkv.weight"]
    )
    assert same == (option == "--start-from")  # the other trains on
