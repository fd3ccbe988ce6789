"""Rehearsal with a supervised contrastive term."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.losses.supcon import supcon_loss
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import views_of
from cl_suite.randomness import seed_everything
from cl_suite.strategies.er import ERPlugin
from cl_suite.strategies.supcon_replay import SupConReplayPlugin, make_projector


def engine_with(plugin: Any, **training: Any) -> Engine:
    seed_everything(0)
    stream = make_stream()
    model = build_classifier(
        ModelConfig(), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe = {"base_epochs": 1, "incremental_epochs": 2, "batch_size": 16, "lr": 0.02}
    return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **training}))


def train(engine: Engine, end: int = 3) -> Engine:
    for session in range(end):
        engine.train_session(session)
    return engine


def naive(z: Tensor, labels: list[int], temperature: float) -> float:
    """The loss as it is written, an anchor and a positive at a time."""
    z = F.normalize(z.double())
    anchors = []
    for a in range(len(z)):
        others = [i for i in range(len(z)) if i != a]
        denominator = sum(math.exp(float(z[a] @ z[i]) / temperature) for i in others)
        positives = [p for p in others if labels[p] == labels[a]]
        logs = [float(z[a] @ z[p]) / temperature - math.log(denominator) for p in positives]
        anchors.append(-sum(logs) / len(logs))
    return sum(anchors) / len(anchors)


def test_the_contrastive_term_by_hand() -> None:
    # one sample of each of two classes, both views alike: rows e1, e2, e1, e2 at temperature 1, so
    # that each anchor has one positive of cosine 1 beside two negatives of cosine 0
    z = torch.eye(2)
    loss = supcon_loss(z, z, labels=torch.tensor([3, 8]), temperature=1.0)
    assert loss.item() == pytest.approx(-1 + math.log(math.e + 2), abs=1e-6)
    assert loss.item() == pytest.approx(naive(z.repeat(2, 1), [3, 8, 3, 8], 1.0), abs=1e-6)


class Spy(SupConReplayPlugin):
    """Compares each loss with the formula, from passes of its own in eval mode."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.old_ = 0

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        entropy = F.cross_entropy(template.mb_output, template.mb_y)
        super().before_backward(template, **kwargs)
        if template.model.backbone.training and not self.old_classes:
            return  # BatchNorm learns from each pass
        model = template.model
        z = torch.cat([model.projector(model.features(v)) for v in views_of(template, self)])
        term = naive(z.detach(), template.mb_y.tolist() * 2, self.temperature)
        expected = entropy.item() + self.contrastive_weight * term
        assert template.loss.item() == pytest.approx(expected, rel=1e-4)
        self.old_ += int(self.is_old(template.mb_y).sum())


def test_the_loss_is_cross_entropy_and_the_term_on_both_views_of_new_and_kept() -> None:
    plugin = Spy(buffer=12, contrastive_weight=0.5, temperature=0.2)
    train(engine_with(plugin))
    assert plugin.old_ == 2 * (12 + 12)


def test_the_two_views_differ_and_the_first_is_the_batch() -> None:
    class Views(SupConReplayPlugin):
        steps = 0

        def before_backward(self, template: Any, **kwargs: Any) -> None:
            first, second = views_of(template, self)
            assert first is template.mb_x
            assert first.shape == second.shape
            assert not first.equal(second)
            self.steps += 1
            super().before_backward(template, **kwargs)

    plugin = Views(buffer=12)
    train(engine_with(plugin), end=2)
    assert plugin.steps > 3


def test_with_weight_0_it_is_experience_replay() -> None:
    plain = engine_with(ERPlugin(buffer=12))
    contrastive = engine_with(SupConReplayPlugin(buffer=12, contrastive_weight=0))
    # the projector took random numbers
    contrastive.model.load_state_dict(plain.model.state_dict(), strict=False)
    for engine in (plain, contrastive):
        torch.manual_seed(1)
        train(engine)
    found = contrastive.model.state_dict()
    assert all(found[name].equal(v) for name, v in plain.model.state_dict().items())


def test_the_projector_is_made_once_and_learns() -> None:
    plugin = SupConReplayPlugin(buffer=12, projection_dim=5)
    engine = engine_with(plugin)
    projector = engine.model.projector
    plugin.prepare_model(engine.model)
    assert engine.model.projector is projector
    assert projector(torch.zeros(1, engine.model.feature_dim)).shape == (1, 5)
    before = {k: v.clone() for k, v in projector.state_dict().items()}
    train(engine, end=1)
    assert not projector.state_dict()["0.weight"].equal(before["0.weight"])


def test_the_projector_has_no_part_in_predictions() -> None:
    engine = train(engine_with(SupConReplayPlugin(buffer=12)), end=2)
    before = engine.evaluate(1)
    for parameter in engine.model.projector.parameters():
        nn.init.normal_(parameter)
    assert engine.evaluate(1).equal(before)


class Network(nn.Module):
    """A network that knows nothing of cl-suite."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.classifier = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(x))
        return logits


@pytest.mark.parametrize("model", [Network(), nn.Sequential(nn.Flatten(), nn.Linear(256, 8))])
def test_beside_a_foreign_network_the_plugin_holds_a_projector_that_learns(
    model: nn.Module,
) -> None:
    torch.manual_seed(0)
    names = list(model.state_dict())
    plugin = SupConReplayPlugin(buffer=20)
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=1,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    states: list[Tensor] = []
    for experience in benchmark(make_stream()).train_stream:
        template.train(experience)
        assert plugin.projector_ is not None
        states.append(plugin.projector_.state_dict()["0.weight"].clone())
    assert not states[0].equal(states[1])
    assert not states[1].equal(states[2])
    assert list(model.state_dict()) == names
    assert len(template.optimizer.param_groups) == 2


def test_views_that_are_the_same_are_warned_of() -> None:
    plugin = SupConReplayPlugin(buffer=12)
    engine = engine_with(plugin)
    plain = engine.stream.info.eval_transform
    engine.stream = engine.stream.with_transforms(plain, plain)
    with pytest.warns(UserWarning, match="both views of each sample are the same"):
        engine.train_session(0)


def test_a_frozen_backbone_is_refused() -> None:
    stream = make_stream()
    with pytest.raises(UserError, match=r"model\.frozen keeps .*=False, or use er"):
        build_classifier(
            ModelConfig(frozen=True), stream.info.input_shape, 8, SupConReplayPlugin(buffer=12)
        )


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.0), ("contrastive_weight", -1), ("projection_dim", 0)]
)
def test_values_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{name} must be at least"):
        SupConReplayPlugin(buffer=12, **{name: value})  # type: ignore[arg-type]


def test_the_projector_is_as_wide_as_the_features_within() -> None:
    shapes = [tuple(p.shape) for p in make_projector(7, 3).parameters()]
    assert shapes == [(7, 7), (7,), (3, 7), (3,)]
    assert isinstance(engine_with(SupConReplayPlugin(buffer=12)).model, Classifier)
