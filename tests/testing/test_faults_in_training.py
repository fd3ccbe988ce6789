"""The contract's checks by training find what a method does wrong, each by its name."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from helpers.contract_faults import fault_of
from torch import Tensor, nn

from cl_suite.plugin import StrategyPlugin, Template
from cl_suite.testing import make_stream


class Unsure(StrategyPlugin):
    """Draws from a generator of its own, which no seed reaches."""

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        generator = torch.Generator()
        generator.seed()
        template.loss = template.loss * torch.rand(1, generator=generator).item()


def test_a_method_that_no_seed_determines_is_found() -> None:
    assert "other values" in fault_of(Unsure, "same_seed_gives_the_same_bits")


class Forgetful(StrategyPlugin):
    """Counts steps under a name that no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        self._steps += 1
        template.loss = template.loss * self._steps


def test_state_that_is_not_saved_is_found() -> None:
    assert "resumed from save 0" in fault_of(Forgetful, "going_on_equals_never_having_stopped")


class Unnamed(StrategyPlugin):
    """Learns under a name that ends in nothing."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.means = 1


def test_learned_state_by_another_name_is_found() -> None:
    message = fault_of(Unnamed, "learned_state_ends_in_an_underscore")
    assert "means after training is neither a parameter nor learned" in message


class Unsaveable(StrategyPlugin):
    """Learns what no checkpoint can hold."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.rule_ = lambda x: x


def test_learned_state_that_cannot_be_saved_is_found() -> None:
    assert "cannot be saved" in fault_of(Unsaveable, "learned_state_ends_in_an_underscore")


class Asleep(StrategyPlugin):
    """Leaves the network in eval mode."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        template.model.eval()


def test_a_mode_that_is_not_restored_is_found() -> None:
    assert "in eval mode" in fault_of(Asleep, "train_mode_is_restored")


class BatchMean(nn.Module):
    """Takes the mean of its batch away."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Transductive(StrategyPlugin):
    """Predicts relative to the batch."""

    def prepare_model(self, model: nn.Module) -> None:
        if not model.backbone._forward_hooks:
            model.backbone.register_forward_hook(lambda module, args, out: BatchMean()(out))


def test_a_prediction_by_the_rest_of_the_batch_is_found() -> None:
    fault_of(Transductive, "predictions_do_not_depend_on_the_batch")


def test_a_head_that_grows_while_evaluating_is_found() -> None:
    class Early(StrategyPlugin):
        def before_training_exp(self, template: Template, **kwargs: Any) -> None:
            template.model.head.grow(range(8))

    assert "session 0 has" in fault_of(Early, "evaluation_changes_nothing_learned")


class Peeking:
    """Opens what is never handed over: every set of samples in the process."""

    def __init__(self) -> None:
        self.stolen = STOLEN


STOLEN: list[Any] = []


def test_later_sessions_within_reach_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_suite.testing.subject import Subject

    stream = make_stream()
    monkeypatch.setattr(Subject, "stream", lambda self, *a, **k: stream)
    monkeypatch.setattr(sys.modules[__name__], "STOLEN", [stream.train[2]])
    assert "('train', 2)" in fault_of(Peeking, "later_sessions_are_out_of_reach")


def test_test_data_read_while_training_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_suite.testing.subject import Subject

    engine = Subject.engine

    def leaking(self: Subject, stream: Any = None, **training: Any) -> Any:
        made = engine(self, stream, **training)
        made.plugin.after_training_exp = lambda template, **kwargs: stream.test[0].inputs
        return made

    monkeypatch.setattr(Subject, "engine", leaking)
    message = fault_of(Asleep, "no_test_data_is_read_while_training")
    assert "test data was read" in message


class Ours(StrategyPlugin):
    """Reaches into the suite's own classifier."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        template.model.head.grow([0])


def test_a_method_that_needs_our_classifier_is_found() -> None:
    assert "has no attribute 'head'" in fault_of(Ours, "works_with_a_foreign_network")
