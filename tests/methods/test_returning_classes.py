"""A class that comes back has the row that all of its samples would have given at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from helpers.feature_streams import NUM_BASE, SESSIONS, make_engine, make_feature_stream, trained

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.strategies.klda import KLDAPlugin
from cl_suite.strategies.lda import LDAPlugin
from cl_suite.strategies.prototype import PrototypePlugin
from cl_suite.strategies.ranpac import RanPACPlugin
from cl_suite.strategies.simple_cil import SimpleCILPlugin
from cl_suite.strategies.teen import TEENPlugin
from cl_suite.strategies.teen_whitened import TEENWhitenedPlugin

GIVEN = {"power": 0.7, "shrinkage": 0.3, "softmax_t": 8.0, "shift_weight": 0.4, "margin": 0.05}
RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "prototype": (PrototypePlugin, {}),
    "unit": (PrototypePlugin, {"normalize_features": True}),
    "simple_cil": (SimpleCILPlugin, {}),
    "centred": (SimpleCILPlugin, {"centre": True}),
    "teen": (TEENPlugin, {}),
    "teen_whitened": (TEENWhitenedPlugin, GIVEN),
    "lda": (LDAPlugin, {"shrinkage": 0.3, "shift_weight": 0.4}),
    "lda_shots": (LDAPlugin, {"shrinkage": 0.3, "shift_weight": 0.4, "shot_midpoint": 4.0}),
    "klda": (KLDAPlugin, {"num_features": 32, "width": 1.0, "shrinkage": 0.3, "shift_weight": 0.4}),
}
every_rule = pytest.mark.parametrize("rule", RULES)


def plugin_of(rule: str) -> Any:
    cls, parameters = RULES[rule]
    return cls(**parameters)


def moved(stream: Stream, class_id: int, start: int, end: int, num: int) -> Stream:
    """Return a stream in which the last samples of a class come in another session."""
    train: list[Any] = list(stream.train)
    samples = train[start]
    own = [i for i, target in enumerate(samples.targets) if target == class_id]
    late, kept = own[-num:], [i for i in range(len(samples)) if i not in own[-num:]]
    inputs = torch.cat([train[end].inputs, samples.inputs[late]])
    train[end] = TensorSamples(inputs, [*train[end].targets, *[class_id] * num])
    train[start] = TensorSamples(samples.inputs[kept], [samples.targets[i] for i in kept])
    classes = list(stream.info.session_classes)
    if class_id not in classes[end]:
        classes[end] = (*classes[end], class_id)
    info = dataclasses.replace(stream.info, session_classes=tuple(classes), kind="mixed")
    return dataclasses.replace(stream, info=info, train=tuple(train))


@every_rule
def test_late_shots_of_a_class_count_as_those_that_came_at_once(rule: str) -> None:
    whole = make_feature_stream()
    late = moved(whole, NUM_BASE, start=1, end=3, num=2)
    ours, theirs = (trained(plugin_of(rule), stream).model.head for stream in (late, whole))
    classes = [c for session in whole.info.session_classes for c in session]
    torch.testing.assert_close(ours.rows(classes), theirs.rows(classes), rtol=1e-5, atol=1e-5)
    probe = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(probe), theirs(probe), rtol=1e-4, atol=1e-4)


@every_rule
def test_late_samples_of_a_base_class_move_its_row_alone_and_do_not_calibrate_it(
    rule: str,
) -> None:
    whole = make_feature_stream()
    late = moved(whole, 3, start=0, end=SESSIONS - 1, num=10)
    early = trained(plugin_of(rule), late, SESSIONS - 1)
    before = early.model.head.rows(range(NUM_BASE)).clone()
    early.train_session(SESSIONS - 1)
    head, after = early.model.head, early.model.head.rows(range(NUM_BASE))
    others = [c for c in range(NUM_BASE) if c != 3]
    assert after[others].equal(before[others])
    plugin = early.plugin
    inputs = torch.cat([s.inputs for s in late.train]).double()  # type: ignore[attr-defined]
    own = torch.tensor([t == 3 for s in late.train for t in s.targets])
    expected = plugin.averaged(head, inputs[own].float()).double().mean(0)
    if rule == "centred":
        expected = expected - head.transform.centre
    torch.testing.assert_close(after[3].double(), expected, rtol=1e-5, atol=1e-5)
    if isinstance(head, OffsetCosineHead):
        assert float(head.offsets[head.index([3])]) == 0.0  # a base class has no margin


@every_rule
def test_what_is_summed_up_survives_a_state_dict(rule: str) -> None:
    late = moved(make_feature_stream(), NUM_BASE, start=1, end=3, num=2)
    engine = trained(plugin_of(rule), late, 3)
    again = make_engine(plugin_of(rule), late)
    again.plugin.load_state_dict(engine.plugin.state_dict())
    again.model.head.grow(c for s in late.info.session_classes[:3] for c in s)
    again.model.load_state_dict(engine.model.state_dict())
    for each in (engine, again):
        each.train_session(3)
    assert engine.model.head.weight.equal(again.model.head.weight)


@pytest.mark.parametrize(
    "plugin", [LDAPlugin(covariance="diagonal"), RanPACPlugin(num_projections=0)]
)
def test_rules_of_single_sessions_say_so(plugin: Any) -> None:
    late = moved(make_feature_stream(), NUM_BASE, start=1, end=3, num=2)
    with pytest.raises(UserError, match="learns only from"):
        trained(plugin, late)
