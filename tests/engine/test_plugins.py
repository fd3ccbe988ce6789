"""The engine's plugins in the training loop: what they prepare before each epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.backbones import Backbone
from cl_suite.models.classifier import ModelConfig, build_classifier
from cl_suite.models.digest import state_digest
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything
from cl_suite.strategies import RanPACPlugin, TEENPlugin


class Waking(StrategyPlugin):
    """Puts the whole network in train mode after each epoch, as an evaluation within might."""

    def after_training_epoch(self, template: Any, **kwargs: Any) -> None:
        template.model.train()


def test_the_backbone_is_read_once_for_whoever_may_have_changed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the base session after training, for the statistics, and after the strategy."""
    stream, plugin = make_stream(), TEENPlugin()
    model = build_classifier(
        ModelConfig(), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe = TrainingConfig(base_epochs=1, incremental_epochs=0)
    engine = Engine(stream, model, plugin, recipe)
    reads = 0

    def counting(module: nn.Module) -> bytes:
        nonlocal reads
        reads += 1
        return state_digest(module)

    monkeypatch.setattr("cl_suite.features.source.state_digest", counting)
    found = []
    for session in range(3):
        reads = 0
        engine.train_session(session)
        found.append(reads)
    assert found == [3, 1, 1]


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


class FlatNorm(nn.Module):
    """A body that ends in BatchNorm on one value per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.BatchNorm1d(64))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def engine_on(sizes: list[int], recipe: TrainingConfig) -> tuple[Engine, list[int]]:
    """Return an engine on sessions of one class with these sizes, and the sizes of its batches."""
    seen: list[int] = []

    class Spy(StrategyPlugin):
        def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
            seen.append(len(template.mb_y))

    stream = make_stream([[i] for i in range(len(sizes))])
    train = [s.select(range(n)) for s, n in zip(stream.train, sizes, strict=True)]
    stream = replace(stream, train=train)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    model.backbone = Backbone(FlatNorm(), 64)
    return Engine(stream, model, Spy(), recipe), seen


def test_a_last_sample_that_batchnorm_cannot_use_alone_is_left_out_of_the_epoch() -> None:
    engine, seen = engine_on([5], TrainingConfig(base_epochs=1, batch_size=4))
    engine.train_session(0)
    assert seen == [4]


def test_a_last_sample_is_used_if_batchnorm_is_still() -> None:
    recipe = TrainingConfig(base_epochs=1, batch_size=4, base_batchnorm="eval")
    engine, seen = engine_on([5], recipe)
    engine.train_session(0)
    assert seen == [4, 1]


def test_a_session_of_one_sample_is_refused_if_batchnorm_trains() -> None:
    recipe = TrainingConfig(
        base_epochs=1, incremental_epochs=1, batch_size=4, incremental_batchnorm="train"
    )
    engine, _ = engine_on([4, 1], recipe)
    engine.train_session(0)
    with pytest.raises(
        UserError, match=r"session 1 has one .*training\.incremental_batchnorm='eval'"
    ):
        engine.train_session(1)


def test_batches_of_one_are_refused_if_batchnorm_trains() -> None:
    engine, _ = engine_on([4], TrainingConfig(base_epochs=1, batch_size=1))
    with pytest.raises(UserError, match=r"^training\.batch_size is 1, .* pass at least 2"):
        engine.train_session(0)


def test_a_strategy_of_features_ends_in_a_sentence_after_divergence() -> None:
    stream = make_stream()
    plugin = RanPACPlugin(num_projections=0, ridge=1.0)
    model = build_classifier(
        ModelConfig(), stream.info.input_shape, stream.info.num_classes, plugin
    )
    engine = Engine(stream, model, plugin, TrainingConfig(base_epochs=2, lr=1e30))
    with pytest.raises(UserError, match=r"features are not finite.*training\.lr"):
        engine.train_session(0)
