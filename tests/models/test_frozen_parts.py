"""Frozen backbones and frozen prefixes: which parts stay fixed, and where features may enter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cl_suite.errors import UserError
from cl_suite.models.backbones import create_backbone
from cl_suite.models.classifier import build_classifier
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig

TINY_VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}
VIT = "vit_tiny_patch16_224"
SHAPE = (3, 16, 16)


def vit(**settings: Any) -> Any:
    torch.manual_seed(0)
    return build_classifier(ModelConfig(VIT, TINY_VIT, **settings), SHAPE, 4)


def test_only_the_last_blocks_and_what_follows_them_learn() -> None:
    model = vit(trained_blocks=1)
    learning = {n for n, p in model.backbone.body.named_parameters() if p.requires_grad}
    assert learning
    assert all(n.startswith(("blocks.2.", "norm.", "fc_norm.")) for n in learning)
    model.train()
    body = model.backbone.body
    assert body.blocks[2].training
    assert not any(part.training for part in (*body.blocks[0].modules(), body.patch_embed))


def test_batchnorm_below_the_trained_blocks_stays_still() -> None:
    model = build_classifier(ModelConfig("conv4", trained_blocks=1), (1, 28, 28), 4).train()
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    model(torch.randn(4, 1, 28, 28))
    changed = {k for k, v in model.backbone.state_dict().items() if not v.equal(before[k])}
    assert changed
    assert all(name.startswith("body.3.1.") for name in changed)


@pytest.mark.parametrize("trained_blocks", [0, 1, 3])
def test_features_from_the_frozen_prefix_equal_those_of_the_image(trained_blocks: int) -> None:
    model = vit(trained_blocks=trained_blocks).eval()
    images = torch.randn(5, *SHAPE)
    expected = model.features(images)
    part = model.backbone.frozen_part(SHAPE)
    hidden = part(images)
    assert hidden.dim() == 2
    model.backbone.enter_behind(part)
    assert model.features(hidden).equal(expected)


def test_a_frozen_backbone_hands_features_on() -> None:
    model = vit(frozen=True)
    images = torch.randn(5, *SHAPE)
    part = model.backbone.frozen_part(SHAPE)
    features = part(images)
    assert features.equal(model.features(images))
    model.backbone.enter_behind(part)
    assert model.features(features) is features


def test_a_prefix_is_known_by_its_own_tensors_alone() -> None:
    plain, adapted = vit(trained_blocks=1), vit(trained_blocks=1, lora_rank=2)
    key = plain.backbone.frozen_part(SHAPE).key()
    with torch.no_grad():
        plain.backbone.body.blocks[2].norm1.weight += 1
    assert plain.backbone.frozen_part(SHAPE).key() == key
    assert adapted.backbone.frozen_part(SHAPE).key() == key
    with torch.no_grad():
        plain.backbone.body.blocks[1].norm1.weight += 1
    assert plain.backbone.frozen_part(SHAPE).key() != key
    assert vit(trained_blocks=2).backbone.frozen_part(SHAPE).key() != key


def test_more_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"trained_blocks must lie in 0 to 3.* got 4"):
        vit(trained_blocks=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": True, "lora_rank": 4}, "contradicts"),
        ({"bank": True}, "nothing is frozen"),
        ({"bank_views": ["flip"]}, "bank_views"),
        ({"crop_fraction": 1.5}, "crop_fraction"),
        ({"image_size": 0}, "image_size"),
        ({"lora_rank": -1}, "lora_rank"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ModelConfig(**settings)


def test_other_image_sizes_than_the_weights_resample_the_position_embeddings(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    source = create_backbone(VIT, SHAPE, arguments=TINY_VIT)
    save_file(source.body.state_dict(), tmp_path / "w.safetensors")
    weights = str(tmp_path / "w.safetensors")
    larger = create_backbone(VIT, (3, 24, 24), arguments=TINY_VIT, weights=weights)
    assert larger.body.pos_embed.shape == (1, 1 + 36, 32)
    with evaluating(larger):
        assert larger(torch.randn(2, 3, 24, 24)).shape == (2, 32)
    same = create_backbone(VIT, SHAPE, arguments=TINY_VIT, weights=weights)
    assert same.body.pos_embed.equal(source.body.pos_embed)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="backbone_args"):
        create_backbone(VIT, SHAPE, arguments={"no_such_thing": 1})
    with pytest.raises(UserError, match="backbone_args are for timm"):
        create_backbone("conv4", (1, 28, 28), arguments={"width": 3})


def test_lora_by_settings_trains_adapters_in_the_last_blocks_alone() -> None:
    model = vit(lora_rank=2, trained_blocks=2)
    learning = [n for n, p in model.backbone.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in name for name in learning)
    assert {name.split("blocks.")[1][0] for name in learning} == {"1", "2"}
    trained, total = model.num_parameters()
    assert trained == 2 * 2 * 2 * (32 + 32)  # blocks, q and v, rank, both factors
    assert total > trained


def test_a_state_leaves_published_tensors_out_and_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = create_backbone(VIT, SHAPE, arguments=TINY_VIT)
    save_file(source.body.state_dict(), tmp_path / "w.safetensors")
    settings = {"weights": str(tmp_path / "w.safetensors"), "lora_rank": 2, "trained_blocks": 1}
    model, fresh = vit(**settings), vit(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
        model.backbone.body.norm.bias += 1.0  # frozen, and yet no longer as published
    state = model.trained_state()
    assert "backbone.body.norm.bias" in state
    assert not any("mlp" in name for name in state)
    fresh.load_trained_state(state)
    assert all(v.equal(model.state_dict()[k]) for k, v in fresh.state_dict().items())
    del state["backbone.body.norm.bias"]
    with pytest.raises(ValueError, match="does not belong"):
        fresh.load_trained_state({**state, "nonsense": torch.zeros(1)})


def test_a_random_networks_state_is_whole() -> None:
    model = vit(frozen=True)
    assert set(model.trained_state()) == set(model.state_dict())
