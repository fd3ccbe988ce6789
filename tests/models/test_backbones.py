"""Backbones: published sizes, frozen ones stay still, weights come from files safely."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cl_suite.errors import UserError
from cl_suite.models.backbones import create_backbone
from cl_suite.models.classifier import build_classifier
from cl_suite.models.preprocessing import backbone_preprocessing
from cl_suite.models.settings import ModelConfig


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "dim"),
    [
        ("conv4", (1, 28, 28), 111_936, 64),
        ("resnet20", (3, 32, 32), 271_824, 64),
        ("resnet18", (3, 84, 84), 11_176_512, 512),
        ("identity", (7,), 0, 7),
    ],
)
def test_published_sizes(name: str, shape: tuple[int, ...], parameters: int, dim: int) -> None:
    backbone = create_backbone(name, shape)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert backbone.dim == dim


def test_a_frozen_backbone_stays_in_eval_mode_and_has_no_gradient() -> None:
    model = build_classifier(ModelConfig(frozen=True), (1, 28, 28), 3)
    model.train()
    assert model.training
    assert not any(part.training for part in model.backbone.modules())
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"backbone 'resnet81' is unknown; did you mean 'resnet"):
        create_backbone("resnet81", (3, 32, 32))


def test_an_input_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match=r"conv4' cannot take inputs"):
        create_backbone("conv4", (1, 8, 8))


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = create_backbone("conv4", (1, 28, 28))
    save_file(source.body.state_dict(), tmp_path / "w.safetensors")
    loaded = create_backbone("conv4", (1, 28, 28), weights=str(tmp_path / "w.safetensors"))
    assert all(v.equal(source.state_dict()[k]) for k, v in loaded.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    source = create_backbone("resnet20", (3, 32, 32))
    save_file(source.body.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"does not fit backbone 'conv4'"):
        create_backbone("conv4", (1, 28, 28), weights=str(tmp_path / "w.safetensors"))


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x80\x04 a pickle, perhaps")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        create_backbone("conv4", (1, 28, 28), weights=str(tmp_path / "w.safetensors"))


def test_weights_that_cannot_be_had_say_how_to_pass_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import timm

    def offline(*_: object, pretrained: bool = False, **__: object) -> None:
        raise OSError("We couldn't connect to the hub\nand more lines")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"not be downloaded .*pass a file with model\.weights="):
        create_backbone("resnet18", (3, 84, 84), pretrained=True)


def test_an_own_backbone_has_no_published_weights() -> None:
    with pytest.raises(UserError, match="no published weights"):
        create_backbone("conv4", (1, 28, 28), pretrained=True)


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_tag_that_timm_does_not_have_is_refused_with_one_that_it_has(pretrained: bool) -> None:
    with pytest.raises(UserError, match=r"'resnet18' has no published weights 'nope'.*'resnet18\."):
        create_backbone("resnet18.nope", (3, 32, 32), pretrained=pretrained)
    with pytest.raises(UserError, match="has no published weights 'nope'"):
        backbone_preprocessing("resnet18.nope")


def test_a_tag_that_timm_has_makes_the_network() -> None:
    assert create_backbone("resnet18.a1_in1k", (3, 32, 32)).dim == 512


@pytest.mark.parametrize(
    "name",
    [
        "clip:/no/such/folder",
        "clip:./nothere",
        "clip:a/b/c",
        "clip:~/nothere",
        "clip:",
        "wav2vec2:../x",
        "whisper:../x",
    ],
)
def test_a_published_models_folder_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(UserError, match=r"folder '.*' does not exist; pass a folder with config"):
        create_backbone(name, (3, 32, 32), pretrained=True)
    if name.startswith("clip:"):
        with pytest.raises(UserError, match="does not exist"):
            backbone_preprocessing(name)


def test_weights_of_a_clip_that_are_no_folder_are_told_before_preprocessing() -> None:
    with pytest.raises(UserError, match=r"weights '/no/such' of backbone .* is not a folder"):
        backbone_preprocessing("clip:openai/clip-vit-base-patch16", weights="/no/such")


@pytest.mark.parametrize("content", ["{", "[]", "[" * 3000])
def test_a_damaged_description_of_preprocessing_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(UserError, match=r"preprocessor_config\.json' of CLIP model"):
        backbone_preprocessing(f"clip:{tmp_path}")
