"""The ground that a strategy is meant for: what may be stated, and the sentence off it."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.tiny_models import tiny_model
from helpers.tiny_streams import make_stream

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.ground import CRITERIA, Range, ground_in_words, ground_of, off_ground
from cl_suite.engine.session import BaseArtefact
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything


def engine_of(
    stream: Stream | None = None, *, weights: str | None = None, start: bool = False, **epochs: int
) -> Engine:
    stream = stream or make_stream()
    seed_everything(0)
    model = build_classifier(tiny_model("finetune"), stream.info.input_shape, 8, None)
    model.backbone.weights = weights
    training = TrainingConfig(**{"base_epochs": 2, "incremental_epochs": 1, **epochs})
    artefact = BaseArtefact(model.trained_state(), None, None) if start else None
    return Engine(stream, model, StrategyPlugin(), training, start=artefact)


def said(stated: dict[str, Any], engine: Engine | None = None) -> str | None:
    return off_ground("own", ground_of({"meant_for": stated}, "own"), engine or engine_of())


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        (
            {"base_shots": {"most": 11}},
            "base sessions of at most 11 images a class; here the base session has 12 images a "
            "class",
        ),
        (
            {"base_classes": {"least": 5, "most": 9}},
            "base sessions of 5 to 9 classes; here the base session has 4 classes",
        ),
        (
            {"later_shots": {"least": 4}},
            "later sessions of at least 4 images a class; here session 1 has 3 images a class",
        ),
        (
            {"epochs": {"most": 1}},
            "at most 1 epoch a session; here session 0 trains 2 epochs",
        ),
        (
            {"epochs": {"least": 2}},
            "at least 2 epochs a session; here session 1 trains 1 epoch",
        ),
        (
            {"pretrained": True},
            "pretrained networks; here the network starts at random weights",
        ),
        (
            {"base_shots": {"most": 12}, "later_shots": {"most": 2}, "pretrained": True},
            "later sessions of at most 2 images a class, and pretrained networks; here session 1 "
            "has 3 images a class, and the network starts at random weights",
        ),
    ],
)
def test_a_run_off_the_ground_is_told_what_is_unlike_it(
    stated: dict[str, Any], sentence: str
) -> None:
    assert said(stated) == f"own is meant for {sentence}"


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"base_shots": {"most": 12}},
        {"base_classes": {"least": 4, "most": 4}},
        {"later_shots": {"least": 3, "most": 3}},
        {"epochs": {"least": 1, "most": 2}},
        {"pretrained": False},
    ],
)
def test_a_run_on_the_ground_is_told_nothing(stated: dict[str, Any]) -> None:
    assert said(stated) is None


def test_a_pretrained_network_may_be_the_wrong_one() -> None:
    engine = engine_of(weights="abc")
    assert said({"pretrained": True}, engine) is None
    assert said({"pretrained": False}, engine) == (
        "own is meant for networks that start at random weights; here the network is pretrained"
    )


def test_sessions_that_do_not_train_have_no_epochs() -> None:
    assert said({"epochs": {"least": 2}}, engine_of(incremental_epochs=0)) is None


def test_another_runs_base_session_is_not_judged_by_its_training() -> None:
    engine = engine_of(start=True)
    assert said({"epochs": {"most": 1}, "pretrained": True}, engine) is None
    assert said({"base_shots": {"most": 11}}, engine) is not None


def test_sounds_are_called_sounds() -> None:
    stream = make_stream(modality="audio", shots=1)
    assert said({"later_shots": {"least": 2}}, engine_of(stream)) == (
        "own is meant for later sessions of at least 2 sounds a class; here session 1 has 1 sound "
        "a class"
    )


def test_a_ground_is_told_without_a_run() -> None:
    ground = {"base_shots": Range(most=1), "epochs": Range(least=60)}
    assert ground_in_words(ground) == (
        "base sessions of at most 1 sample a class, and at least 60 epochs a session"
    )
    assert ground_in_words({}) == ""


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"base_shot": {"most": 3}}, "set 'base_shot', which does not exist; did you mean 'base_s"),
        ({"epochs": 1}, r"must set 'epochs' to a range, such as \{'most': 16\}, got 1"),
        ({"epochs": {}}, r"must set 'epochs' to a range, such as \{'most': 16\}, got \{\}"),
        ({"epochs": {"max": 1}}, "set 'epochs.max', which does not exist; known: least, most"),
        ({"epochs": {"most": 1.5}}, "must set 'epochs.most' to a whole number from 1, got 1.5"),
        ({"epochs": {"most": True}}, "must set 'epochs.most' to a whole number from 1, got True"),
        ({"epochs": {"least": 0}}, "must set 'epochs.least' to a whole number from 1, got 0"),
        (
            {"epochs": {"least": 3, "most": 2}},
            "set 'epochs' to no number: 'least' 3 is above 'most' 2",
        ),
        ({"pretrained": "yes"}, "must set 'pretrained' to true or false, got 'yes'"),
    ],
)
def test_a_ground_that_does_not_exist_is_refused(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"the settings of own, under 'meant_for', {message}"):
        ground_of({"meant_for": stated}, "own")


def test_the_guide_lists_every_criterion() -> None:
    from helpers.project_files import ROOT

    guide = (ROOT / "docs/guides/own_method.md").read_text("utf-8")
    assert [name for name in CRITERIA if f"| `{name}` |" not in guide] == []
