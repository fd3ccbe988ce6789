"""DER and DER++: the distance by hand, the loss of each step, and which logits are kept."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.replay.logits import logit_distance, widen
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything
from cl_suite.strategies.der import DERPlugin
from cl_suite.strategies.finetune import FinetunePlugin

NONE = -math.inf


def engine_with(plugin: StrategyPlugin, *, epochs: int = 1, num_classes: int = 8) -> Engine:
    seed_everything(0)
    stream = make_stream()
    model = build_classifier(
        ModelConfig(head="linear"), stream.info.input_shape, num_classes, plugin
    )
    recipe = TrainingConfig(
        base_epochs=epochs,
        incremental_epochs=epochs,
        batch_size=10,
        lr=0.03,
        incremental_lr=None,
        momentum=0,
        weight_decay=0,
        incremental_batchnorm="train",
    )
    return Engine(stream, model, plugin, recipe)


class Noting(DERPlugin):
    """Notes each step's loss, and what went into it."""

    def __init__(self, **parameters: Any) -> None:
        given = {"buffer": 100, "replay_batch": 4, "head_rows": "seen", "passes": "separate"}
        super().__init__(**(given | parameters))
        self.steps: list[dict[str, Any]] = []

    def replay(self, template: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        found = super().replay(template)
        self.steps[-1]["replayed"].append(found)
        return found

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        plain = float(template.loss.detach())
        output = template.mb_output.detach().clone()
        self.steps.append({"plain": plain, "output": output, "replayed": []})
        super().before_backward(template, **kwargs)
        self.steps[-1]["loss"] = float(template.loss.detach())
        self.steps[-1]["plain view"] = self.replayed_plain()


def test_the_distance_is_the_mean_square_over_logits_that_were_kept() -> None:
    logits = torch.tensor([[1.0, 2, 3], [0, 0, NONE]])
    kept = torch.tensor([[0.0, 4, NONE], [1, NONE, NONE]])
    # (1 + 4 + 1) / 3
    assert float(logit_distance(logits, kept)) == pytest.approx(2.0)


def test_without_classes_to_come_it_is_torchs_mean_squared_error() -> None:
    logits, kept = torch.randn(5, 7), torch.randn(5, 7)
    torch.testing.assert_close(logit_distance(logits, kept), F.mse_loss(logits, kept))


def test_classes_that_came_later_get_no_gradient_and_those_without_a_row_no_nan() -> None:
    logits = torch.tensor([[1.0, 2, 3, NONE]], requires_grad=True)
    logit_distance(logits, torch.tensor([[0.0, 2.5]])).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -0.5, 0, 0]]


def test_each_steps_loss_is_the_papers_formula() -> None:
    plugin = Noting(alpha=0.3, beta=0.7)
    engine = engine_with(plugin)
    for session in range(3):
        engine.train_session(session)
    assert plugin.steps[0]["replayed"] == []
    assert plugin.steps[0]["loss"] == plugin.steps[0]["plain"]
    for step in plugin.steps[1:]:
        (first, _, extras), (second, labels, _) = step["replayed"]
        first, second = first.detach(), second.detach()
        squares = [
            (float(now) - float(then)) ** 2
            for row, old in zip(first, extras["logits"], strict=True)
            for now, then in zip(row, old, strict=True)
            if math.isfinite(then)
        ]
        distance = sum(squares) / len(squares)
        expected = step["plain"] + 0.3 * distance + 0.7 * float(F.cross_entropy(second, labels))
        assert step["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("alpha", "beta", "draws"), [(0.5, 0.0, 1), (0.5, 0.5, 2), (0.0, 0.5, 1)])
def test_each_term_has_a_draw_of_its_own(alpha: float, beta: float, draws: int) -> None:
    plugin = Noting(alpha=alpha, beta=beta)
    engine_with(plugin).train_session(0)
    assert [len(s["replayed"]) for s in plugin.steps] == [0, *[draws] * 4]
    assert plugin.steps[-1]["plain view"].shape == (4 * draws, 1, 16, 16)


def test_the_logits_kept_are_those_of_the_step_that_learned_the_sample() -> None:
    plugin = Noting()
    engine_with(plugin).train_session(0)
    kept = plugin.buffer_.exemplars.batch(range(48))[2]["logits"]
    given = torch.cat([s["output"] for s in plugin.steps])
    assert kept.equal(given)  # nothing was replaced: slots are in order of arrival
    assert kept[:, [0, 2, 5, 7]].isfinite().all()
    assert (kept[:, [1, 3, 4, 6]] == NONE).all()


def test_with_more_epochs_the_last_ones_logits_are_kept_each_sample_once() -> None:
    plugin = Noting()
    engine_with(plugin, epochs=2).train_session(0)
    assert plugin.buffer_.num_samples == plugin.buffer_.num_seen == 48
    kept = plugin.buffer_.exemplars.batch(range(48))[2]["logits"]
    assert kept.equal(torch.cat([s["output"] for s in plugin.steps[5:]]))


def test_a_joint_pass_goes_through_the_network_once_with_the_papers_loss() -> None:
    class Joint(DERPlugin):
        num_passes = 0
        steps: list[tuple[int, int]] = []  # noqa: RUF012

        def before_forward(self, template: Any, **kwargs: Any) -> None:
            self.num_passes, self.own = 0, template.mb_x
            super().before_forward(template, **kwargs)
            body = template.model.backbone
            self.drawn = [(labels, extras) for _, labels, extras in self._draws]
            self.handle = body.register_forward_pre_hook(self.count)

        def count(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
            self.num_passes += 1
            self.size = len(inputs[0])

        def after_forward(self, template: Any, **kwargs: Any) -> None:
            whole = template.mb_output.detach()
            super().after_forward(template, **kwargs)
            own, *replayed = torch.split(whole, [len(self.own), *(len(d[0]) for d in self.drawn)])
            self.expected = F.cross_entropy(own, template.mb_y)
            if replayed:
                (_, extras), (labels, _) = self.drawn
                self.expected += 0.3 * F.mse_loss(replayed[0], extras["logits"])
                self.expected += 0.7 * F.cross_entropy(replayed[1], labels)

        def after_backward(self, template: Any, **kwargs: Any) -> None:
            self.handle.remove()
            torch.testing.assert_close(template.loss.detach().squeeze(), self.expected)
            assert template.mb_x is self.own
            assert len(template.mb_output) == len(self.own)
            self.steps.append((self.num_passes, self.size))

    Joint.steps = []
    engine = engine_with(Joint(buffer=100, replay_batch=4, alpha=0.3, beta=0.7))
    for session in range(2):
        engine.train_session(session)
    # 48 samples in batches of 10, then 6
    assert Joint.steps == [(1, 10), *[(1, 18)] * 3, (1, 16), (1, 14)]


def test_with_all_rows_the_distance_covers_classes_to_come_too() -> None:
    plugin = Noting(alpha=0.3, beta=0, head_rows="all")
    engine = engine_with(plugin)
    engine.train_session(0)
    assert engine.model.head.classes == [0, 2, 5, 7, 1, 3, 4, 6]
    kept = plugin.buffer_.exemplars.batch(range(48))[2]["logits"]
    assert kept.isfinite().all()
    # rows of classes to come were pushed down on every sample
    assert kept[40:, [1, 3, 4, 6]].mean() < kept[40:, [0, 2, 5, 7]].mean()
    before = {k: v.clone() for k, v in engine.model.head.state_dict().items()}
    engine.model.head.grow([6, 1])
    assert all(engine.model.head.state_dict()[k].equal(v) for k, v in before.items())
    engine.train_session(1)
    for step in plugin.steps[-2:]:
        ((logits, _, extras),) = step["replayed"]
        distance = float(F.mse_loss(logits.detach(), extras["logits"]))
        assert step["loss"] == pytest.approx(step["plain"] + 0.3 * distance, rel=1e-4)


def test_rows_of_all_classes_survive_a_stop() -> None:
    whole = engine_with(Noting(head_rows="all"), epochs=2)
    states: list[dict[str, Any]] = []
    whole.on_epoch = lambda record: states.append(copy.deepcopy(whole.state_dict()))
    for session in range(3):
        whole.train_session(session)
    for number in (0, 2, 3):
        resumed = engine_with(Noting(head_rows="all"), epochs=2)
        resumed.load_state_dict(states[number])
        for session in range(number // 2, 3):
            resumed.train_session(session)
        found = resumed.model.state_dict()
        assert all(found[k].equal(v) for k, v in whole.model.state_dict().items()), number


def test_logits_kept_widen_with_a_head_that_did_not_know_how_many_classes_come() -> None:
    plugin = Noting()
    engine = engine_with(plugin, num_classes=0)
    engine.model.head.num_outputs = 0
    for session, classes in enumerate([[7, 2, 5, 0], [6, 1]]):
        engine.model.head.num_outputs = max(engine.model.head.num_outputs, max(classes) + 1)
        engine.train_session(session)
    plugin.num_logits_ = 12
    widen(plugin.buffer_.exemplars, plugin.num_logits_)
    kept = plugin.buffer_.exemplars.batch(range(54))[2]["logits"]
    assert kept.shape == (54, 12)
    assert (kept[:, 8:] == NONE).all()
    assert kept[:48, [0, 2, 5, 7]].isfinite().all()
    engine.train_session(2)


def test_without_either_term_it_is_fine_tuning() -> None:
    def trained(plugin: StrategyPlugin) -> dict[str, Tensor]:
        engine = engine_with(plugin)
        for session in range(3):
            engine.train_session(session)
        return engine.model.state_dict()

    expected = trained(FinetunePlugin())
    found = trained(DERPlugin(alpha=0, beta=0, head_rows="seen"))
    assert all(found[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} must be at least 0, got -1"):
        DERPlugin(**{name: -1.0})  # type: ignore[arg-type]  # a number
