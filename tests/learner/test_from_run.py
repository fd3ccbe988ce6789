"""A run's classifier goes on: the learner and the engine give the same answers."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_runs import run
from helpers.tiny_sounds import write_digits

import cl_suite
from cl_suite import Learner, registry
from cl_suite.data.readers import omniglot
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.runs.folder import RunFolder

RULES: list[tuple[str, dict[str, Any]]] = [
    ("prototype", {}),
    ("simple_cil", {"model.frozen": True, "strategy.centre": True}),
    ("teen", {}),
    ("teen_whitened", {}),
    ("lda", {}),
    ("ranpac", {"strategy.num_projections": 96}),
    ("auto", {"strategy.rules": ["teen", "lda"], "strategy.tie_errors": 0}),
    ("fsa", {"strategy.head_rule": "teen_whitened", "training.lr": 0.01}),
    ("fsa", {"strategy.head_rule": "lda", "strategy.concat": True, "training.lr": 0.01}),
    ("contrastive", {"strategy.loss": "gml", "strategy.head_rule": "teen"}),
]
STREAM: dict[str, Any] = {"scenario.base_classes": 62, "scenario.way": 60, "scenario.shots": 5}


def stream() -> Stream:
    scenario = registry.get("scenario", "omniglot").load()
    built: Stream = scenario(base_classes=62, way=60, shots=5).build()
    return built


def drawings() -> dict[bytes, np.ndarray[Any, Any]]:
    """The original drawings, ink on paper, by their shrunk pixels."""
    asset = resources.files("cl_suite.data.assets") / omniglot.ASSET
    with resources.as_file(asset) as path:
        ink, _ = omniglot.unpack(path)
    flat = ink.reshape(-1, *ink.shape[2:])
    small = omniglot.shrink(flat, omniglot.IMAGE_SIZE)
    paper = np.where(flat, 0, 255).astype(np.uint8)
    return {pixels.numpy().tobytes(): picture for pixels, picture in zip(small, paper, strict=True)}


def hits(learner: Learner, built: Stream, sessions: range) -> list[list[int]]:
    """Hits of each class seen, by session of the test data."""
    found = []
    for session in sessions:
        samples = built.test[session]
        inputs = [built.info.eval_transform(samples[row][0]) for row in range(len(samples))]
        guesses = learner.answers(learner.extractor.to_predict(inputs), top=1)
        right = [
            built.info.class_names[target] == guess.labels[0]
            for target, guess in zip(samples.targets, guesses, strict=True)
        ]
        classes = built.info.session_classes[session]
        found.append(
            [
                sum(hit for hit, t in zip(right, samples.targets, strict=True) if t == class_id)
                for class_id in classes
            ]
        )
    return found


@pytest.mark.parametrize(("strategy", "settings"), RULES)
def test_sessions_taught_one_by_one_give_the_hits_of_the_run(
    strategy: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    folder = run(tmp_path, strategy, **STREAM, **settings)
    built, measured = stream(), RunFolder(folder).read_hits()
    learner = Learner.from_run(folder)
    assert learner.note == ""
    for session in range(1, built.info.num_sessions):
        for class_id in built.info.session_classes[session]:
            learner.forget(built.info.class_names[class_id])
    pictures = drawings()
    for session in range(built.info.num_sessions):
        if session:
            samples = built.train[session]
            for class_id in built.info.session_classes[session]:
                shown = [
                    pictures[samples[row][0].numpy().tobytes()]
                    for row, target in enumerate(samples.targets)
                    if target == class_id
                ]
                assert learner.learn(shown, built.info.class_names[class_id]).added == 5
        for part, found in enumerate(hits(learner, built, range(session + 1))):
            classes = list(built.info.session_classes[part])
            assert found == measured.hits[session][classes].tolist(), (session, part)


def test_a_trained_head_is_replaced_by_class_means_and_the_learner_says_so(tmp_path: Path) -> None:
    folder = run(tmp_path, "finetune")
    learner = Learner.from_run(folder)
    assert "trains its classifier" in learner.note
    assert learner.rule.name == "simple_cil"
    assert len(learner.labels) == 242
    assert learner.spec.digest


def test_a_banked_run_leaves_the_same_pictures(tmp_path: Path) -> None:
    banked = Learner.from_run(
        run(tmp_path, "simple_cil", **{"model.frozen": True, "model.bank": True})
    )
    plain = Learner.from_run(
        run(tmp_path / "b", "simple_cil", **{"model.frozen": True, "model.bank": False})
    )
    assert banked.labels == plain.labels
    for label in plain.labels:
        one, other = banked.state.records[label], plain.state.records[label]
        assert one.ids == other.ids
        assert one.kept.thumbnails == other.kept.thumbnails
        torch.testing.assert_close(one.total, other.total, rtol=1e-4, atol=1e-5)
    assert any(record.kept.thumbnails[0] for record in plain.state.records.values())


def test_a_run_that_starts_from_another_stands_alone(tmp_path: Path) -> None:
    first = run(tmp_path, "finetune")
    settings = {"model.weights": str(first), "model.frozen": True}
    second = run(tmp_path / "b", "simple_cil", **settings)
    moved = tmp_path / "alone.clm"
    Learner.from_run(second).save(moved)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if path.is_file() and path != moved:
            path.unlink()
    assert len(Learner.load(moved).labels) == 242


def test_folders_without_a_classifier_say_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        Learner.from_run(tmp_path)
    folder = run(tmp_path, "teen")
    (folder / "model" / "classifier.clm").unlink()
    with pytest.raises(UserError, match="comes from a version before"):
        Learner.from_run(folder)
    info = folder / "run.json"
    info.write_text(info.read_text().replace('"finished": true', '"finished": false'))
    with pytest.raises(UserError, match="is not finished"):
        Learner.from_run(folder)


def test_a_run_on_sounds_says_that_it_leaves_none(tmp_path: Path) -> None:
    folder = cl_suite.run(
        "spoken_digits",
        "finetune",
        out=tmp_path,
        device="cpu",
        listeners=(),
        **{
            "scenario.root": str(write_digits(tmp_path / "digits")),
            "scenario.base_classes": 2,
            "scenario.way": 1,
            "scenario.shots": 2,
            "training.base_epochs": 1,
            "training.incremental_epochs": 1,
        },
    )
    with pytest.raises(UserError, match="samples are sounds"):
        Learner.from_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["simple_cil", "teen"])
def test_photos_taught_one_by_one_give_the_hits_of_a_run_on_mini_imagenet(
    strategy: str, shared: Path, tmp_path: Path
) -> None:
    root, name = shared / "data" / "miniimagenet", "tf_efficientnet_lite0"
    folder = cl_suite.run(
        "mini_imagenet",
        strategy,
        out=tmp_path,
        device="cpu",
        listeners=(),
        **{
            "scenario.root": str(root),
            "model.backbone": name,
            "model.weights": str(shared / "weights" / f"{name}.safetensors"),
            "model.frozen": True,
            "model.image_size": 64,
            "training.base_epochs": 0,
        },
    )
    measured, learner = RunFolder(folder).read_hits(), Learner.from_run(folder)
    scenario = registry.get("scenario", "mini_imagenet").load()
    built: Stream = scenario(dataset="mini_imagenet", root=str(root)).build()
    names = built.info.class_names
    later = range(1, built.info.num_sessions)
    for session in later:
        for class_id in built.info.session_classes[session]:
            learner.forget(names[class_id])
    prepare = learner.extractor.prepare
    tests = [
        learner.extractor.to_predict([prepare(samples[row][0]) for row in range(len(samples))])
        for samples in built.test
    ]
    for session in later:
        samples = built.train[session]
        for class_id in built.info.session_classes[session]:
            rows = [row for row, target in enumerate(samples.targets) if target == class_id]
            learner.learn([samples[row][0] for row in rows], names[class_id])
        for part in range(session + 1):
            guesses = learner.answers(tests[part], top=1)
            found = np.zeros(len(names), dtype=int)
            for target, guess in zip(built.test[part].targets, guesses, strict=True):
                found[target] += names[target] == guess.labels[0]
            classes = list(built.info.session_classes[part])
            assert found[classes].tolist() == measured.hits[session][classes].tolist()
