"""Joint training: the union of the data, from the initial weights."""

from __future__ import annotations

import torch
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.joint import JointPlugin, restore


def engine_with(plugin: JointPlugin) -> Engine:
    torch.manual_seed(0)
    stream = make_stream()
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = TrainingConfig(base_epochs=1, incremental_epochs=None, batch_size=16, lr=0.01)
    return Engine(stream, model, plugin, recipe)


def test_a_session_trains_on_everything_seen() -> None:
    engine, samples = engine_with(JointPlugin()), []
    engine.on_epoch = lambda record: samples.append(record.num_samples)
    for session in range(3):
        engine.train_session(session)
    assert samples == [48, 54, 60]


def test_kept_data_is_counted_in_samples_and_bytes() -> None:
    engine = engine_with(JointPlugin())
    for session in range(3):
        engine.train_session(session)
    assert engine.kept_data() == (60, 60 * 16 * 16)


def test_restart_begins_from_the_initial_weights() -> None:
    plugin = JointPlugin()
    engine = engine_with(plugin)
    start = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    engine.train_session(0)
    assert plugin.initial_ is not None
    restore(engine.model, plugin.initial_)
    assert all(v.equal(start[k]) for k, v in engine.model.backbone.state_dict().items())


def test_after_another_runs_base_session_it_still_restarts_from_the_untrained_weights() -> None:
    trained = engine_with(JointPlugin())
    trained.train_session(0)
    plugin = JointPlugin()
    engine = engine_with(plugin)
    started = Engine(engine.stream, engine.model, plugin, engine.training, start=trained.artefact)
    untrained = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    started.train_session(0)
    assert plugin.initial_ is not None
    assert all(plugin.initial_[f"backbone.{k}"].equal(v) for k, v in untrained.items())
    assert trained.artefact is not None
    loaded = engine.model.state_dict()
    assert all(loaded[k].equal(v) for k, v in trained.artefact.model.items())


def test_without_restart_no_copy_of_the_weights_is_kept() -> None:
    plugin = JointPlugin(restart=False)
    engine_with(plugin).train_session(0)
    assert plugin.initial_ is None
