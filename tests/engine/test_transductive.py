"""Prototypes moved by the unlabelled test samples: opt-in, marked, and nothing else changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import SESSIONS, make_engine, make_feature_stream
from helpers.tiny_runs import TINY

from cl_suite import cli
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import EvaluationConfig, Transductive
from cl_suite.engine.training import TrainingConfig
from cl_suite.engine.transductive import refined_head
from cl_suite.errors import UserError
from cl_suite.features.refine import refined
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.class_head import CosineHead, LinearHead
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies import LDAPlugin, SimpleCILPlugin, TEENWhitenedPlugin


def engine_of(plugin: Any, transductive: Transductive, stream: Stream | None = None) -> Engine:
    stream = stream or make_feature_stream()
    torch.manual_seed(0)
    settings, info = ModelConfig(backbone="identity", frozen=True), stream.info
    model = build_classifier(settings, info.input_shape, info.num_classes, plugin)
    recipe = TrainingConfig(base_epochs=0, incremental_epochs=0)
    return Engine(
        stream, model, plugin, recipe, evaluation=EvaluationConfig(transductive=transductive)
    )


@pytest.mark.parametrize("rule", ["softmax", "sinkhorn"])
def test_a_refined_head_has_refined_rows_and_its_own_scores(rule: Any) -> None:
    head = CosineHead(4)
    head.set_rows([5, 2], torch.randn(2, 4))
    before = head.weight.detach().clone()
    samples = torch.randn(30, 4)
    twin = refined_head(head, samples, {5: 5, 2: 7}, rule)
    expected = refined(before, samples, torch.tensor([5.0, 7.0]), rule)
    assert twin.weight.equal(expected)
    assert head.weight.equal(before)
    scores = 16 * F.normalize(samples) @ expected.T
    torch.testing.assert_close(twin(samples)[:, [5, 2]], scores)


@pytest.mark.parametrize("rule", ["softmax", "sinkhorn"])
@pytest.mark.parametrize("plugin", [SimpleCILPlugin, TEENWhitenedPlugin])
def test_predictions_change_and_the_model_does_not(plugin: Any, rule: Any) -> None:
    plain, moved = make_engine(plugin(), make_feature_stream()), engine_of(plugin(), rule)
    for session in range(SESSIONS):
        plain.train_session(session)
        moved.train_session(session)
        found = moved.evaluate(session)
        assert not found.equal(plain.evaluate(session))
    assert moved.model.head.weight.equal(plain.model.head.weight)
    assert found.equal(moved.evaluate(SESSIONS - 1)), "a second evaluation finds the same"


def test_only_test_samples_so_far_have_a_part() -> None:
    engine = engine_of(SimpleCILPlugin(), "softmax")
    engine.train_session(0)
    first = engine.evaluate(0)
    engine.train_session(1)
    engine.evaluate(1)
    again = engine_of(SimpleCILPlugin(), "softmax")
    again.train_session(0)
    assert again.evaluate(0).equal(first)


def test_what_later_sessions_have_of_a_class_has_no_part() -> None:
    plain = make_feature_stream()
    first, second, *others = plain.train
    again = TensorSamples(
        torch.cat([second.inputs, first.inputs[:3].repeat(1000, 1)]),  # type: ignore[attr-defined]
        [*second.targets, *first.targets[:3] * 1000],
    )
    back = dataclasses.replace(plain, train=(first, again, *others))
    found = []
    for stream in (plain, back):
        engine = engine_of(SimpleCILPlugin(), "softmax", stream)
        engine.train_session(0)
        found.append(engine.evaluate(0))
    assert found[0].equal(found[1])


def test_a_classifier_without_prototypes_is_refused_before_training() -> None:
    with pytest.raises(UserError, match="moves the prototypes of a cosine classifier"):
        engine_of(LDAPlugin(), "softmax")
    head = LinearHead(3)
    head.set_rows([0], torch.randn(1, 4))
    with pytest.raises(UserError, match="LinearHead"):
        refined_head(head, torch.randn(2, 3), {}, "softmax")


@pytest.mark.parametrize("other", ["task_known", "confidence"])
def test_what_excludes_it_is_refused(other: str) -> None:
    given: Any = {other: True}
    with pytest.raises(UserError, match=f"transductive=.sinkhorn. .* contradicts .*{other}"):
        EvaluationConfig(transductive="sinkhorn", **given).check()


def test_the_command_line_refuses_a_gaussian_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "omniglot", "lda", "--evaluation.transductive", "softmax", *TINY]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert "--evaluation.transductive" in error
    assert "Traceback" not in error


def test_a_run_says_so_and_its_row_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "omniglot", "teen", *TINY]
    assert cli.main([*words, "--out", "plain"]) == 0
    assert "transductive" not in capsys.readouterr().out
    moved = [*words, "--evaluation.transductive", "sinkhorn", "--out", "moved"]
    assert cli.main(moved) == 0
    assert "(transductive)" in capsys.readouterr().out
    folders = [tmp_path / out / "omniglot/teen/seed0" for out in ("plain", "moved")]
    facts = [json.loads((folder / "run.json").read_text("utf-8")) for folder in folders]
    assert [each["uses_test_features"] for each in facts] == [False, True]
    assert facts[1]["measured_by"].endswith("test samples (transductive)")
    assert cli.main(["show", "plain", "moved"]) == 0
    shown = capsys.readouterr().out
    # the cell of its name, in two lines
    assert "(transductive)" in [line.strip() for line in shown.splitlines()]
