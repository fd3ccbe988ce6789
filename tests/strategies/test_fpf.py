"""FPF around any host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.partial_tuning import named_group, tune
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies import FPFPlugin


def trained(plugin: Any, sessions: int = 3, **epochs: Any) -> Engine:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
    epochs = {"base_epochs": 2, "incremental_epochs": 2, **epochs}
    recipe = TrainingConfig(batch_size=16, lr=0.02, **epochs)
    engine = Engine(stream, model, plugin, recipe)
    for session in range(sessions):
        engine.train_session(session)
    return engine


def state(engine: Engine) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in engine.model.state_dict().items()}


@pytest.mark.parametrize("host", ["er", "finetune", "replay", "ewc"])
def test_after_the_hosts_training_only_the_named_tensors_move(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[set[str]] = []

    def watched(model: torch.nn.Module, names: set[str], *args: Any, **options: Any) -> None:
        before = {k: v.clone() for k, v in model.state_dict().items()}
        tune(model, names, *args, **options)
        moved.append({k for k, v in model.state_dict().items() if not v.equal(before[k])})

    monkeypatch.setattr("cl_suite.strategies.fpf.tune", watched)
    engine = trained(FPFPlugin(host=host, iterations=5, batch=8, lr=0.1))
    assert len(moved) == 2  # the first session has nothing to balance
    names = named_group(engine.model, "bn+fc")
    for each in moved:
        assert "head.weight" in each
        assert {k for k in each if not k.endswith("num_batches_tracked")} <= names


def test_no_iterations_leave_the_host_as_it_is() -> None:
    from helpers.tiny_models import make_plugin

    alone, with_fpf = trained(make_plugin("er")), trained(FPFPlugin(host="er", iterations=0))
    assert all(v.equal(state(alone)[k]) for k, v in state(with_fpf).items())


def test_a_host_without_samples_gets_a_reservoir_and_it_is_counted() -> None:
    plugin = FPFPlugin(host="finetune", iterations=4, batch=8, buffer=20)
    engine = trained(plugin)
    assert engine.kept_data()[0] == 20
    assert plugin.tuned_samples_ == 2 * 4 * 8
    host = FPFPlugin(host="er", host_params={"buffer": 16}, iterations=1)
    assert trained(host).kept_data()[0] == 16
    assert host.buffer_.num_seen == 0


def test_the_logits_that_a_host_has_kept_are_distilled(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []

    def watched(model: torch.nn.Module, names: Any, draw: Any, **options: Any) -> None:
        assert options["distillation"] == 0.5
        drawn.append(draw()[2])
        tune(model, names, draw, **options)

    monkeypatch.setattr("cl_suite.strategies.fpf.tune", watched)
    settings: dict[str, Any] = {"host": "der", "host_params": {"buffer": 20}, "iterations": 4}
    distilled = trained(FPFPlugin(**settings, batch=8, lr=0.1, distillation=0.5))
    assert [tuple(logits.shape) for logits in drawn] == [(8, 8)] * 2
    monkeypatch.undo()
    plain = trained(FPFPlugin(**settings, batch=8, lr=0.1))
    assert not state(plain)["head.weight"].equal(state(distilled)["head.weight"])


def test_distillation_without_kept_logits_is_refused_before_training() -> None:
    stream = make_stream()
    with pytest.raises(UserError, match="needs logits that the host keeps, and er keeps none"):
        FPFPlugin(host="er", distillation=0.5).check_stream(stream.info, [100, 100, 100])


def test_sensitive_tensors_are_found_in_the_first_two_sessions() -> None:
    plugin = FPFPlugin(host="er", groups="sensitive", budget=0.05, iterations=2, batch=8)
    engine = trained(plugin)
    sizes = {k: v.numel() for k, v in engine.model.state_dict().items()}
    assert plugin.chosen_
    assert sum(sizes[name] for name in plugin.chosen_) <= 0.05 * sum(sizes.values())
    assert not plugin.positions_  # no copy of the network is kept any longer
    note = plugin.session_note(2)
    assert note.startswith(f"fine-tunes the {len(plugin.chosen_)} most sensitive tensors: ")
    assert plugin.chosen_[0] in note


def test_sessions_that_tell_no_sensitivity_are_warned_of() -> None:
    plugin = FPFPlugin(host="er", groups="sensitive", iterations=2, batch=8)
    with pytest.warns(UserWarning, match="sessions of one epoch do not show"):
        trained(plugin, 2, base_epochs=1, incremental_epochs=1)
    assert plugin.chosen_ == []
    assert plugin.tuned_samples_ == 0
    assert not plugin.positions_  # no copy of the network is kept for nothing


def test_a_parameter_that_makes_no_sense_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"^groups must be one of bn\+fc, .*, got 'none'"):
        FPFPlugin(groups="none")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is a wrapper itself"):
        FPFPlugin(host="fpf")
