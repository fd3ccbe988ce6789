"""Zero-shot CLIP: rows are the text embeddings of names, and nothing is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.tiny_clip import load_tiny_clip, write_tiny_clip
from helpers.tiny_clip_stream import SESSIONS, clip_engine, colour_stream
from torch import nn

from cl_suite.avalanche import api, benchmark
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.text import TextHead
from cl_suite.models.settings import ModelConfig
from cl_suite.storage import checkpoint
from cl_suite.strategies.zero_shot_clip import ZeroShotCLIPPlugin, session_names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_rows_are_the_text_embeddings_of_the_names_seen(folder: Path) -> None:
    engine = clip_engine(folder, ZeroShotCLIPPlugin())
    body, names = load_tiny_clip(folder), engine.stream.info.class_names
    for session in range(3):
        engine.train_session(session)
        seen = [c for classes in SESSIONS[: session + 1] for c in classes]
        assert sorted(engine.model.head.classes) == sorted(seen)
        expected = body.embed_names([names[c] for c in seen], "a photo of a {}.")
        torch.testing.assert_close(engine.model.head.rows(seen), expected)


def test_predictions_are_the_nearest_names(folder: Path) -> None:
    engine = clip_engine(folder, ZeroShotCLIPPlugin())
    for session in range(3):
        engine.train_session(session)
    body, info = load_tiny_clip(folder).eval(), engine.stream.info
    texts = body.embed_names(info.class_names, "a photo of a {}.")
    confusion = torch.zeros(8, 8, dtype=torch.int64)
    for samples in engine.stream.test:
        for index in range(len(samples)):
            image, label = samples[index]
            with torch.no_grad():
                feature = body(info.eval_transform(image)[None])
            confusion[label, torch.cosine_similarity(feature, texts).argmax()] += 1
    assert engine.evaluate(2).equal(confusion)


@pytest.mark.parametrize("epochs", [0, 2])
def test_nothing_is_trained_whatever_the_recipe_says(folder: Path, epochs: int) -> None:
    engine = clip_engine(
        folder, ZeroShotCLIPPlugin(), base_epochs=epochs, incremental_epochs=epochs
    )
    before = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    for session in range(3):
        engine.train_session(session)
    assert all(v.equal(before[k]) for k, v in engine.model.backbone.state_dict().items())


def test_a_frozen_backbone_serves_too(folder: Path) -> None:
    engine = clip_engine(folder, ZeroShotCLIPPlugin(), frozen=True, base_epochs=0)
    engine.train_session(0)
    assert engine.evaluate(0).sum() == 20


def test_names_and_rows_survive_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    engine = clip_engine(folder, ZeroShotCLIPPlugin())
    for session in (0, 1):
        engine.train_session(session)
    checkpoint.save(tmp_path / "state.safetensors", engine.state_dict())
    engine.train_session(2)
    resumed = clip_engine(folder, ZeroShotCLIPPlugin())
    resumed.load_state_dict(checkpoint.load(tmp_path / "state.safetensors"))
    assert list(resumed.plugin.names_) == [0, 2, 5, 7, 1, 6]
    resumed.train_session(2)
    assert resumed.evaluate(2).equal(engine.evaluate(2))


def session_of(classes: list[int], names: dict[int, str] | None = None) -> Any:
    experience = SimpleNamespace(classes_in_this_experience=set(classes))
    if names is not None:
        experience.class_names = names
    return SimpleNamespace(experience=experience)


def test_names_come_from_the_session_or_the_parameter() -> None:
    assert session_names(session_of([3, 1], {1: "oak", 3: "elm"}), None, "x") == {
        1: "oak",
        3: "elm",
    }
    assert session_names(session_of([2]), ["a", "b", "c"], "x") == {2: "c"}


@pytest.mark.parametrize(
    ("names", "parameter", "message"),
    [
        (None, None, "class 1 has none"),
        ({1: "oak"}, None, "class 4 has none"),
        ({1: "oak", 4: " "}, None, "class 4 has none"),
        (None, ["oak"], "class 1 has none"),
        ({1: "1", 4: "17"}, None, r"names, but this session's are numbers or codes \('1'\)"),
        ({1: "n01532829", 4: "n01558993"}, None, r"numbers or codes \('n01532829'\)"),
        ({1: "001.Bird_A", 4: "002.Bird_B"}, None, r"numbers or codes \('001.Bird_A'\)"),
    ],
)
def test_missing_names_and_numbers_are_refused(
    names: dict[int, str] | None, parameter: list[str] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        session_names(session_of([4, 1], names), parameter, "zero_shot_clip")


def test_numbers_for_names_are_refused_before_any_training(folder: Path) -> None:
    stream = colour_stream(names=[str(i) for i in range(8)])
    engine = clip_engine(folder, ZeroShotCLIPPlugin(), stream)
    engine.on_batch = lambda *_: pytest.fail("a step was trained")
    with pytest.raises(UserError, match=r"pass words by class_names"):
        engine.train_session(0)


@pytest.mark.parametrize("network", ["conv4", "foreign"])
def test_a_network_without_a_text_tower_is_refused(network: str) -> None:
    model = (
        nn.Linear(2, 2) if network == "foreign" else build_classifier(ModelConfig(), (1, 16, 16))
    )
    with pytest.raises(UserError, match=r"needs a CLIP backbone, got .*model\.backbone='clip:"):
        ZeroShotCLIPPlugin().prepare_model(model)


def test_a_template_without_a_place_for_the_name_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"must have \{\} in place of the class name"):
        clip_engine(folder, ZeroShotCLIPPlugin(template="a photo"))


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_it_works_in_a_bare_template_given_names(folder: Path) -> None:
    stream = colour_stream()
    model = build_classifier(
        ModelConfig(backbone=f"clip:{folder}", weights=str(folder)), stream.info.input_shape
    )
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        plugins=[ZeroShotCLIPPlugin(class_names=list(stream.info.class_names))],
        evaluator=api.EvaluationPlugin(loggers=[]),
    )
    for experience in benchmark(stream).train_stream:
        template.train(experience)
    template.eval(benchmark(stream).test_stream)
    assert isinstance(model.head, TextHead)
    assert sorted(model.head.classes) == list(range(8))
