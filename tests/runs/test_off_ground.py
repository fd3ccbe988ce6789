"""A run on other ground than its strategy is meant for says so once, and goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream

import cl_suite
from cl_suite.runs import stream_run as run_module
from cl_suite.runs.listener import Listener

VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 1}


class Hearing(Listener):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def says(self, text: str) -> None:
        self.texts.append(text)


def run_coact(
    base_shots: int, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[str], dict[str, Any]]:
    """Run coact on a tiny stream; return its words on what it is meant for, and run.json."""
    stream = make_stream(((0, 1), (2,)), base_shots=base_shots)
    monkeypatch.setattr(run_module, "build_stream", lambda config: stream)
    hearing = Hearing()
    settings: dict[str, Any] = {
        "model.backbone": "vit_tiny_patch16_224",
        "model.backbone_args": VIT,
        "training.base_epochs": 1,
        "training.lr": 0.01,
        "strategy.contrastive_weight": 0,
    }
    folder = cl_suite.run(
        "omniglot", "coact", out=out, device="cpu", listeners=[hearing], **settings | options
    )
    found = [text for text in hearing.texts if "is meant for" in text]
    return found, json.loads((Path(folder) / "run.json").read_text("utf-8"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a file of weights for the tiny transformer."""
    from safetensors.torch import save_file
    from timm import create_model

    torch.manual_seed(0)
    network = create_model("vit_tiny_patch16_224", num_classes=0, in_chans=1, **VIT)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


def test_coact_says_that_100_images_a_class_are_not_its_ground(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, kept = run_coact(100, tmp_path, monkeypatch, **{"model.weights": str(weights)})
    sentence = (
        "coact is meant for base sessions of at most 32 images a class; here the base session has "
        "100 images a class"
    )
    assert said == [f"note: {sentence}"]
    assert kept["off_ground"] == sentence
    assert kept["finished"]


def test_coact_says_nothing_on_a_few_shot_base_session(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, kept = run_coact(10, tmp_path, monkeypatch, **{"model.weights": str(weights)})
    assert (said, kept["off_ground"]) == ([], None)


def test_coact_says_that_it_wants_a_pretrained_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (said,), _ = run_coact(10, tmp_path, monkeypatch)
    assert said == (
        "note: coact is meant for pretrained networks; here the network starts at random weights"
    )
