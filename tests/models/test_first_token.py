"""The last block for the class token only: same features, same gradients, same names."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from cl_suite.models.adapters import LoRASettings, add_lora, lora_parameters
from cl_suite.models.first_token import FirstTokenBlock, read_first_token
from cl_suite.models.networks import Conv4
from cl_suite.models.stages import cut

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}


def vit(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    body: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, **{**SMALL, **settings}
    )
    return body.eval()


def gradients(body: nn.Module, x: Tensor) -> dict[str, Tensor]:
    body.zero_grad()
    body(x).square().sum().backward()
    return {n: p.grad.clone() for n, p in body.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "settings", [{}, {"qk_norm": True}, {"init_values": 0.1}, {"reg_tokens": 2}]
)
@pytest.mark.parametrize("lora", [(), ("*.q", "*.v"), ("*.qkv",)])
def test_features_and_gradients_stay_the_same(
    settings: dict[str, object], lora: tuple[str, ...]
) -> None:
    body, x = vit(**settings), torch.randn(4, 3, 16, 16)
    if lora:
        add_lora(body, LoRASettings(rank=2, targets=lora))
        for parameter in lora_parameters(body).values():
            nn.init.normal_(parameter, std=0.3)
    features, expected, names = body(x), gradients(body, x), list(body.state_dict())
    assert read_first_token(body)
    assert isinstance(body.blocks[-1], FirstTokenBlock)  # type: ignore[index]
    torch.testing.assert_close(body(x), features)
    found = gradients(body, x)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        # sums over fewer or more zeros round differently
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)
    assert list(body.state_dict()) == names
    assert read_first_token(body)  # once more changes nothing
    torch.testing.assert_close(body(x), features)


def test_it_is_still_cut_into_its_blocks() -> None:
    body, x = vit(), torch.randn(2, 3, 16, 16)
    read_first_token(body)
    stages = cut(body)
    assert stages.num_blocks == 3
    for k in range(4):
        assert stages.suffix(stages.prefix(x, k), k).equal(body(x))


@pytest.mark.parametrize(
    "body",
    [
        vit(global_pool="avg"),
        timm.create_model("deit_tiny_distilled_patch16_224", num_classes=0, **SMALL),
        Conv4(3),
    ],
)
def test_a_network_that_reads_more_is_left_as_it_is(body: nn.Module) -> None:
    parts = [type(part) for part in body.modules()]
    assert not read_first_token(body)
    assert [type(part) for part in body.modules()] == parts
