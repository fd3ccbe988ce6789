"""Joint training: the union of the data, from the initial weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from helpers.tiny_streams import make_samples, make_stream

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.finetune import FinetunePlugin
from cl_suite.strategies.joint import JointPlugin, balanced_epoch, restore


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


def test_a_balanced_epoch_has_as_many_samples_of_each_class() -> None:
    labels = [0] * 20 + [1] * 3 + [2] * 4
    rows = balanced_epoch(labels)
    assert len(rows) == 27
    counts = Counter(labels[row] for row in rows)
    assert sorted(counts.values()) == [9, 9, 9]
    assert len({row for row in rows if row < 20}) == 9  # of a large class none twice
    # all three of a small one come three times
    assert Counter(row for row in rows if labels[row] == 1) == dict.fromkeys((20, 21, 22), 3)
    few = [0, 0, 1, 2]
    assert sorted(Counter(few[row] for row in balanced_epoch(few)).values()) == [1, 1, 2]
    assert balanced_epoch([]) == []


def test_balanced_sessions_train_on_as_many_samples_of_each_class() -> None:
    plugin, seen = JointPlugin(balanced=True), Counter[int]()
    engine, samples = engine_with(plugin), []
    engine.on_epoch = lambda record: samples.append(record.num_samples)
    engine.train_session(0)

    def count(template: Any, **kwargs: Any) -> None:
        seen.update(template.mb_y.tolist())

    plugin.before_forward = count  # type: ignore[method-assign]
    engine.train_session(1)
    assert samples == [48, 54]
    assert max(seen.values()) - min(seen.values()) <= 1
    assert len(seen) == 6


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


def two_parts() -> list[TensorSamples]:
    """Return samples of three classes, then of two more."""
    return [make_samples([0, 1, 2], 8, seed=0), make_samples([3, 4], 8, seed=1)]


def stream_of(classes: list[list[int]], train: list[TensorSamples]) -> Stream:
    return build_stream(
        name="parts",
        class_names=list("abcde"),
        session_classes=classes,
        train=train,
        test=[make_samples(each, 2, seed=2) for each in classes],
        train_transform=ToFloat(),
        eval_transform=ToFloat(),
    )


def trained_anew(stream: Stream, plugin: Any, sessions: int) -> dict[str, torch.Tensor]:
    """Return the weights after the last session, for which random numbers start again."""
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, 5)
    model.head.grow([0, 1, 2])  # the same rows, whether two more come with them or later
    recipe = TrainingConfig(
        base_epochs=2,
        incremental_epochs=None,
        incremental_lr=None,
        incremental_batchnorm="train",
        batch_size=64,  # more than there are: every step takes the same samples
    )
    engine = Engine(stream, model, plugin, recipe)
    for session in range(sessions):
        seed_everything(1)
        engine.train_session(session)
    return dict(engine.model.state_dict())


def test_after_two_sessions_the_network_is_that_of_one_training_on_the_union() -> None:
    first, second = two_parts()
    union = TensorSamples(
        torch.cat([first.inputs, second.inputs]), [*first.targets, *second.targets]
    )
    at_once = trained_anew(stream_of([[0, 1, 2, 3, 4]], [union]), FinetunePlugin(), 1)
    in_two = stream_of([[0, 1, 2], [3, 4]], [first, second])
    joint = trained_anew(in_two, JointPlugin(restart=True), 2)
    # a batch lists its samples in another order, and sums in single precision follow it
    for name, value in at_once.items():
        torch.testing.assert_close(joint[name], value, rtol=0, atol=1e-4, msg=name)


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
