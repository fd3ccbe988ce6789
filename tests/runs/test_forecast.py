"""What a run says before it trains: what is trained, on how much, and for how long."""

from __future__ import annotations

from typing import Any

from helpers.tiny_models import tiny_model
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.plugin import StrategyPlugin
from cl_suite.runs.forecast import Pace, training_line, training_notes


def engine_of(training: TrainingConfig, *, weights: str | None = None, frozen: bool = False) -> Any:
    stream = make_stream()
    model = build_classifier(tiny_model("finetune"), stream.info.input_shape, 8, None)
    model.backbone.weights = weights
    model.backbone.requires_grad_(not frozen)
    return Engine(stream, model, StrategyPlugin(), training)


def test_the_line_before_training_names_parameters_samples_and_epochs() -> None:
    engine = engine_of(TrainingConfig(base_epochs=7, incremental_epochs=0))
    samples = len(engine.stream.train[0])
    line = training_line(engine)
    assert f"session 0: 7 epochs on {samples} samples; later sessions: no training" in line
    assert "parameters are trained" in line


def test_a_high_rate_on_pretrained_weights_is_noted() -> None:
    high = TrainingConfig(lr=0.05, incremental_lr=0.001)
    (note,) = training_notes(engine_of(high, weights="abc"))
    assert note.startswith("note: --training.lr 0.05 suits training from scratch")
    low = TrainingConfig(lr=0.001, incremental_lr=0.001)
    assert list(training_notes(engine_of(low, weights="abc"))) == []
    assert list(training_notes(engine_of(high))) == []
    assert list(training_notes(engine_of(high, weights="abc", frozen=True))) == []


def test_a_backbone_that_stays_random_is_noted() -> None:
    (note,) = training_notes(engine_of(TrainingConfig(), frozen=True))
    assert "frozen at random weights" in note
    (note,) = training_notes(engine_of(TrainingConfig(base_epochs=0, incremental_epochs=0)))
    assert "keeps its random weights" in note


def test_the_time_left_is_said_once_and_leaves_the_slow_first_step_out() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pace.starts()
    said = []
    for step, at in enumerate((1.5, 1.7, 1.9, 2.1, 2.3), start=1):
        now[0] = at
        said.append(pace.step(0, step, 100, 5))
    assert said == [None, None, None, "  about 2 min of training left", None]


def test_a_short_training_has_no_time_said() -> None:
    now = [3.0]
    pace = Pace(lambda: now[0])
    pace.starts()
    now[0] = 6.0
    assert pace.step(0, 1, 2, 1) is None
