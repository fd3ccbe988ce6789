"""A small network that is trained on a frozen one's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cl_suite
from cl_suite.errors import UserError
from cl_suite.models.adapters import LoRASettings, lora_parameters
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.encoder import adapt
from cl_suite.models.mlp_adapter import make_adapter
from cl_suite.models.settings import ModelConfig

TINY_VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
SHAPE = (3, 16, 16)
TINY: dict[str, Any] = {
    "model.backbone": "vit_tiny_patch16_224",
    "model.backbone_args": TINY_VIT | {"img_size": 28, "patch_size": 7},
    "model.adapter": "mlp:12,8",
    "scenario.base_classes": 12,
    "scenario.way": 115,
    "training.base_epochs": 1,
    "listeners": (),
}


def vit(**settings: Any) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(ModelConfig("vit_tiny_patch16_224", TINY_VIT, **settings), SHAPE, 4)


def learning(model: Classifier) -> set[str]:
    return {name for name, p in model.backbone.body.named_parameters() if p.requires_grad}


def test_the_layers_have_the_widths_and_no_relu_at_the_end() -> None:
    layers = list(make_adapter("mlp:256,128", 40))
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(layers[i].weight.shape) for i in (0, 2)] == [(256, 40), (128, 256)]  # type: ignore[arg-type]


def test_the_adapter_alone_is_trained() -> None:
    model = vit(adapter="mlp:12,8")
    assert model.feature_dim == 8
    assert learning(model) == {f"adapter.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")}
    assert not model.train().backbone.body.network.training  # type: ignore[union-attr]


def test_stored_features_of_the_network_give_what_images_give() -> None:
    model, frozen = vit(adapter="mlp:12,8"), vit(frozen=True)
    images = torch.randn(5, *SHAPE)
    part = model.eval().backbone.frozen_part(SHAPE)
    expected = model.features(images)
    stored = part(images)
    # the bank's rows serve both
    assert part.key() == frozen.backbone.frozen_part(SHAPE).key()
    assert stored.equal(frozen.features(images))
    model.backbone.enter_behind(part)
    assert model.features(stored).equal(expected)
    assert not model.backbone.is_passed_by


def test_low_rank_adapters_of_a_strategy_come_into_the_mlp_alone() -> None:
    model = vit(adapter="mlp:12,8")
    adapt(model, LoRASettings(rank=2))
    assert lora_parameters(model.backbone.body)
    assert all(name.startswith("adapter.") for name in learning(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adapter": "mlp:"}, "must be mlp: and one to eight widths.* got 'mlp:'"),
        ({"adapter": "mlp:12,0"}, "got 'mlp:12,0'"),
        ({"adapter": "lora:4"}, "got 'lora:4'"),
        ({"adapter": "mlp:8", "frozen": True}, "pass .*frozen=False"),
        ({"adapter": "mlp:8", "trained_blocks": 0}, "contradicts"),
        ({"adapter": "mlp:8", "lora_rank": 2}, "contradicts"),
    ],
)
def test_what_contradicts_it_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelConfig(**settings)


def test_a_run_trains_it_on_the_bank_and_its_model_comes_back(tmp_path: Path) -> None:
    options = TINY | {"model.bank_views": ["random:2"]}
    folder = cl_suite.run("omniglot", "finetune", out=tmp_path, **options)
    saved = cl_suite.load_model(folder)
    assert saved.classifier.feature_dim == 8
    assert saved.classifier(torch.zeros(1, *saved.input_shape)).shape == (1, 242)
    # another run starts from it, and one without an adapter is told of it
    later = {"model.weights": str(folder), "seed": 1}
    cl_suite.run("omniglot", "prototype", out=tmp_path, **options, **later)
    plain = {**options, **later, "model.adapter": None, "model.bank_views": []}
    with pytest.raises(UserError, match=r"has an adapter, so pass .*mlp:12,8"):
        cl_suite.run("omniglot", "finetune", out=tmp_path, **plain)
