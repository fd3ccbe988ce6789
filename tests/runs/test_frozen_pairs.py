"""Every strategy gives the same figures with the feature bank and without it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import fitting, make_plugin, reads_text, tiny_model
from helpers.tiny_streams import make_stream

from cl_suite import registry
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.features.bank import banked_stream
from cl_suite.models.classifier import build_classifier
from cl_suite.randomness import seed_everything

BATCH = 16


def trains_the_backbone(name: str) -> bool:
    """Whether a frozen backbone contradicts the strategy: it puts trainable parts into it."""
    plugin = make_plugin(name)
    stream = fitting(make_stream(), name)
    config = dataclasses.replace(tiny_model(name), frozen=True)
    info = stream.info
    try:
        model = build_classifier(config, info.input_shape, info.num_classes, plugin)
    except ValueError:
        return True
    return any(p.requires_grad for p in model.backbone.parameters())


def train(name: str, folder: Path | None) -> tuple[Engine, torch.Tensor]:
    """Train on a frozen backbone, from the bank where a folder for it is given."""
    stream = fitting(make_stream(), name)
    plain = stream.info.eval_transform
    stream = stream.with_transforms(plain, plain)  # the bank leaves random augmentation out
    config = dataclasses.replace(tiny_model(name), frozen=True)
    settings = registry.get("strategy", name).settings.get("training") or {}
    recipe = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": BATCH, "lr": 0.02}
    own = {k: v for k, v in settings.items() if "epochs" not in k or v in (0, None)}
    seed_everything(0)
    plugin, info = make_plugin(name), stream.info
    model = build_classifier(config, info.input_shape, info.num_classes, plugin)
    if folder is not None:
        part = model.backbone.frozen_part(info.input_shape)
        stream = banked_stream(stream, part, folder=folder, batch_size=BATCH)
        model.backbone.enter_behind(part)
    training = TrainingConfig(**{**recipe, **own, "eval_batch_size": BATCH})
    engine = Engine(stream, model, plugin, training)
    for session in range(info.num_sessions):
        engine.train_session(session)
    confusions = [engine.evaluate(session) for session in range(info.num_sessions)]
    return engine, torch.stack(confusions)


@pytest.mark.parametrize("name", sorted(registry.entries("strategy")))
def test_the_bank_changes_no_figure(name: str, tmp_path: Path) -> None:
    if trains_the_backbone(name):
        pytest.skip("it trains the backbone, which the bank refuses")
    without, expected = train(name, None)
    banked, found = train(name, tmp_path)
    assert found.equal(expected)
    # features agree up to the kernels' rounding: a training batch mixes images that the bank
    # computes in another order and number, and convolutions round by the batch they are in
    rows = [engine.model.head.weight.detach() for engine in (without, banked)]
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-3, atol=1e-4)


def test_reading_text_goes_on_behind_the_bank() -> None:
    assert reads_text("zero_shot_clip")
    assert not trains_the_backbone("zero_shot_clip")
