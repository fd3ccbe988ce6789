"""A finished model: only its trained tensors, and a check of the weights they rest on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.models.backbones import create_backbone
from cl_suite.models.classifier import build_classifier
from cl_suite.models.digest import weights_digest
from cl_suite.models.settings import ModelConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.model_file import prepares_as_backbone
from cl_suite.runs.saved_model import load_model, starting_state
from cl_suite.scenarios import Omniglot

TINY_VIT = {"img_size": 28, "patch_size": 14, "embed_dim": 32, "depth": 2, "num_heads": 2}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    source = create_backbone("vit_tiny_patch16_224", (1, 28, 28), arguments=TINY_VIT)
    save_file(source.body.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def run(tmp_path: Path, weights: Path, *arguments: str) -> RunFolder:
    settings = {
        "scenario.base_classes": "12",
        "scenario.way": "115",
        "training.base_epochs": "1",
        "model.backbone": "vit_tiny_patch16_224",
        "model.backbone_args": str(TINY_VIT),
        "model.weights": str(weights),
        "model.preprocessing": "scenario",
        "device": "cpu",
        "out": str(tmp_path / "runs"),
    }
    flat = [word for key, value in settings.items() for word in (f"--{key}", value)]
    assert main(["run", "omniglot", "teen", *flat, *arguments]) == 0
    return RunFolder(tmp_path / "runs/omniglot/teen/seed0")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model.frozen", "true", "--training.base_epochs", "0"),
        ("--model.lora_rank", "2", "--model.trained_blocks", "1"),
    ],
    ids=["frozen in the bank", "lora"],
)
def test_a_loaded_model_predicts_as_the_run_did(
    tmp_path: Path, weights: Path, arguments: tuple[str, ...]
) -> None:
    folder = run(tmp_path, weights, *arguments)
    saved = load_model(folder)
    stream = Omniglot(base_classes=12, way=115).build()
    images = stream.info.eval_transform(torch.cat([s.inputs for s in stream.test]))  # type: ignore[attr-defined]
    labels = torch.tensor([t for s in stream.test for t in s.targets])
    with torch.no_grad():
        hits = (saved.classifier(images).argmax(1) == labels).sum()
    assert hits == folder.read_hits().hits[-1].sum()
    assert saved.class_names == stream.info.class_names
    assert saved.preprocessing == stream.info.preprocessing


def test_only_what_was_trained_is_saved(tmp_path: Path, weights: Path) -> None:
    folder = run(tmp_path, weights, "--model.frozen", "true", "--training.base_epochs", "0")
    head_bytes = 242 * 32 * 4
    assert folder.model_file.stat().st_size < head_bytes + 30_000
    assert weights.stat().st_size > 2 * head_bytes


def test_other_backbone_weights_are_refused(tmp_path: Path, weights: Path) -> None:
    folder = run(tmp_path, weights, "--model.frozen", "true", "--training.base_epochs", "0")
    torch.manual_seed(1)
    other = create_backbone("vit_tiny_patch16_224", (1, 28, 28), arguments=TINY_VIT)
    save_file(other.body.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"needs other backbone weights than .*other"):
        load_model(folder, weights=str(tmp_path / "other.safetensors"))
    weights.rename(tmp_path / "moved.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        load_model(folder)
    assert load_model(folder, weights=str(tmp_path / "moved.safetensors"))


def test_an_unfinished_run_has_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no finished model; continue it with --resume"):
        load_model(RunFolder(tmp_path))


def test_a_run_begins_at_the_backbone_of_another(tmp_path: Path, weights: Path) -> None:
    first = run(tmp_path, weights, "--training.incremental_epochs", "0")
    learned = load_model(first).classifier.backbone
    of_run = ModelConfig(weights=str(first.path), backbone="vit_tiny_patch16_224")
    begun = create_backbone(
        "vit_tiny_patch16_224",
        (1, 28, 28),
        weights=of_run.weights,
        arguments=TINY_VIT,
        start=starting_state(of_run),
    )
    expected = learned.body.state_dict()
    assert all(v.equal(expected[k]) for k, v in begun.body.state_dict().items())
    published = create_backbone(
        "vit_tiny_patch16_224", (1, 28, 28), weights=str(weights), arguments=TINY_VIT
    )
    assert begun.weights == weights_digest(learned.body) != published.weights
    # as the run prepared its images, whatever the backbone's own way
    assert not prepares_as_backbone(of_run)
    assert prepares_as_backbone(ModelConfig(weights=str(weights)))


def test_a_folder_that_is_no_run_and_a_backbone_of_another_kind_are_refused(
    tmp_path: Path, weights: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty' is not a run folder; pass one such as"):
        starting_state(ModelConfig(weights=str(tmp_path / "empty")))
    first = run(tmp_path, weights, "--training.incremental_epochs", "0")
    other = ModelConfig(weights=str(first.path))
    with pytest.raises(UserError, match="does not fit backbone 'conv4'"):
        build_classifier(other, (1, 28, 28), start=starting_state(other))
