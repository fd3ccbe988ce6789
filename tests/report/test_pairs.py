"""Which strategy runs on which scenario: the printed list agrees with real runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.confusions import evaluate_sessions
from helpers.tiny_models import fitting, make_plugin, tiny_classifier
from helpers.tiny_runs import refused
from helpers.tiny_streams import make_samples

from cl_suite import registry
from cl_suite.cli import main
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, RandomAffine, ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.randomness import seed_everything
from cl_suite.report.pairs import pairs
from cl_suite.requirements import KINDS, MODALITIES, misfit, requirements_of

STRATEGIES = sorted(registry.entries("strategy"))


def repeated() -> Stream:
    """Three sessions of the same four classes."""
    return build_stream(
        name="again",
        class_names=[f"pattern {i}" for i in range(4)],
        session_classes=[[0, 1, 2, 3]] * 3,
        train=[make_samples([0, 1, 2, 3], 4, seed=i) for i in range(3)],
        test=[make_samples([0, 1, 2, 3], 2, seed=10 + i) for i in range(3)],
        train_transform=Compose((ToFloat(), RandomAffine())),
        eval_transform=ToFloat(),
        kind="data",
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_learns_from_classes_that_come_again_or_says_that_it_does_not(
    name: str,
) -> None:
    required = requirements_of(make_plugin(name))
    reasons = {kind: misfit(required, kind, "image") for kind in KINDS}
    assert reasons["class"] is None
    if reasons["data"] is not None:
        assert "only from streams of new classes" in reasons["data"]
        return
    stream = fitting(repeated(), name)
    seed_everything(0)
    plugin = make_plugin(name)
    model = tiny_classifier(name, stream, plugin)
    recipe = TrainingConfig(base_epochs=2, incremental_epochs=2, batch_size=8, lr=0.02)
    engine = Engine(stream, model, plugin, recipe)
    for session in range(3):
        engine.train_session(session)
        confusions = evaluate_sessions(engine, session, engine.measure)
        assert [int(c.sum()) for c in confusions] == [8] * (session + 1)
    assert len(set(model.head.classes)) == len(model.head.classes)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategys_yaml_file_repeats_what_its_class_requires(name: str) -> None:
    entry = registry.get("strategy", name)
    required = requirements_of(make_plugin(name))
    stated = entry.settings.get("runs_on", {})
    assert set(stated.get("kinds", KINDS)) == set(required.kinds)
    assert set(stated.get("modalities", MODALITIES)) == set(required.modalities)


@pytest.mark.parametrize("name", sorted(registry.entries("scenario")))
def test_a_scenarios_yaml_file_repeats_the_kind_of_its_stream(name: str) -> None:
    entry = registry.get("scenario", name)
    scenario = object.__new__(entry.load())
    scenario.__dict__ |= {k: f.default for k, f in scenario.__dataclass_fields__.items()}
    stated = entry.settings.get("stream", {})
    assert stated.get("kind", "class") == getattr(scenario, "kind", "class")
    assert stated.get("modality", "image") == getattr(scenario, "modality", "image")


def test_a_pair_that_cannot_run_is_refused_before_its_data_are_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # the folder does not exist, and nobody looks
    root = ["--scenario.root", "/no/such/folder"]
    error = refused(capsys, "run", "spoken_digits", "zero_shot_clip", *root)
    assert "does not run on scenario 'spoken_digits': it learns only from images" in error


def test_a_parameter_that_makes_a_stream_of_new_classes_is_respected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "cfsl", "knn", "--training.base_epochs", "1", "--device", "cpu"]
    run += ["--out", str(tmp_path)]
    assert "does not run on scenario 'cfsl'" in refused(capsys, *run)
    assert main([*run, "--scenario.class_change", "1"]) == 0


def test_every_pair_is_told_with_the_reason_where_it_does_not_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "--pairs"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in STRATEGIES:
        assert name in text
    assert pairs()["teen"]["omniglot"] is None
    assert pairs()["zero_shot_clip"]["spoken_digits"] == "it learns only from images"
    assert pairs()["picle"]["omniglot"] is pairs()["simclr"]["spoken_digits"] is None
    assert pairs()["picle"]["spoken_digits"] == "it learns only from images"
    assert main(["list", "pairs"]) == 0
