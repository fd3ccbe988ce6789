"""CoACT: the student and its three copies, and the losses against separate networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.tiny_coact import Recording, changed, make_engine, run, state
from torch import Tensor, nn

from cl_suite.models.adapters import lora_parameters, without_adapters
from cl_suite.models.encoder import Encoder
from cl_suite.plugin import Template
from cl_suite.strategies.coact import CoACTPlugin, move_average


def wake(body: nn.Module) -> None:
    """Give every adapter an effect."""
    torch.manual_seed(1)
    for parameter in lora_parameters(body).values():
        nn.init.normal_(parameter, std=0.2)


def test_o5_a_fresh_student_is_its_teacher() -> None:
    engine = make_engine(CoACTPlugin())
    model, x = engine.model.eval(), torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        student = model.features(x)
        with without_adapters(model.backbone.body):
            assert model.features(x).equal(student)


def test_o5_before_the_first_later_step_the_network_is_consistent_with_base() -> None:
    plugin = Recording(lora_dropout=0.0, contrastive_weight=0.0, adapt_blocks=2)
    run(make_engine(plugin, incremental_epochs=2, incremental_lr=0.1), 2)
    base_steps = 2 * 3
    assert all(term == 0 for term in plugin.terms[:base_steps])
    first, second = plugin.terms[base_steps:]
    # a pass and one that starts from its hidden values may round differently
    assert first.item() == pytest.approx(0, abs=1e-10)
    assert second.item() > 1e-8


def test_o6_an_average_nears_a_constant_by_its_rate() -> None:
    average = {"w": torch.ones(3, dtype=torch.float64)}
    current = {"w": torch.zeros(3, dtype=torch.float64)}
    for step in range(1, 1001):
        move_average(average, current, 0.999)
        if step == 100:
            assert average["w"][0].item() == pytest.approx(0.9047921, abs=1e-7)
    assert average["w"][0].item() == pytest.approx(0.3676954, abs=1e-7)


def test_o6_with_nothing_tuned_the_teacher_is_the_pretrained_network() -> None:
    plugin = CoACTPlugin(tune_from_block=None)
    engine = make_engine(plugin)
    before = state(engine.model.backbone.body)
    run(engine)
    assert plugin.teacher_ == {}
    moved = changed(engine.model.backbone.body, before)
    assert moved
    assert moved <= set(lora_parameters(engine.model.backbone.body))


def test_the_teacher_follows_tuned_tensors_in_the_base_session_alone() -> None:
    plugin = CoACTPlugin(tune_from_block=2, tune_from_epoch=1, ema=0.9)
    engine = make_engine(plugin, incremental_lr=0.1)
    run(engine, 1)
    teacher = {n: t.clone() for n, t in plugin.teacher_.items()}
    pretrained = {n: t.clone() for n, t in plugin.pretrained_.items()}
    student = engine.model.backbone.body.state_dict()
    name = "blocks.2.mlp.fc1.weight"
    assert (teacher[name] - pretrained[name]).norm() < (student[name] - pretrained[name]).norm()
    assert not teacher[name].equal(pretrained[name])
    for session in (1, 2):
        engine.train_session(session)
    assert all(plugin.teacher_[n].equal(t) for n, t in teacher.items())
    assert all(plugin.pretrained_[n].equal(t) for n, t in pretrained.items())


def test_consistency_is_asked_of_the_classes_that_base_knows() -> None:
    class Only(CoACTPlugin):
        """Looks at the gradient of the consistency alone."""

        def before_backward(self, template: Template, **kwargs: Any) -> None:
            before = template.loss.clone()
            super().before_backward(template, **kwargs)
            if not self.in_base_session:
                term, rows = template.loss - before, template.model.head.weight
                (self.gradient,) = torch.autograd.grad(term, rows, retain_graph=True)

    plugin = Only(contrastive_weight=0.0, incremental_layers="both")
    engine = run(make_engine(plugin, incremental_lr=0.1, incremental_epochs=3), 2)
    assert engine.model.head.classes == [0, 2, 5, 7, 1, 6]
    assert (plugin.gradient[:4] != 0).any()
    assert (plugin.gradient[4:] == 0).all()


def test_copies_compute_what_separate_networks_would() -> None:
    """Both tails of the last step, against whole networks with the same tensors."""
    plugin = CoACTPlugin(adapt_blocks=2, tune_from_block=3, tune_from_epoch=0, ema=0.5)
    engine = run(make_engine(plugin, lr=0.05), 1)
    encoder, x = Encoder(engine.model), torch.rand(5, 1, 16, 16)
    body = engine.model.backbone.body.eval()
    with torch.no_grad():
        _, hidden = encoder.run(x, {}, 2)
        wake(body)
        tail = encoder.tail(hidden, plugin.base_["adapters"], 2)
        with without_adapters(body):
            teacher, hidden = encoder.run(x, plugin.teacher_, 3)
            pretrained = encoder.tail(hidden, plugin.pretrained_, 3)

        def whole(*parts: dict[str, Tensor], adapters: bool) -> Tensor:
            body.load_state_dict({k: v for part in parts for k, v in part.items()}, strict=False)
            if adapters:
                return engine.model.features(x)
            with without_adapters(body):
                return engine.model.features(x)

        torch.testing.assert_close(tail, whole(plugin.base_["adapters"], adapters=True))
        torch.testing.assert_close(teacher, whole(plugin.teacher_, adapters=False))
        torch.testing.assert_close(pretrained, whole(plugin.pretrained_, adapters=False))
    assert not teacher.equal(pretrained)


def naive_supcon(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The loss of part A, anchor by anchor."""
    total = rows.new_zeros(())
    for anchor in range(len(rows)):
        others = torch.arange(len(rows)) != anchor
        scores = rows[anchor] @ rows.T / temperature
        positives = others & (labels == labels[anchor])
        if positives.any():
            total = total + scores[others].logsumexp(0) - scores[positives].mean()
    return total / len(rows)


class Shadowed(CoACTPlugin):
    """Beside each loss the same terms from separate copies of the whole network."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.gaps: list[float] = []
        self.gradient_gaps: list[float] = []

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        if not hasattr(self, "pre"):
            # adapters start without effect: this is the network before any training
            self.pre = copy.deepcopy(template.model).eval()
            self.teacher = copy.deepcopy(template.model).eval()
        else:
            self.base = copy.deepcopy(template.model).eval()
        super().before_training_exp(template, **kwargs)

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        first = self.tune_from_epoch or 0
        if self.in_base_session and template.clock.train_exp_epochs >= first:
            own = dict(template.model.backbone.body.named_parameters())
            for name, average in self.teacher.backbone.body.named_parameters():
                if "lora_" not in name and name.startswith(("blocks.2", "blocks.3", "norm")):
                    average.data = self.ema * average + (1 - self.ema) * own[name].detach()
        super().before_training_iteration(template, **kwargs)

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        features, before = self._student.features, template.loss.clone()
        super().before_backward(template, **kwargs)
        view, labels = template.mbatch[2], template.mb_y
        networks = [self.teacher] if self.in_base_session else [self.teacher, self.pre]
        with torch.no_grad():
            vectors = [network.features(view) for network in networks]
        rows = torch.cat([nn.functional.normalize(each) for each in (features, *vectors)])
        expected = naive_supcon(rows, labels.repeat(1 + len(networks)), self.temperature)
        if not self.in_base_session:
            known = [0, 2, 5, 7]
            with torch.no_grad():
                targets = self.base(template.mb_x)[:, known]
            expected = expected + (template.mb_output[:, known] - targets).square().mean()
        found = template.loss - before
        self.gaps.append((found - expected).abs().item() / max(1.0, expected.item()))
        gradients = [
            torch.autograd.grad(term, features, retain_graph=True)[0] for term in (found, expected)
        ]
        self.gradient_gaps.append((gradients[0] - gradients[1]).abs().max().item())


def test_losses_and_gradients_are_those_of_separate_networks_and_the_naive_formula() -> None:
    plugin = Shadowed(
        tune_from_block=2, tune_from_epoch=1, ema=0.9, tune_lr_factor=1.0, adapt_blocks=2
    )
    run(make_engine(plugin, incremental_epochs=2), 2)
    assert len(plugin.gaps) == 2 * 3 + 2
    # two ways through the same kernels, and sums in another order
    assert max(plugin.gaps) < 1e-4
    assert max(plugin.gradient_gaps) < 1e-4
