"""Biases of the class token: how many, where they act, and on which networks."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from cl_suite.errors import UserError
from cl_suite.models.class_token import (
    ClassTokenBias,
    add_class_token_biases,
    class_token_biases,
)
from cl_suite.models.stages import cut

SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def small(**more: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, **{**SMALL, **more}).eval()


def test_a_vit_tiny_gets_7104_numbers() -> None:
    body = timm.create_model("deit_tiny_patch16_224", num_classes=0)
    add_class_token_biases(body)
    learning = [p for p in body.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learning) == 37 * 192 == 7104
    assert {id(p) for p in learning} == {id(p) for p in class_token_biases(body)}


def test_a_fresh_network_is_untouched_bit_for_bit() -> None:
    body = small()
    with torch.no_grad():
        before = body(IMAGES)
        assert add_class_token_biases(body)
        assert body(IMAGES).equal(before)


def test_only_the_class_tokens_rows_change() -> None:
    body = small()
    add_class_token_biases(body)
    layer = body.blocks[1].attn.qkv
    assert isinstance(layer, ClassTokenBias)
    tokens = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = layer.layer(tokens)
        layer.bias += torch.arange(72.0)
        after = layer(tokens)
    assert after[:, 1:].equal(before[:, 1:])
    torch.testing.assert_close(after[:, 0], before[:, 0] + torch.arange(72.0))


@pytest.mark.parametrize("part", ["query", "key", "value", "input"])
def test_each_bias_reaches_the_feature(part: str) -> None:
    body = small()
    add_class_token_biases(body)
    with torch.no_grad():
        before = body(IMAGES)
        noise = torch.randn(24, generator=torch.Generator().manual_seed(0))
        if part == "input":
            body.norm_pre.bias += noise
        else:
            first = 24 * ["query", "key", "value"].index(part)
            body.blocks[1].attn.qkv.bias[first : first + 24] += noise
        assert (body(IMAGES) - before).abs().max() > 1e-3


def test_it_can_still_be_cut_into_its_blocks() -> None:
    body = small()
    add_class_token_biases(body)
    with torch.no_grad():
        for bias in class_token_biases(body):
            bias += 0.1
        stages = cut(body)
        for block in range(4):
            hidden = stages.prefix(IMAGES, block)
            torch.testing.assert_close(stages.suffix(hidden, block), body(IMAGES))


def test_a_second_call_changes_nothing() -> None:
    body = small()
    add_class_token_biases(body)
    names = list(body.state_dict())
    assert not add_class_token_biases(body)
    assert list(body.state_dict()) == names


def test_mode_and_device_stay() -> None:
    body = small().train()
    add_class_token_biases(body)
    assert all(part.training for part in body.modules())


@pytest.mark.parametrize(
    "body",
    [
        nn.Linear(2, 2),
        timm.create_model("vit_tiny_patch16_224", class_token=False, global_pool="avg", **SMALL),
    ],
    ids=["linear", "no class token"],
)
def test_other_networks_are_refused(body: nn.Module) -> None:
    with pytest.raises(
        UserError, match=r"need one of timm's vision transformers that has one, got"
    ):
        add_class_token_biases(body)
