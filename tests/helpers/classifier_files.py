"""A tiny classifier file and pictures in files, for the commands that use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cl_suite.cli import main
from helpers.learners import photo_folder, photo_learner, pictures, started, tiny_learner

BACKBONE = "test_efficientnet"  # timm's smallest, of 0.1 million parameters


def classifier_file(folder: Path, *, classes: int = 3, rule: str = "simple_cil") -> Path:
    """Write `a.clm`, which knows `class0`, ... from eight pictures each."""
    root = photo_folder(folder / "base", classes=classes, number=8)
    path = folder / "a.clm"
    photo_learner(root, rule).save(path)
    return path


def other_backbone(folder: Path) -> Path:
    """Write `other.clm`, which knows the same classes on another backbone."""
    root = photo_folder(folder / "elsewhere", classes=2, number=3)
    path = folder / "other.clm"
    started(tiny_learner(seed=1), root).save(path)
    return path


def picture_files(folder: Path, of: int, number: int = 4, seed: int = 5) -> list[str]:
    """Write pictures of class `of`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row, picture in enumerate(pictures(number, of=of, seed=seed)):
        path = folder / f"{of}_{row}.png"
        Image.fromarray(picture).save(path)
        paths.append(str(path))
    return paths


def weights_file(folder: Path) -> Path:
    """Write random weights for timm's smallest network."""
    import timm
    from safetensors.torch import save_file

    from cl_suite.randomness import seeded

    with seeded(0):
        model = timm.create_model(BACKBONE, pretrained=False, num_classes=0)
    path = folder / "weights.safetensors"
    save_file(model.state_dict(), path)
    return path


def done(*words: object) -> None:
    """Run a command that must succeed."""
    assert main([str(word) for word in words]) == 0


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was printed, an object of JSON a line."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
