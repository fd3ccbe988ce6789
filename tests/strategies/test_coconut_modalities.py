"""COCONUT: views and texts as the second modality, also after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_clip import write_tiny_clip
from helpers.tiny_clip_stream import clip_engine
from helpers.tiny_coconut import Recording, make_engine, run, same, weights
from helpers.tiny_streams import make_stream

from cl_suite.data.stream import build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.plugin import requirements_of
from cl_suite.storage import checkpoint
from cl_suite.strategies.coconut import COCONUTPlugin


def test_a_second_view_passes_the_student_too() -> None:
    plugin = Recording(buffer=12, modality="view")
    run(make_engine(plugin), 1)
    assert requirements_of(plugin).batch.views == 2
    assert plugin.student_passes == [2] * len(plugin.added)
    assert torch.stack(plugin.added).min() > 0


def test_equal_views_are_warned_of() -> None:
    info = (random := make_stream()).info
    still = build_stream(
        name="still",
        class_names=info.class_names,
        session_classes=info.session_classes,
        train=random.train,
        test=random.test,
        train_transform=ToFloat(),
        eval_transform=ToFloat(),
        shots=3,
    )
    with pytest.warns(UserWarning, match="both views of each sample are the same"):
        run(make_engine(COCONUTPlugin(buffer=12, modality="view"), still), 1)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_texts_are_the_towers_embeddings_of_the_names_and_give_it_no_gradient(
    clip_folder: Path,
) -> None:
    plugin = COCONUTPlugin(buffer=12, modality="text", template="a {}.")
    engine = clip_engine(clip_folder, plugin)
    names = engine.stream.info.class_names
    body = engine.model.backbone.body
    expected = body.embed_names([names[c] for c in (0, 2, 5, 7)], "a {}.")
    tower = {n: p.clone() for n, p in body.named_parameters() if "text" in n}
    engine.train_session(0)
    torch.testing.assert_close(torch.stack([plugin.texts_[c] for c in (0, 2, 5, 7)]), expected)
    # nothing but weight decay acts on it, if that
    assert all(p.grad is None for n, p in body.named_parameters() if n in tower)
    engine.train_session(1)
    assert sorted(plugin.texts_) == [0, 1, 2, 5, 6, 7]


def test_text_without_a_text_tower_is_refused() -> None:
    with pytest.raises(UserError, match="strategy 'coconut' needs a CLIP backbone"):
        make_engine(COCONUTPlugin(buffer=12, modality="text"))


def resumes(make: Any, tmp_path: Path) -> None:
    engine, saved = make(), []

    def save(record: EpochRecord) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, record.session))

    engine.on_epoch = save
    expected = weights(run(engine))
    assert len(saved) == 6
    for path, session in saved[1:4]:
        resumed = make()
        torch.rand(7)
        resumed.load_state_dict(checkpoint.load(path))
        assert same(weights(run(resumed, start=session)), expected), path.stem


def test_views_go_on_after_a_stop_to_the_bit(tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"modality": "view", "denominator": "teacher_all"}
    resumes(lambda: make_engine(COCONUTPlugin(buffer=12, **parameters)), tmp_path)


def test_texts_go_on_after_a_stop_to_the_bit(clip_folder: Path, tmp_path: Path) -> None:
    recipe = {"base_epochs": 2, "incremental_epochs": 2, "lr": 0.01}
    resumes(
        lambda: clip_engine(clip_folder, COCONUTPlugin(buffer=12, modality="text"), **recipe),
        tmp_path,
    )
