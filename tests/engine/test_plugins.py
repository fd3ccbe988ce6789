"""The engine's plugins in the training loop: what they prepare before each epoch."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import ModelConfig, build_classifier
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything


class Waking(StrategyPlugin):
    """Puts the whole network in train mode after each epoch, as an evaluation within might."""

    def after_training_epoch(self, template: Any, **kwargs: Any) -> None:
        template.model.train()


def statistics(engine: Engine) -> dict[str, Tensor]:
    buffers = engine.model.named_buffers()
    return {name: value.clone() for name, value in buffers if "running_" in name}


@pytest.mark.parametrize("session", [0, 1])
def test_batchnorm_stays_still_in_every_epoch_though_the_network_wakes_between_them(
    session: int,
) -> None:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = TrainingConfig(
        base_epochs=3,
        incremental_epochs=3,
        base_batchnorm="train" if session else "eval",
        incremental_batchnorm="eval",
    )
    engine = Engine(stream, model, Waking(), recipe)
    for earlier in range(session):
        engine.train_session(earlier)
    before, weights = statistics(engine), [p.clone() for p in model.backbone.parameters()]
    engine.train_session(session)
    assert not all(p.equal(w) for p, w in zip(model.backbone.parameters(), weights, strict=True))
    assert before
    assert all(value.equal(before[name]) for name, value in statistics(engine).items())
