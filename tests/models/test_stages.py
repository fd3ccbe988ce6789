"""Stages: a body cut anywhere and run in two parts equals the whole."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from cl_suite.models.networks import Conv4, ResNet20
from cl_suite.models.stages import cut


def timm_body(name: str, **settings: object) -> nn.Module:
    body: nn.Module = timm.create_model(name, num_classes=0, **settings)
    return body


SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}


class Opaque(nn.Module):
    """A body of no family."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)).relu()


BODIES = {
    "vit": (lambda: timm_body("vit_tiny_patch16_224", **SMALL_VIT), 4),
    "vit that averages": (
        lambda: timm_body("vit_tiny_patch16_224", **SMALL_VIT, global_pool="avg"),
        4,
    ),
    "deit": (lambda: timm_body("deit_tiny_patch16_224", **SMALL_VIT), 4),
    "deit distilled": (lambda: timm_body("deit_tiny_distilled_patch16_224", **SMALL_VIT), 4),
    "efficientnet": (lambda: timm_body("tf_efficientnet_lite0"), 16),
    "resnet": (lambda: timm_body("resnet18"), 8),
    "conv4": (lambda: Conv4(3), 4),
    "resnet20": (lambda: ResNet20(3), 9),
    "layers in a row": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(True), nn.Linear(8, 4)),
        4,
    ),
    "opaque": (Opaque, 1),
}
every_body = pytest.mark.parametrize("name", BODIES)


@every_body
def test_a_suffix_of_a_prefix_is_the_body_wherever_it_is_cut(name: str) -> None:
    torch.manual_seed(0)
    make, num_blocks = BODIES[name]
    body, x = make().eval(), torch.randn(2, 3, 32, 32)
    stages = cut(body)
    assert stages.num_blocks == num_blocks
    with torch.no_grad():
        expected = body(x)
        for k in range(num_blocks + 1):
            hidden = stages.prefix(x, k)
            kept = hidden.clone()
            assert stages.suffix(hidden, k).equal(expected), f"cut before block {k}"
            assert hidden.equal(kept), f"the suffix changed the values that it starts from at {k}"


@every_body
def test_every_tensor_belongs_to_the_piece_that_uses_it(name: str) -> None:
    torch.manual_seed(0)
    body, x = BODIES[name][0]().eval(), torch.randn(2, 3, 32, 32)
    stages = cut(body)
    for k in range(stages.num_blocks + 1):
        body.zero_grad()
        with torch.no_grad():
            hidden = stages.prefix(x, k)
        hidden.requires_grad_()  # a suffix may hold no tensor that learns
        stages.suffix(hidden, k).sum().backward()
        used = {n for n, p in body.named_parameters() if p.grad is not None}
        later = {n for n, _ in body.named_parameters() if stages.stage_of(n) >= k}
        # what no piece uses (a classifier of no rows, a mask token) has no gradient anywhere
        assert used <= later
        assert {n for n in later - used if stages.stage_of(n) < stages.num_blocks} == set()


def test_a_suffix_runs_with_tensors_of_another_network() -> None:
    torch.manual_seed(0)
    one, other = (timm_body("vit_tiny_patch16_224", **SMALL_VIT).eval() for _ in range(2))
    stages, x = cut(one), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = one(x)
        tensors = {f"body.{n}": t for n, t in other.state_dict().items() if stages.stage_of(n) >= 2}
        hidden = stages.prefix(x, 2)
        mixed = torch.func.functional_call(stages, tensors, (hidden, 2))
        assert mixed.equal(cut(other).suffix(hidden, 2))
        assert not mixed.equal(before)
        assert one(x).equal(before)


def test_a_body_with_its_own_way_through_the_blocks_is_one_block() -> None:
    class Backwards(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            for child in reversed(list(self)):
                x = child(x)
            return x

    assert cut(Backwards(nn.ReLU(), nn.Linear(4, 4))).num_blocks == 1


@every_body
def test_a_cut_walks_the_body_only_for_the_names_of_its_blocks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = BODIES[name][0]()
    walks: list[nn.Module] = []
    walk = nn.Module.named_modules
    monkeypatch.setattr(
        nn.Module, "named_modules", lambda self, *a, **k: walks.append(self) or walk(self, *a, **k)
    )
    stages = cut(body)
    stages.suffix(stages.prefix(torch.randn(2, 3, 32, 32), 1), 1)
    assert not walks
    assert len(stages.block_names) == stages.num_blocks > 0
    assert walks[0] is body
