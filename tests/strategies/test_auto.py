"""Auto: which rules count, that they score as they do alone, and what a stopped run restores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.feature_streams import (
    DIM,
    accuracy,
    features_of,
    make_engine,
    make_feature_stream,
    trained,
)
from helpers.tiny_streams import make_stream

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.learner.trained import rule_of
from cl_suite.methods.episodes import tuning
from cl_suite.methods.episodes.rule_choice import GivenFeatures
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.fused import FusedHead
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.auto import RULES, AutoPlugin
from cl_suite.strategies.lda import LDAPlugin
from cl_suite.strategies.simple_cil import SimpleCILPlugin
from cl_suite.strategies.teen_whitened import TEENWhitenedPlugin

QUERIES = torch.randn(7, DIM, generator=torch.Generator().manual_seed(5))
SOME = ["class_means", "lda", "ridge"]


def fused(engine: Engine) -> FusedHead:
    assert isinstance(engine.model.head, FusedHead)
    return engine.model.head


def test_the_best_rule_alone_scores_as_its_strategy() -> None:
    # directions differ in spread, which class means do not see
    stream = make_feature_stream()
    plugin = AutoPlugin(rules=["class_means", "lda"], tie_errors=0)
    engine = trained(plugin, stream)
    assert list(plugin.rules_) == ["lda"]
    alone = trained(LDAPlugin(), stream)
    weight = fused(engine).used["lda"]
    torch.testing.assert_close(fused(engine)(QUERIES) / weight, alone.model.head(QUERIES))
    assert accuracy(engine) == accuracy(alone)
    assert accuracy(engine) > accuracy(trained(SimpleCILPlugin(), stream))


def test_rules_that_cannot_be_told_apart_all_count() -> None:
    plugin = AutoPlugin(rules=SOME, tie_errors=1000.0)
    engine = trained(plugin, make_feature_stream())
    assert list(plugin.rules_) == SOME
    head = fused(engine)
    parts = [weight * head.member(name)(QUERIES) for name, weight in head.used.items()]
    torch.testing.assert_close(head(QUERIES), sum(parts, torch.zeros(())))


def test_every_rule_is_compared_and_the_note_says_what_was_found() -> None:
    plugin = AutoPlugin(rules=list(RULES), num_tasks=2)
    trained(plugin, make_feature_stream(), num_sessions=1)
    assert plugin.choice_["rules"] == list(RULES)
    table = plugin.choice_["table"]
    assert table.shape == (len(RULES), 5)
    torch.testing.assert_close(table[:, 2], table[:, :2].mean(1))
    best = plugin.choice_["rules"][int(table[:, 2].argmax())]
    note = plugin.session_note(0)
    assert note.startswith(f"chose {best}")
    assert "on 2 streams cut from the base session's training data" in note
    average, harmonic = (100 * table[list(RULES).index("teen"), :2]).tolist()
    assert f"teen {average:.1f} / {harmonic:.1f}" in note
    assert plugin.session_note(1) == ""


def test_the_choice_sees_the_base_session_alone() -> None:
    tables = []
    for seed in (0, 1):
        plugin = AutoPlugin(rules=SOME)
        engine = make_engine(plugin, make_feature_stream())
        engine.train_session(0)
        engine.stream = make_feature_stream(seed=seed)  # other shots and tests
        engine.train_session(1)
        tables.append(plugin.choice_["table"])
    assert tables[0].equal(tables[1])


def test_rules_that_do_not_count_are_dropped() -> None:
    plugin = AutoPlugin(rules=SOME, tie_errors=0)
    engine = trained(plugin, make_feature_stream(), num_sessions=1)
    unused = set(SOME) - set(plugin.rules_)
    assert len(unused) == 2
    for name in unused:
        tensors = fused(engine).member(name).state_dict().values()
        assert sum(tensor.numel() for tensor in tensors) == 0


@pytest.mark.parametrize("tie_errors", [0.0, 1000.0])
def test_a_stopped_run_goes_on_as_if_it_never_had(tie_errors: float) -> None:
    stream = make_feature_stream()
    engine = trained(AutoPlugin(rules=SOME, tie_errors=tie_errors), stream, num_sessions=2)
    again = make_engine(AutoPlugin(rules=SOME, tie_errors=tie_errors), stream)
    again.load_state_dict(engine.state_dict())
    for each in (engine, again):
        for session in (2, 3):
            each.train_session(session)
    assert fused(again)(QUERIES).equal(fused(engine)(QUERIES))
    assert again.plugin.session_note(0) == engine.plugin.session_note(0) != ""


def test_a_saved_model_needs_no_plugins_state() -> None:
    stream = make_feature_stream()
    engine = trained(AutoPlugin(rules=SOME, tie_errors=1000.0), stream)
    settings = ModelConfig(backbone="identity", frozen=True)
    fresh = AutoPlugin(rules=SOME, tie_errors=1000.0)
    model = build_classifier(settings, stream.info.input_shape, 18, fresh)
    model.load_trained_state(engine.model.trained_state())
    assert model(QUERIES).equal(engine.model(QUERIES))


@pytest.mark.parametrize(("tie_errors", "noted"), [(0.0, False), (1000.0, True)])
def test_a_classifier_file_learns_by_the_best_rule(tie_errors: float, noted: bool) -> None:
    plugin = AutoPlugin(rules=SOME, tie_errors=tie_errors)
    engine = trained(plugin, make_feature_stream())
    rule, note = rule_of({"name": "auto", "parameters": {}}, plugin, engine.model)
    assert rule.name == "lda"
    lda = plugin.rules_["lda"]
    assert isinstance(lda, LDAPlugin)
    assert rule.frame()["fitted"] == {"parameters_": lda.parameters_}
    assert ("averages the scores of 3 rules" in note) is noted


def shots_used(stream: Stream, **parameters: Any) -> int:
    plugin = AutoPlugin(rules=["teen_whitened"], **parameters)
    plugin.check_stream(stream.info, [])
    made = plugin._rule("teen_whitened")
    assert isinstance(made, TEENWhitenedPlugin)
    return made.fake_shots


def test_fake_shots_are_the_streams_unless_given() -> None:
    stream = make_feature_stream()
    assert shots_used(stream) == stream.info.shots == 5
    assert shots_used(stream, fake_shots=2) == 2


def test_seeds_reach_the_rules() -> None:
    made = AutoPlugin(choice_seed=3)._rule("lda")
    assert isinstance(made, LDAPlugin)
    assert made.choice_seed == 3


def test_too_small_a_base_session_takes_the_first_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "LEAST_FEW_SHOT_CLASSES", 100)
    stream = make_stream()
    torch.manual_seed(0)
    plugin = AutoPlugin(rules=["lda", "class_means"])
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
    engine = Engine(stream, model, plugin, TrainingConfig(base_epochs=0, incremental_epochs=0))
    engine.train_session(0)
    assert list(plugin.rules_) == ["lda"]
    assert plugin.choice_ == {}
    assert plugin.session_note(0) == ""


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["ldaa"], "rules names 'ldaa', which is unknown; did you mean 'lda'"),
        ([], "rules must name at least one rule and none twice"),
        (["lda", "lda"], "rules must name at least one rule and none twice"),
    ],
)
def test_unsuitable_rules_are_refused(rules: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        AutoPlugin(rules=rules)


def test_a_session_s_features_are_asked_for_once() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    asked = []

    class Source(GivenFeatures):
        def features(self, session: int, part: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
            asked.append(session)
            return super().features(session, part)

    template: Any = SimpleNamespace(
        feature_source=Source(features.float(), labels),
        experience=SimpleNamespace(current_experience=0),
    )
    plugin = AutoPlugin(num_tasks=1)
    head = plugin.make_head(features.shape[1], 0, 16.0)
    plugin.learn(template, head.requires_grad_(False))
    assert asked == [0]
