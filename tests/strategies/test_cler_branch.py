"""CLER: the pretext branch by itself."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from helpers.tiny_cler import differences, engine_with, ready_model
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.engine.training import TrainingConfig
from cl_suite.methods.pretext.branch import untracked
from cl_suite.models.classifier import build_classifier
from cl_suite.models.modes import batchnorms
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.cler import CLERPlugin


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"pretext": "jigsaw"}, 3.178054),
        ({"pretext": "rotation"}, 1.386294),
        ({"pretext": "jigsaw", "patches": 9}, math.log(100)),
        ({"pretext": "jig_rot"}, (math.log(23) + math.log(4)) / 2),
        ({"pretext": "rotation", "branch": "features"}, 1.386294),
    ],
)
def test_untrained_heads_of_zero_weight_lose_the_logarithm_of_the_number_of_labels(
    parameters: dict[str, Any], expected: float
) -> None:
    plugin = CLERPlugin(host="finetune", **parameters)
    model = ready_model(plugin)
    for head in model.pretext.heads:  # type: ignore[union-attr]
        nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    loss = plugin.pretext_loss(model, torch.rand(5, 1, 16, 16))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("backbone", ["conv4", "resnet20", "resnet18", "vit_tiny_patch16_224"])
def test_the_gradient_reaches_the_shared_blocks_neither_the_last_one_nor_the_head(
    backbone: str,
) -> None:
    plugin = CLERPlugin(host="finetune")
    stream = make_stream(size=32)
    model = build_classifier(ModelConfig(backbone=backbone, head="linear"), (1, 32, 32), 4, plugin)
    model.head.grow(range(4))
    last = {"conv4": "3", "resnet20": "11", "resnet18": "layer4.1"}.get(backbone, "blocks.11")
    before = {"conv4": "2", "resnet20": "10", "resnet18": "layer4.0"}.get(backbone, "blocks.10")
    images = stream.info.eval_transform(stream.train[0].inputs[:6])  # type: ignore[attr-defined]
    plugin.pretext_loss(model.train(), images).backward()

    def gradients(of: nn.Module) -> list[Tensor | None]:
        return [parameter.grad for parameter in of.parameters()]

    body = model.backbone.body
    assert all(g is None for g in gradients(body.get_submodule(last)))
    assert all(g is None for g in gradients(model.head))
    assert any(g is not None and g.any() for g in gradients(body.get_submodule(before)))
    assert all(g is not None for g in gradients(model.pretext))  # type: ignore[arg-type]


def test_only_the_private_part_averages_what_the_pretext_pass_shows_it() -> None:
    plugin = CLERPlugin(host="finetune")
    model = ready_model(plugin)
    before = {name: value.clone() for name, value in model.named_buffers()}
    images = torch.rand(6, 1, 16, 16)
    plugin.pretext_loss(model, images)
    moved = {name for name, value in model.named_buffers() if not value.equal(before[name])}
    assert moved == {
        f"pretext.body.3.1.{name}"
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    model.features(images)
    after = dict(model.named_buffers())
    assert not after["backbone.body.0.1.running_mean"].equal(
        before["backbone.body.0.1.running_mean"]
    )


def test_in_the_pretext_pass_images_are_normalised_by_their_own_statistics() -> None:
    model = ready_model(CLERPlugin(host="finetune"))
    images = torch.rand(6, 1, 16, 16)
    own = model.features(images)
    with untracked(model.backbone):
        torch.testing.assert_close(model.features(images), own)
    assert all(layer.track_running_stats for layer in batchnorms(model))


def test_the_private_part_starts_as_the_last_block_and_shares_no_tensor_with_it() -> None:
    model = ready_model(CLERPlugin(host="finetune", private_blocks=2))
    own, last = dict(model.pretext.named_parameters()), dict(model.backbone.named_parameters())  # type: ignore[operator]
    copied = {name for name in own if name.startswith("body.")}
    assert {name.split(".")[1] for name in copied} == {"2", "3"}
    for name in copied:
        assert own[name].equal(last[name])
        assert own[name] is not last[name]


def test_predictions_do_not_depend_on_the_branch() -> None:
    model = ready_model(CLERPlugin(host="finetune")).eval()
    images = torch.rand(3, 1, 16, 16)
    before = model(images)
    for parameter in model.pretext.parameters():  # type: ignore[union-attr]
        nn.init.constant_(parameter, math.nan)
    assert model(images).equal(before)


def test_preparing_twice_changes_nothing() -> None:
    plugin = CLERPlugin(host="finetune")
    model = ready_model(plugin)
    before = copy.deepcopy(model.state_dict())
    random, own = torch.get_rng_state(), plugin.random_
    plugin.prepare_model(model)
    assert list(model.state_dict()) == list(before)
    assert differences(model, before) == []
    assert plugin.random_ is own
    assert torch.get_rng_state().equal(random)


def test_the_pretext_task_is_learned() -> None:
    plugin = CLERPlugin(host="finetune", pretext="rotation")
    engine = engine_with(plugin)
    images = engine.stream.info.eval_transform(engine.stream.train[0].inputs)  # type: ignore[attr-defined]
    optimizer = torch.optim.SGD(engine.model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        plugin.pretext_loss(engine.model.train(), images).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(plugin.pretext_loss(engine.model, images)) < 0.5 * math.log(4)


def test_bfloat16_reaches_the_pretext_pass() -> None:
    kinds: list[torch.dtype] = []
    engine = engine_with(CLERPlugin(host="finetune"))
    engine.context.training = TrainingConfig(
        base_epochs=1, batch_size=16, lr=0.02, precision="bfloat16"
    )
    layer: nn.Module = engine.model.pretext.body[3][0]  # type: ignore[index, union-attr, assignment]
    layer.register_forward_hook(lambda *call: kinds.append(call[2].dtype))
    engine.train_session(0)
    assert set(kinds) == {torch.bfloat16}


def test_a_backbone_that_is_not_cut_can_be_taught_from_its_features() -> None:
    plugin = CLERPlugin(host="finetune", branch="features")
    config = ModelConfig(backbone="convnext_atto")
    model = build_classifier(config, (1, 32, 32), 4, plugin)
    plugin.pretext_loss(model, torch.rand(2, 1, 32, 32)).backward()
    assert any(p.grad is not None for p in model.backbone.parameters())
