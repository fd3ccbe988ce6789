"""LIMIT in a stream: its two stages, oracle O9 of its specification, and bad input."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import make_feature_stream
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.episodes.fake_sessions import FakeSessionLoader
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.class_head import CosineHead
from cl_suite.models.modes import batchnorms, evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.limit import LIMITPlugin
from cl_suite.strategies.prototype import PrototypePlugin


def make_plugin(**settings: Any) -> LIMITPlugin:
    return LIMITPlugin(**{"meta_epochs": 3, "sample_way": 2, "lr_head": 0.01, **settings})


def make_engine(
    plugin: PrototypePlugin | LIMITPlugin, stream: Stream | None = None, **model: Any
) -> Engine:
    torch.manual_seed(0)
    stream = stream or make_stream()
    info = stream.info
    classifier = build_classifier(ModelConfig(**model), info.input_shape, info.num_classes, plugin)
    recipe = TrainingConfig(base_epochs=2, incremental_epochs=2, batch_size=16, lr=0.05)
    return Engine(stream, classifier, plugin, recipe)


def trained(plugin: PrototypePlugin | LIMITPlugin, sessions: int = 1, **settings: Any) -> Engine:
    engine = make_engine(plugin, **settings)
    for session in range(sessions):
        engine.train_session(session)
    return engine


def class_means(engine: Engine, classes: list[int]) -> Tensor:
    """Return the means of the base session's features by the evaluation transform."""
    samples = engine.stream.train[0]
    raw = torch.stack([samples[i][0] for i in range(len(samples))])
    with torch.no_grad(), evaluating(engine.model):
        features = engine.model.features(engine.stream.info.eval_transform(raw))
    labels = torch.tensor(samples.targets)
    return torch.stack([features[labels == c].mean(0) for c in classes])


def test_base_rows_are_class_means_of_untransformed_images_by_the_final_backbone() -> None:
    engine = trained(make_plugin())
    means = class_means(engine, [0, 2, 5, 7])
    torch.testing.assert_close(engine.model.head.rows([0, 2, 5, 7]), means)


def test_rows_left_to_training_are_no_class_means() -> None:
    engine = trained(make_plugin(overwrite_rows=False, lr_head=1.0))
    gap = engine.model.head.rows([0, 2, 5, 7]) - class_means(engine, [0, 2, 5, 7])
    assert gap.abs().max() > 1e-3


def test_rows_left_to_training_begin_as_class_means() -> None:
    engine = trained(make_plugin(overwrite_rows=False, lr_head=0.0, lr_backbone=0.0))
    means = class_means(engine, [0, 2, 5, 7])
    torch.testing.assert_close(engine.model.head.rows([0, 2, 5, 7]), means)


def test_o9_later_sessions_leave_backbone_calibration_and_earlier_rows_bitwise_unchanged() -> None:
    engine = make_engine(make_plugin())
    rows: list[int] = []
    for session in range(3):
        before = {k: v.clone() for k, v in engine.model.state_dict().items()}
        kept = engine.model.head.rows(rows) if rows else None
        engine.train_session(session)
        if kept is not None:
            for name, tensor in engine.model.state_dict().items():
                if name not in ("head.weight", "head.class_ids"):
                    assert tensor.equal(before[name]), name
            assert engine.model.head.rows(rows).equal(kept)
        rows = engine.model.head.classes


def test_stage_2_moves_weights_and_leaves_the_statistics_of_batchnorm() -> None:
    stage_1, stage_2 = trained(make_plugin(meta_epochs=0)), trained(make_plugin())
    pairs = zip(batchnorms(stage_1.model), batchnorms(stage_2.model), strict=True)
    for before, after in pairs:
        assert after.running_mean.equal(before.running_mean)
        assert after.running_var.equal(before.running_var)
        assert after.num_batches_tracked.equal(before.num_batches_tracked)
        assert not after.weight.equal(before.weight)
    assert all(layer.training for layer in batchnorms(stage_2.model))  # as stage 1 left them


def test_no_rate_no_movement_of_the_backbone() -> None:
    stage_1, stage_2 = trained(make_plugin(meta_epochs=0)), trained(make_plugin(lr_backbone=0.0))
    before = stage_1.model.backbone.state_dict()
    assert all(v.equal(before[k]) for k, v in stage_2.model.backbone.state_dict().items())
    fresh = make_engine(make_plugin()).model.head.calibration
    now = stage_2.model.head.calibration
    assert not now.query.weight.equal(fresh.query.weight)


def test_stage_1_leaves_the_calibration_as_it_was_made() -> None:
    fresh = make_engine(make_plugin()).model.head.calibration.state_dict()
    found = trained(make_plugin(meta_epochs=0)).model.head.calibration.state_dict()
    assert all(v.equal(fresh[k]) for k, v in found.items())


def test_without_stage_2_it_is_the_prototype_classifier() -> None:
    ours, prototype = trained(make_plugin(meta_epochs=0), 3), trained(PrototypePlugin(), 3)
    assert ours.model.head.rows(range(8)).shape == prototype.model.head.rows(range(8)).shape
    assert not ours.model.head.calibrates
    features = torch.randn(5, ours.model.feature_dim)
    plain = F.normalize(features) @ F.normalize(ours.model.head.weight).T
    order = ours.model.head.class_ids
    torch.testing.assert_close(ours.model.head(features)[:, order], 16 * plain)


def test_without_calibration_stage_2_trains_and_the_head_is_a_cosine_head() -> None:
    plugin = make_plugin(calibrate=False)
    engine = trained(plugin)
    assert type(engine.model.head) is CosineHead
    stage_1 = trained(make_plugin(calibrate=False, meta_epochs=0)).model.backbone.state_dict()
    assert any(not v.equal(stage_1[k]) for k, v in engine.model.backbone.state_dict().items())


def test_predictions_go_through_the_calibration_from_the_base_session_on() -> None:
    engine = make_engine(make_plugin())
    for session in range(2):
        engine.train_session(session)
        assert engine.model.head.calibrates


def test_classes_to_come_have_no_part_in_the_calibration() -> None:
    engine = trained(make_plugin())
    features = torch.randn(5, engine.model.feature_dim)
    before = engine.model.head(features)[:, [0, 2, 5, 7]]
    engine.model.head.widen(50)
    assert engine.model.head(features)[:, [0, 2, 5, 7]].equal(before)
    engine.train_session(1)
    assert not torch.allclose(engine.model.head(features)[:, [0, 2, 5, 7]], before)


class Watch:
    """Notes what the optimiser and the batches are in each epoch."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.rehearses: list[bool] = []
        self.steps: list[int] = []

    def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
        self.rates.append([group["lr"] for group in template.optimizer.param_groups])
        self.rehearses.append(isinstance(template.dataloader, FakeSessionLoader))
        self.steps.append(len(template.dataloader))


def test_rates_of_stage_2_are_its_own_and_fall_at_its_milestones() -> None:
    plugin = make_plugin(meta_epochs=4, lr_backbone=0.2, lr_head=0.3, milestones=(1, 3), gamma=0.5)
    engine, watch = make_engine(plugin), Watch()
    engine.template.plugins.insert(2, watch)
    engine.train_session(0)
    # an epoch of stage 1 has three steps of 16 images, one of stage 2 a single one of 128
    expected = [[0.05, 0.05]] * 3 + [[0.025, 0.025]] * 3
    expected += [[0.2 * f, 0.3 * f] for f in (1, 0.5, 0.5, 0.25)]
    assert [rate for rates in watch.rates for rate in rates] == pytest.approx(
        [rate for rates in expected for rate in rates]
    )
    assert watch.rehearses == [False] * 6 + [True] * 4


def test_the_number_of_steps_is_that_of_batches_of_queries() -> None:
    engine, watch = make_engine(make_plugin(meta_epochs=1, query_size=20)), Watch()
    engine.template.plugins.insert(2, watch)
    engine.train_session(0)
    assert watch.steps[-3:] == [3, 3, 3]  # 48 images


def test_momentum_begins_anew_in_stage_2() -> None:
    engine = make_engine(make_plugin(meta_epochs=1, query_size=100))
    seen: list[bool] = []

    class Look:
        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            seen.append(bool(template.optimizer.state))

    engine.template.plugins.insert(2, Look())
    engine.train_session(0)
    assert seen == [False, *[True] * 5, False]


def test_means_of_another_runs_backbone_are_not_taken_for_its_own() -> None:
    start = trained(PrototypePlugin())
    engine = make_engine(make_plugin(lr_backbone=0.01))
    assert start.artefact is not None
    assert start.artefact.stats is not None
    engine.context.start = start.artefact
    engine.train_session(0)
    assert engine.state.epochs_done == 3  # stage 2 alone
    means = class_means(engine, [0, 2, 5, 7])
    assert not torch.allclose(means, start.artefact.stats.mean.float(), atol=1e-4)
    torch.testing.assert_close(engine.model.head.rows([0, 2, 5, 7]), means)
    assert engine.artefact is not None
    assert engine.artefact.stats is not None
    torch.testing.assert_close(engine.artefact.stats.mean.float(), means)


def losses_of(plugin: LIMITPlugin, stream: Stream, **model: Any) -> list[float]:
    engine, losses = make_engine(plugin, stream, **model), []

    def note(record: EpochRecord) -> None:
        losses.append(record.loss)

    engine.on_epoch = note  # type: ignore[assignment]
    for session in range(stream.info.num_sessions):
        engine.train_session(session)
    return losses


@pytest.mark.parametrize("score", ["cosine", "semi"])
def test_on_frozen_features_the_calibration_alone_learns_its_task(score: Any) -> None:
    plugin = make_plugin(meta_epochs=8, query_size=32, num_tasks=2, score=score, milestones=())
    losses = losses_of(plugin, make_feature_stream(), backbone="identity", frozen=True)
    assert len(losses) == 8  # no stage 1, and nothing in later sessions
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("settings", [{"num_phases": 2}, {"dropout": 0.5}, {"sample_shot": 3}])
def test_each_switch_changes_what_is_learned(settings: dict[str, Any]) -> None:
    stream = make_feature_stream()
    model = {"backbone": "identity", "frozen": True}
    usual = losses_of(make_plugin(), stream, **model)
    assert losses_of(make_plugin(**settings), stream, **model)[0] != usual[0]


def test_few_base_classes_are_warned_of() -> None:
    engine = make_engine(make_plugin(sample_way=3))
    with pytest.warns(UserWarning, match="4 base classes, so only 2 play .* not sample_way = 3"):
        engine.train_session(0)


def test_a_rate_for_networks_from_scratch_is_warned_of_on_a_frozen_one() -> None:
    def notes(**settings: Any) -> list[str]:
        model = {"backbone": "identity", "frozen": True}
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            losses_of(make_plugin(**settings), make_feature_stream(), **model)
        return [str(each.message) for each in seen if "frozen network" in str(each.message)]

    assert notes(lr_head=2e-4) == [
        "LIMIT trains its attention alone on a frozen network, for which a rate of 0.0002 is low; "
        "pass lr_head=0.02 and milestones=[]"
    ]
    (said,) = notes(lr_head=2e-4, score="semi", temperature=0.5)
    assert said.endswith("pass score='cosine', temperature=16.0, lr_head=0.02 and milestones=[]")
    assert not notes(lr_head=0.02)
    assert not notes(lr_head=0.0)  # asked for: attention as it was drawn
    assert not notes(lr_head=2e-4, calibrate=False)


def test_a_base_session_of_one_class_works() -> None:
    with pytest.warns(UserWarning, match="1 base classes"):
        engine = trained(make_plugin(), 2, stream=make_stream([[3], [1]]))
    assert engine.evaluate(1).sum() == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"num_tasks": 0}, "num_tasks must be at least 1"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 0.99\]"),
    ],
)
def test_a_bad_value_is_refused_before_training(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trained(make_plugin(**settings))


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_in_a_bare_template_the_last_epochs_are_stage_2() -> None:
    plugin, watch, stream = make_plugin(meta_epochs=2, query_size=100), Watch(), make_stream()
    torch.manual_seed(0)
    model = build_classifier(ModelConfig(), (1, 16, 16), 8, plugin)
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=48,
        train_epochs=5,
        plugins=[plugin, watch],
        evaluator=api.EvaluationPlugin(loggers=[]),
    )
    for experience in benchmark(stream).train_stream:
        template.train(experience)
    assert watch.rehearses == [False] * 3 + [True] * 2
    assert model.head.calibrates
    assert model.head.classes == [0, 2, 5, 7, 1, 6, 3, 4]
