"""Distillation on rehearsal samples: each formula by hand, and where each applies."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.growing_network import GrowingNetwork
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.er import ERPlugin
from cl_suite.strategies.kd_replay import (
    KDReplayPlugin,
    class_weight,
    combined,
    feature_distillation,
    features_and_logits,
    label_distillation,
    logit_distillation,
    rehearsed_weight,
)


def engine_with(plugin: Any, **training: Any) -> Engine:
    seed_everything(0)
    stream = make_stream()
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = {"base_epochs": 1, "incremental_epochs": 2, "batch_size": 8, "lr": 0.02}
    return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **training}))


def train(engine: Engine, end: int = 3) -> Engine:
    for session in range(end):
        engine.train_session(session)
    return engine


def test_the_weight_grows_with_the_share_of_old_classes() -> None:
    assert class_weight(3, 4) == pytest.approx(0.559616, abs=1e-6)  # ln 1.75
    assert class_weight(1, 2) == pytest.approx(0.405465, abs=1e-6)  # ln 1.5
    assert class_weight(5, 5) == pytest.approx(math.log(2))
    assert class_weight(0, 4) == 0


def test_the_weight_grows_with_the_share_of_rehearsed_samples() -> None:
    assert rehearsed_weight(2, 8) == 0.5
    assert rehearsed_weight(0, 8) == 0
    assert rehearsed_weight(8, 8) == 1


def test_in_the_earlier_form_several_terms_take_their_share_too() -> None:
    entropy, kd = torch.tensor([2.0]), torch.tensor(4.0)
    assert combined(entropy, [kd], 0.25, "earlier").tolist() == [0.75 * 2 + 0.25 * 4]
    both = combined(entropy, [kd, torch.tensor(1.0)], 0.25, "earlier")
    assert both.tolist() == [0.75 * 2 + 0.25 * 5]


def test_one_term_takes_its_share_from_cross_entropy_and_several_do_not() -> None:
    entropy, kd = torch.tensor([2.0]), torch.tensor(4.0)
    assert combined(entropy, [kd], 0.25).tolist() == [0.75 * 2 + 0.25 * 4]
    assert combined(entropy, [kd, torch.tensor(1.0)], 0.25).tolist() == [2 + 0.25 * 5]


def test_feature_distillation_by_hand() -> None:
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    assert feature_distillation(student, teacher).item() == pytest.approx((1 + 4 + 9) / 4)


def test_logit_distillation_by_hand() -> None:
    # T = 2: teacher (3/4, 1/4), student (1/2, 1/2)
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # 0.130812
    found = logit_distillation(torch.zeros(1, 2), teacher, 2.0)
    assert found.item() == pytest.approx(4 * divergence, abs=1e-6)
    assert 4 * divergence == pytest.approx(0.523248, abs=1e-6)
    # the mean over samples: one that agrees adds nothing
    both = logit_distillation(torch.zeros(2, 2), torch.cat([teacher, torch.zeros(1, 2)]), 2.0)
    assert both.item() == pytest.approx(2 * divergence, abs=1e-6)


def test_logit_distillation_at_temperature_one_and_over_classes_too_by_hand() -> None:
    # teacher (3/4, 1/4), student (1/2, 1/2)
    teacher = torch.tensor([[math.log(3), 0.0]])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = logit_distillation(torch.zeros(1, 2), teacher, 1.0)
    assert found.item() == pytest.approx(divergence, abs=1e-6)
    found = logit_distillation(torch.zeros(1, 2), teacher, 1.0, "earlier")
    assert found.item() == pytest.approx(divergence / 2, abs=1e-6)


def test_label_distillation_by_hand() -> None:
    # the teacher knows classes 3 and 1 and sees class 3; the student's softmax gives it 1/2
    teacher = torch.tensor([[-torch.inf, 0.5, -torch.inf, 0.7]])
    student = torch.tensor([[0.0, 0.0, 0.0, math.log(3)]])
    found = label_distillation(student, teacher, [3, 1])
    assert found.item() == pytest.approx(math.log(2), abs=1e-6)


def test_a_column_that_the_teacher_never_learned_is_no_label() -> None:
    teacher = torch.tensor([[9.0, 0.5, 0.7]])  # column 0 of a foreign network has noise in it
    student = torch.tensor([[0.0, 0.0, 20.0]])
    assert label_distillation(student, teacher, [1, 2]).item() == pytest.approx(0, abs=1e-6)


def test_one_pass_gives_features_and_logits() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(4, 3)
    features, logits = features_and_logits(model, x)
    assert features.equal(model[:2](x))
    assert logits.equal(model(x))


class Spy(KDReplayPlugin):
    """Compares each loss with the formula, from passes of its own."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.checked_ = 0
        self.empty_ = 0

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        entropy, teacher = template.loss.clone(), self.teacher(template)
        super().before_backward(template, **kwargs)
        if teacher is None:
            assert template.loss.equal(entropy)
            return
        old = [c in self.old_classes for c in template.mb_y.tolist()]
        num_new = len(set(template.experience.classes_in_this_experience))
        if self.distill_weight == "rehearsed":
            alpha = math.sqrt(sum(old) / len(old))
        else:
            alpha = math.log(len(self.old_classes) / (len(self.old_classes) + num_new) + 1)
        terms = self.naive_terms(teacher, template, torch.tensor(old)) if any(old) else [0.0]
        if self.distill_form == "earlier":
            expected = (1 - alpha) * entropy + alpha * sum(terms)
        elif len(self.terms) == 1:
            expected = (1 - alpha) * entropy + alpha * terms[0]
        else:
            expected = entropy + alpha * sum(terms)
        torch.testing.assert_close(template.loss, expected)
        self.checked_ += any(old)
        self.empty_ += not any(old)

    def naive_terms(self, teacher: Any, template: Any, old: Tensor) -> list[Any]:
        x, columns, t = template.mb_x[old], self.old_classes, self.distill_temperature
        with torch.no_grad():
            target, logits = teacher.features(x), teacher(x)
        mine, found = template.mb_output[old], []
        for term in self.terms:
            if term == "feature":
                # the student's own in the mode it is in: BatchNorm is in eval mode by then
                found.append(((template.model.features(x) - target) ** 2).mean())
            elif term == "logit":
                p, q = (F.softmax(z[:, columns] / t, dim=1) for z in (logits, mine))
                divergence = (p * (p / q).log()).sum(1).mean()
                shared = len(columns) if self.distill_form == "earlier" else 1
                found.append(t**2 * divergence / shared)
            else:
                probabilities = F.softmax(mine, dim=1)
                predicted = logits.argmax(1)
                found.append(-probabilities[torch.arange(len(x)), predicted].log().mean())
        return found


@pytest.mark.parametrize(
    "distill", ["feature", "logit", "label", "feature+label", "feature+logit+label"]
)
def test_the_loss_is_the_formula_on_samples_of_earlier_classes(distill: Any) -> None:
    plugin = Spy(buffer=12, distill=distill)
    train(engine_with(plugin))
    assert plugin.checked_ >= 8


@pytest.mark.parametrize("weight", ["classes", "rehearsed"])
@pytest.mark.parametrize("form", ["later", "earlier"])
@pytest.mark.parametrize("distill", ["logit", "feature+logit"])
def test_each_weight_goes_with_each_form_at_temperature_one(
    distill: Any, form: Any, weight: Any
) -> None:
    plugin = Spy(
        buffer=12,
        distill=distill,
        distill_form=form,
        distill_weight=weight,
        distill_temperature=1.0,
    )
    train(engine_with(plugin))
    assert plugin.checked_ >= 8


def test_by_samples_a_batch_without_earlier_classes_is_plain_cross_entropy() -> None:
    class Losses(KDReplayPlugin):
        plain: list[bool] = []  # noqa: RUF012

        def before_backward(self, template: Any, **kwargs: Any) -> None:
            entropy = template.loss.clone()
            super().before_backward(template, **kwargs)
            if self.classes_ and not self.is_old(template.mb_y).any():
                self.plain.append(bool(template.loss == entropy))

    Losses.plain = []
    plugin = Losses(buffer=8, distill_weight="rehearsed", distill_form="earlier")
    train(engine_with(plugin, batch_size=2, incremental_epochs=4))
    assert Losses.plain
    assert all(Losses.plain)


def test_a_batch_without_earlier_classes_has_no_distillation_and_no_nan() -> None:
    plugin = Spy(buffer=8)
    engine = engine_with(plugin, batch_size=2, incremental_epochs=4)
    train(engine)
    assert plugin.empty_ > 0
    assert all(v.isfinite().all() for v in engine.model.state_dict().values())


def test_the_teacher_gets_no_gradient_and_the_student_one() -> None:
    class Gradients(KDReplayPlugin):
        steps: list[bool] = []  # noqa: RUF012

        def after_backward(self, template: Any, **kwargs: Any) -> None:
            teacher = self.teacher(template)
            if teacher is not None:
                assert all(p.grad is None for p in teacher.parameters())
                self.steps.append(
                    any(bool(p.grad.any()) for p in template.model.backbone.parameters())
                )

    train(engine_with(Gradients(buffer=12, distill="feature+logit")), end=2)
    assert Gradients.steps
    assert all(Gradients.steps)


def test_in_the_first_session_it_is_experience_replay() -> None:
    states = [
        train(engine_with(plugin), end=1).model.state_dict()
        for plugin in (KDReplayPlugin(buffer=12, distill="feature+logit"), ERPlugin(buffer=12))
    ]
    assert all(states[0][name].equal(tensor) for name, tensor in states[1].items())


def test_distillation_keeps_the_student_nearer_to_its_teacher() -> None:
    def drift(plugin: Any) -> float:
        engine = train(engine_with(plugin, incremental_epochs=0), end=1)
        object.__setattr__(engine.training, "incremental_epochs", 6)
        images = engine.stream.info.eval_transform(engine.stream.train[0].inputs)  # type: ignore[attr-defined]
        engine.model.eval()
        with torch.no_grad():
            before = engine.model.features(images)
        engine.train_session(1)
        engine.model.eval()
        with torch.no_grad():
            return float((engine.model.features(images) - before).square().mean())

    plain = drift(ERPlugin(buffer=40))
    assert drift(KDReplayPlugin(buffer=40, distill="feature")) < 0.9 * plain


def test_an_unknown_term_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"^distill must be one of feature, logit, .*'tokens'"):
        KDReplayPlugin(buffer=12, distill="tokens")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^distill_weight must be one of classes, rehearsed"):
        KDReplayPlugin(buffer=12, distill_weight="samples")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^distill_form must be one of later, earlier"):
        KDReplayPlugin(buffer=12, distill_form="first")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^distill_temperature must be at least 0\.001, got 0"):
        KDReplayPlugin(buffer=12, distill_temperature=0)


@pytest.mark.parametrize("distill", ["feature+logit+label", "feature"])
def test_a_growing_foreign_network_is_distilled_too(distill: Any) -> None:
    class Losses(KDReplayPlugin):
        found: list[float] = []  # noqa: RUF012

        def before_backward(self, template: Any, **kwargs: Any) -> None:
            entropy = float(template.loss.detach())
            super().before_backward(template, **kwargs)
            self.found.append(float(template.loss.detach()) - entropy)

    Losses.found = []
    torch.manual_seed(0)
    model = GrowingNetwork()
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=2,
        plugins=[Losses(buffer=20, distill=distill)],
        evaluator=api.silent_evaluator(),
    )
    for experience in benchmark(make_stream([[0, 1], [3, 2], [4]])).train_stream:
        template.train(experience)
    assert any(loss != 0 for loss in Losses.found)
    assert all(math.isfinite(loss) for loss in Losses.found)
