"""Sy-CON: the baseline's first session, then both losses in both forms, gradients, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_ssl import (
    PREDICTOR,
    QUEUE,
    SMALL,
    Passes,
    Steps,
    check_resume,
    make_engine,
    plugin_tensors,
    train,
    unequal,
    weights,
)
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.losses.moco import moco_loss
from cl_suite.losses.sycon import sycon_loss
from cl_suite.methods.self_supervised.plugin import Embedded, Pair, SelfSupervisedPlugin
from cl_suite.strategies.moco import MoCoPlugin
from cl_suite.strategies.simclr import SimCLRPlugin
from cl_suite.strategies.sycon import SyCONPlugin

Form = Literal["moco", "simclr"]
both_forms = pytest.mark.parametrize("form", ["moco", "simclr"])


def make(form: Form = "moco", **parameters: object) -> SyCONPlugin:
    given = {**SMALL, **PREDICTOR, **QUEUE, **parameters}
    return SyCONPlugin(form=form, **given)  # type: ignore[arg-type]


def baseline(form: Form) -> SelfSupervisedPlugin:
    return SimCLRPlugin(**SMALL) if form == "simclr" else MoCoPlugin(**SMALL, **QUEUE)


def pair(seed: int) -> Pair:
    rows = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows[0]), F.normalize(rows[1])


@both_forms
def test_the_first_session_is_the_baselines_bit_for_bit_and_asks_no_past(form: Form) -> None:
    plain = train(make_engine(baseline(form)), 1)
    expected, kept = weights(plain), plugin_tensors(plain.plugin)
    engine = make_engine(make(form))
    passes = Passes(engine)
    train(engine, 1)
    assert unequal(weights(engine), expected) == []
    assert unequal(plugin_tensors(engine.plugin), kept) == []
    assert not any("past" in step for step in passes.counts)


@both_forms
def test_a_later_step_has_no_pass_too_many(form: Form) -> None:
    engine = train(make_engine(make(form)), 1)
    passes = Passes(engine)
    train(engine, 2, 1)
    momentum = {"momentum": 2} if form == "moco" else {}
    assert passes.counts == [{"network": 2, "past": 2, **momentum}] * 2


def test_the_simclr_form_is_the_loss_of_both_views() -> None:
    z, past, predicted = pair(0), pair(1), pair(2)
    for include_positive, detach in ((True, False), (False, True)):
        plugin = make(
            "simclr",
            temperature=0.3,
            l2_include_positive=include_positive,
            detach_negatives=detach,
        )
        expected = sycon_loss(
            *z,
            predicted1=predicted[0],
            predicted2=predicted[1],
            past1=past[0],
            past2=past[1],
            temperature=0.3,
            l2_include_positive=include_positive,
            detach_negatives=detach,
        )
        assert plugin.loss(Embedded(z, None, past, predicted)).equal(expected)


def test_the_default_is_the_published_loss() -> None:
    z, past, predicted = pair(0), pair(1), pair(2)
    published = make("simclr").loss(Embedded(z, None, past, predicted))
    plain = make("simclr", l2_include_positive=False).loss(Embedded(z, None, past, predicted))
    assert published.equal(plain)
    whole = make("simclr", l2_include_positive=True).loss(Embedded(z, None, past, predicted))
    assert float(published) < float(whole)


def test_the_moco_form_takes_negatives_of_both_queues_of_the_other_view() -> None:
    plugin = make(temperature=0.3)
    make_engine(plugin)
    assert plugin.queues_ is not None
    stored: dict[str, Tensor] = {}
    for number, name in enumerate(("keys1", "keys2", "past1", "past2")):
        stored[name] = torch.cat(pair(10 + number))
        plugin.queues_[name].push(stored[name])  # type: ignore[operator]
    z, keys, past, predicted = pair(0), pair(1), pair(2), pair(3)
    expected = 0.0
    for own, other in ((0, 1), (1, 0)):
        negatives = torch.cat([stored[f"keys{other + 1}"], stored[f"past{other + 1}"]])
        for query, target in ((z[own], keys[other]), (predicted[own], past[own])):
            expected += moco_loss(query, target, queue=negatives, temperature=0.3).item() / 2
    value = plugin.loss(Embedded(z, keys, past, predicted)).item()
    assert value == pytest.approx(expected, rel=1e-6)


def test_the_queue_of_the_past_is_filled_from_the_second_session_on() -> None:
    plugin = make()
    engine = make_engine(plugin)
    sizes: list[int] = []
    Steps(engine, lambda s: sizes.append(len(plugin.queue("past", 2))), "before_backward")
    train(engine)
    assert sizes == [0] * 6 + [0, 6] + [12, 18]


@both_forms
def test_the_predictor_learns_of_stability_alone(form: Form) -> None:
    plugin = make(form)
    engine = make_engine(plugin)
    gradients: list[bool] = []

    def note(strategy: object) -> None:
        parameters = [p for n, p in engine.model.named_parameters() if n.startswith("predictor")]
        gradients.append(all(p.grad is not None for p in parameters))
        assert gradients[-1] or all(p.grad is None for p in parameters)

    Steps(engine, note, "before_update")
    train(engine, 2)
    assert gradients == [False] * 6 + [True] * 2


@both_forms
def test_a_step_leaves_the_past_as_it_was_bit_for_bit(form: Form) -> None:
    plugin = make(form)
    engine = train(make_engine(plugin), 1)
    start = weights(engine)
    states: list[dict[str, Tensor]] = []

    def note(strategy: object) -> None:
        assert plugin.past_ is not None
        states.append({k: v.clone() for k, v in plugin.past_.state_dict().items()})

    Steps(engine, note, "after_training_iteration")
    train(engine, 2, 1)
    assert len(states) == 2
    assert all(unequal(state, start) == [] for state in states)
    assert "backbone.body.0.0.weight" in unequal(weights(engine), start)


@both_forms
def test_a_stop_in_any_epoch_leaves_no_trace(form: Form, tmp_path: Path) -> None:
    check_resume(lambda: make(form), tmp_path)


def test_a_stop_under_lars_leaves_no_trace(tmp_path: Path) -> None:
    recipe = {"optimizer": "lars", "lr": 0.3, "trust_coefficient": 0.02}
    check_resume(lambda: make("simclr"), tmp_path, **recipe)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0), ("predictor_dim", 0), ("last_momentum", 2)]
)
def test_a_parameter_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^{name} must be"):
        make(**{name: value})
