"""BiMC: fused prototypes by hand, descriptions from a file, and the weight chosen on base data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_clip import load_tiny_clip, write_tiny_clip
from helpers.tiny_clip_stream import SESSIONS, clip_engine, colour_stream

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError
from cl_suite.features.stats import class_stats, unit
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.strategies.bimc import TEXT_WEIGHTS, BiMCPlugin, fused
from cl_suite.strategies.zero_shot_clip import ZeroShotCLIPPlugin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def run(engine: Engine, sessions: int = 3) -> Engine:
    for session in range(sessions):
        engine.train_session(session)
    return engine


def image_means(engine: Engine, session: int) -> torch.Tensor:
    """Return the unit means of the unit features of a session's classes, by ascending id."""
    samples = engine.stream.train[session]
    raw = torch.stack([samples[i][0] for i in range(len(samples))])
    with torch.no_grad():
        features = engine.model.eval().features(engine.stream.info.eval_transform(raw))
    return unit(class_stats(unit(features.double()), torch.tensor(list(samples.targets))).mean)


def vectors(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_prototypes_by_hand() -> None:
    base = vectors([1.0, 0.0], [0.6, 0.8])
    image = BiMCPlugin()._calibrated(vectors([0.0, 1.0]), base)
    torch.testing.assert_close(image, vectors([0.06111019, 0.99813103]), rtol=0, atol=1e-8)
    text = fused(vectors([0.8, 0.6]), vectors([1.0, 0.0]), 0.5)
    prototype = unit(fused(text, image, 0.65))
    torch.testing.assert_close(prototype, vectors([0.74415017, 0.66801237]), rtol=0, atol=1e-8)


def test_text_alone_is_zero_shot_clip(folder: Path) -> None:
    fusing = run(clip_engine(folder, BiMCPlugin(text_weight=1.0)))
    plain = run(clip_engine(folder, ZeroShotCLIPPlugin()))
    assert fusing.evaluate(2).equal(plain.evaluate(2))


def test_images_alone_are_class_means_of_unit_features(folder: Path) -> None:
    engine = run(clip_engine(folder, BiMCPlugin(text_weight=0.0, shift_weight=0.0)))
    for session, classes in enumerate(SESSIONS):
        rows = engine.model.head.rows(sorted(classes)).double()
        torch.testing.assert_close(rows, image_means(engine, session), rtol=1e-4, atol=1e-5)


def test_only_images_of_new_classes_are_calibrated(folder: Path) -> None:
    still, moved = (
        run(clip_engine(folder, BiMCPlugin(text_weight=0.0, shift_weight=shift)))
        for shift in (0.0, 0.5)
    )
    base, new = SESSIONS[0], SESSIONS[1]
    assert moved.model.head.rows(base).equal(still.model.head.rows(base))
    centre = unit(image_means(still, 0)).mean(0).float()
    before, after = (each.model.head.rows(new) @ centre for each in (still, moved))
    assert (after > before).all(), "towards the base classes"


def test_rows_are_the_papers_formula(folder: Path) -> None:
    weight, engine = 0.3, clip_engine(folder, BiMCPlugin(text_weight=0.3))
    run(engine)
    names, new = engine.stream.info.class_names, sorted(SESSIONS[2])
    texts = load_tiny_clip(folder).embed_names([names[c] for c in new], "a photo of a {}.")
    base, own = image_means(engine, 0), image_means(engine, 2)
    expected = []
    for text, image in zip(unit(texts.double()), own, strict=True):
        attention = torch.softmax(16 * base @ image, dim=0)
        shifted = unit((0.9 * image + 0.1 * attention @ base)[None])[0]
        expected.append(unit((weight * text + (1 - weight) * shifted)[None])[0])
    rows = engine.model.head.rows(new).double()
    torch.testing.assert_close(rows, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_descriptions_join_the_names(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text("Red_red: [a warm colour, like blood]\n", "utf-8")
    plugin = BiMCPlugin(descriptions=str(path), text_weight=1.0, description_share=0.25)
    stream = colour_stream(names=["red red", *("abcdefg")])
    engine = run(clip_engine(folder, plugin, stream), 1)
    body = load_tiny_clip(folder)
    prompt = unit(body.embed_names(["red red"], "a photo of a {}.").double())
    texts = unit(body.embed_names(["a warm colour", "like blood"], "{}").double()).mean(0)
    expected = unit(0.75 * prompt + 0.25 * unit(texts[None]))
    torch.testing.assert_close(engine.model.head.rows([0]).double(), expected, rtol=1e-4, atol=1e-5)
    plain = run(clip_engine(folder, BiMCPlugin(text_weight=1.0), stream), 1)
    torch.testing.assert_close(
        engine.model.head.rows([2, 5]), plain.model.head.rows([2, 5]), rtol=1e-5, atol=1e-6
    )


def test_descriptions_of_other_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text("wolf: grey fur\n", "utf-8")
    engine = clip_engine(folder, BiMCPlugin(descriptions=str(path)))
    with pytest.raises(UserError, match=r"describes none of this session's classes, such as '"):
        engine.train_session(0)


def test_descriptions_of_other_classes_are_refused_before_training(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text("wolf: grey fur\n", "utf-8")
    stream = clip_engine(folder, BiMCPlugin()).stream
    with pytest.raises(UserError, match="describes none of the base session's classes"):
        BiMCPlugin(descriptions=str(path)).check_stream(stream.info, [1])


def test_a_later_session_may_lack_descriptions(folder: Path, tmp_path: Path) -> None:
    stream = clip_engine(folder, BiMCPlugin()).stream
    path = tmp_path / "texts.yaml"
    described = stream.info.class_names[stream.info.session_classes[0][0]]
    path.write_text(f"{described}: a plain colour\n", "utf-8")
    engine = run(clip_engine(folder, BiMCPlugin(descriptions=str(path), text_weight=1.0)), 2)
    plain = run(clip_engine(folder, BiMCPlugin(text_weight=1.0)), 2)
    new = list(stream.info.session_classes[1])
    torch.testing.assert_close(
        engine.model.head.rows(new), plain.model.head.rows(new), rtol=1e-5, atol=1e-6
    )


def test_a_missing_file_is_refused_when_the_plugin_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; pass a YAML or JSON file"):
        BiMCPlugin(descriptions=str(tmp_path / "none.yaml"))


def wide_stream() -> Stream:
    return colour_stream([list(range(12)), [12, 13]], base_shots=12, shots=3)


def test_the_weight_is_chosen_on_base_data_and_kept_with_its_figures(folder: Path) -> None:
    plugin = BiMCPlugin(fake_shots=3)
    run(clip_engine(folder, plugin, wide_stream()), 1)
    table = plugin.choice_["table"]
    assert table[:, 0].tolist() == pytest.approx(TEXT_WEIGHTS)
    assert plugin.text_weight_ == TEXT_WEIGHTS[int(table[:, -1].argmax())]
    assert "chose text_weight" in plugin.session_note(0)


def test_a_small_base_session_takes_the_default(folder: Path) -> None:
    plugin = BiMCPlugin()
    run(clip_engine(folder, plugin), 1)
    assert (plugin.text_weight_, plugin.choice_) == (0.5, {})


def test_the_choice_rests_on_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat_interleave(12)
    centres = torch.randn(12, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(144, 8, generator=generator, dtype=torch.float64)
    features = unit(centres[labels] + 1.5 * noise)
    texts = unit(centres + torch.randn(12, 8, generator=generator, dtype=torch.float64))
    task = fake_tasks(labels, generator=generator, shots=3)[0]
    plugin: Any = BiMCPlugin()
    found = plugin._figures(features, labels, texts, task)
    base, new = (
        [unit(features[rows][labels[rows] == c].mean(0)[None])[0] for c in classes]
        for rows, classes in ((task.train, task.base_classes), (task.shots, task.new_classes))
    )
    images = torch.cat([torch.stack(base), plugin._calibrated(torch.stack(new), torch.stack(base))])
    for weight, figures in zip(TEXT_WEIGHTS, found, strict=True):
        rows = unit(weight * texts[task.classes] + (1 - weight) * images)
        expected = fake_figures(features[task.test] @ rows.T, labels, task)[0]
        torch.testing.assert_close(figures, expected)
    assert found.std(0).min() > 0, "the candidates differ, so the test can fail"


def test_nothing_is_trained(folder: Path) -> None:
    engine = clip_engine(folder, BiMCPlugin(), base_epochs=2, incremental_epochs=2)
    before = {name: tensor.clone() for name, tensor in engine.model.backbone.state_dict().items()}
    run(engine)
    after = engine.model.backbone.state_dict()
    assert all(tensor.equal(before[name]) for name, tensor in after.items())
