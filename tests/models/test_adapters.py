"""Adapters: published sizes, a fresh one changes nothing, and only adapters learn."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.models.adapters import (
    LoRASettings,
    SplitQKV,
    adapting,
    add_lora,
    count_parameters,
    lora_parameters,
    without_adapters,
)
from cl_suite.models.networks import Conv4


def small_vit(depth: int = 4) -> nn.Module:
    body: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        img_size=16,
        patch_size=4,
        embed_dim=32,
        depth=depth,
        num_heads=2,
    )
    return body


def targets_of(body: nn.Module) -> list[str]:
    return sorted({name.split(".lora_")[0] for name in lora_parameters(body)})


def wake(body: nn.Module) -> None:
    """Give every adapter an effect."""
    for parameter in lora_parameters(body).values():
        nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize(("start", "expected"), [(0, 589_824), (-6, 294_912)])
def test_o1_numbers_of_a_vit_base_with_adapters_on_query_and_value(
    start: int, expected: int
) -> None:
    with torch.device("meta"):  # sizes alone
        body = timm.create_model("vit_base_patch16_224", num_classes=0)
        per_block = sum(p.numel() for p in body.blocks[0].parameters())
        before = count_parameters(body)[1]
        add_lora(body, LoRASettings(start=start))
    assert per_block == 7_087_872
    assert count_parameters(body) == (expected, before + expected)
    one = [p.numel() for n, p in lora_parameters(body).items() if ".11.attn.qkv.q." in n]
    assert sum(one) == 24_576
    assert all(n.split(".lora_")[0].endswith((".q", ".v")) for n in lora_parameters(body))


def test_splitting_a_fused_projection_changes_no_value() -> None:
    torch.manual_seed(0)
    fused, x = nn.Linear(32, 96), torch.randn(5, 7, 32)
    # three products of a third of the rows may round differently from one
    torch.testing.assert_close(SplitQKV(fused)(x), fused(x))


@pytest.mark.parametrize("make", [small_vit, lambda: Conv4(1)])
def test_a_fresh_adapter_changes_nothing(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    body, x = make().eval(), torch.randn(3, 1 if make is not small_vit else 3, 16, 16)
    with torch.no_grad():
        before = body(x)
        add_lora(body, LoRASettings(rank=4))
        after = body(x)
        torch.testing.assert_close(after, before)
        with without_adapters(body):
            assert body(x).equal(after)


def test_switching_adapters_off_touches_no_gradient_and_is_undone() -> None:
    torch.manual_seed(0)
    body, x = small_vit().eval(), torch.randn(3, 3, 16, 16)
    add_lora(body, LoRASettings(rank=4))
    with torch.no_grad():
        plain = body(x)
        wake(body)
        awake = body(x)
        with without_adapters(body):
            assert body(x).equal(plain)
            assert all(p.requires_grad for p in lora_parameters(body).values())
        assert body(x).equal(awake)
    assert not awake.equal(plain)


def test_only_adapters_learn() -> None:
    body = small_vit()
    body.blocks[0].requires_grad_(False)  # type: ignore[index]
    add_lora(body, LoRASettings(rank=4))
    trainable = {n for n, p in body.named_parameters() if p.requires_grad}
    assert trainable == set(lora_parameters(body))


def test_adding_twice_is_adding_once() -> None:
    body = small_vit()
    assert add_lora(body, LoRASettings(rank=4))
    before = {k: v.clone() for k, v in body.state_dict().items()}
    assert not add_lora(body, LoRASettings(rank=8))
    assert {k: v.shape for k, v in body.state_dict().items()} == {
        k: v.shape for k, v in before.items()
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (LoRASettings(start=-1), ["blocks.3.attn.qkv.q", "blocks.3.attn.qkv.v"]),
        (LoRASettings(start=1, stop=2), ["blocks.1.attn.qkv.q", "blocks.1.attn.qkv.v"]),
        (LoRASettings(start=3, targets=("*.mlp.fc?",)), ["blocks.3.mlp.fc1", "blocks.3.mlp.fc2"]),
        (LoRASettings(start=3, targets=("*.qkv",)), ["blocks.3.attn.qkv"]),
        (LoRASettings(start=3, targets=("*.k",)), ["blocks.3.attn.qkv.k"]),
    ],
)
def test_patterns_and_blocks_choose_the_layers(settings: LoRASettings, expected: list[str]) -> None:
    body = small_vit()
    add_lora(body, settings)
    assert targets_of(body) == expected


def test_convolutions_of_a_mobile_network_get_adapters_unless_grouped() -> None:
    body = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    add_lora(body, LoRASettings(rank=2, start=-1))
    assert targets_of(body) == ["blocks.6.0.conv_pw", "blocks.6.0.conv_pwl"]


def test_a_body_without_convolutions_gets_adapters_on_linear_layers() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4))
    add_lora(body, LoRASettings(rank=2))
    assert targets_of(body) == ["1", "3"]


def test_excluded_layers_get_none() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 4))
    add_lora(body, LoRASettings(rank=2, exclude=("3",)))
    assert targets_of(body) == ["1"]


def test_a_root_stabilised_scale_is_larger() -> None:
    def effect(rslora: bool) -> Tensor:
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(8, 4))
        add_lora(body, LoRASettings(rank=4, alpha=4, rslora=rslora))
        wake(body)
        x = torch.randn(2, 8)
        with torch.no_grad(), without_adapters(body):
            plain = body(x)
        return body(x).detach() - plain

    torch.testing.assert_close(effect(True), 2 * effect(False))  # alpha / sqrt(4) beside alpha / 4


def test_adapting_keeps_the_frozen_part_still_and_restores_modes() -> None:
    torch.manual_seed(0)
    body, x = Conv4(1), torch.randn(3, 1, 16, 16)
    add_lora(body, LoRASettings(rank=4, dropout=0.5))
    wake(body)
    body[2].eval()
    modes = [part.training for part in body.modules()]
    statistics = {k: v.clone() for k, v in body.state_dict().items() if "running" in k}
    with adapting(body):
        noisy = [body(x) for _ in range(2)]
    with adapting(body, dropout=False):
        still = [body(x) for _ in range(2)]
    assert not noisy[0].equal(noisy[1])
    assert still[0].equal(still[1])
    assert [part.training for part in body.modules()] == modes
    assert all(body.state_dict()[k].equal(v) for k, v in statistics.items())


def test_no_layer_to_adapt_is_refused_with_a_remedy() -> None:
    with pytest.raises(UserError, match=r"targets \['\*\.nothing'\].*name linear or convol"):
        add_lora(small_vit(), LoRASettings(targets=("*.nothing",)))
    with pytest.raises(UserError, match="rank must be at least 1, got 0"):
        add_lora(small_vit(), LoRASettings(rank=0))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("qkv", ["blocks.3.attn.qkv"]),
        ("attn.qkv", ["blocks.3.attn.qkv"]),
        ("k", ["blocks.3.attn.qkv.k"]),
        ("kv", None),
    ],
)
def test_a_target_is_the_end_of_a_name_as_in_peft(target: str, expected: list[str] | None) -> None:
    body = small_vit()
    if expected is None:
        with pytest.raises(UserError, match=r"'blocks\.3\.attn\.qkv' or 'blocks\.3\.attn\.proj'"):
            add_lora(body, LoRASettings(start=3, targets=(target,)))
    else:
        add_lora(body, LoRASettings(start=3, targets=(target,)))
        assert targets_of(body) == expected


def test_all_linear_names_every_linear_layer() -> None:
    body = small_vit()
    add_lora(body, LoRASettings(start=3, targets=("all-linear",)))
    names = ["attn.proj", "attn.qkv", "mlp.fc1", "mlp.fc2"]
    assert targets_of(body) == [f"blocks.3.{name}" for name in names]
