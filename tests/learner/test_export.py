"""An exported classifier answers as the learner does, and is not written otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="needs cl-suite[export]")
pytest.importorskip("onnxruntime", reason="needs cl-suite[export]")
pytest.importorskip("onnxscript", reason="needs cl-suite[export]")

import onnx
import onnxruntime

import cl_suite
from cl_suite.data.transforms import Compose, InkDrawing, ResizeCenterCrop, ToFloat, Transform
from cl_suite.learner.export import export
from cl_suite.learner.extractor import Extractor, spec_of
from cl_suite.learner.learner import Learner
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from cl_suite.models.adapters import LoRASettings, add_lora
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seeded
from tests.helpers.learners import photo_folder, photo_learner, pictures, started, tiny_learner
from tests.helpers.tiny_clip import clip_folder

RULES: list[tuple[str, dict[str, Any]]] = [
    ("simple_cil", {"centre": True, "normalize_features": True}),
    ("teen", {}),
    ("teen_whitened", {}),
    ("lda", {}),
    ("ranpac", {"num_projections": 48}),
]
VIT = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 32}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), classes=4, number=6)


def learner_on(
    photos: Path, prepare: Transform, shape: tuple[int, ...], backbone: str = "conv4", **more: Any
) -> Learner:
    """A learner with the base classes of `photos` on another network or preparation."""
    settings = ModelConfig(backbone=backbone, frozen=True, **more)
    with seeded(0):
        model = build_classifier(settings, shape)
    spec = spec_of(model, settings, {}, shape, prepare)
    extractor = Extractor(spec, model.backbone, torch.device("cpu"))
    return started(Learner(extractor, Rule("simple_cil", {}, extractor.dim), State({})), photos)


def answers(path: Path, batch: list[np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of an exported classifier for pictures of one size."""
    runtime = onnxruntime.InferenceSession(path)
    names = [output.name for output in runtime.get_outputs()]
    image = np.stack(batch).transpose(0, 3, 1, 2)
    return dict(zip(names, runtime.run(names, {"image": image}), strict=True))


def assert_answers_alike(learner: Learner, path: Path, atol: float = 2e-2) -> None:
    """Pictures of several sizes and numbers get the learner's answers, strangers among them.

    Resizing rounds otherwise in few pixels, and large temperatures multiply that.
    """
    labels = list(learner.labels)
    for number, side in ((1, 20), (5, 12), (3, 48)):
        batch = pictures(number, of=1, seed=5, side=side) + pictures(1, of=77, side=side)
        found = answers(path, batch)
        assert found["probabilities"].shape == (number + 1, len(labels))
        assert found["familiarity"].shape == (number + 1,)
        for row, one in enumerate(learner.predict(batch, top=len(labels))):
            columns = [labels.index(label) for label in one.labels]
            np.testing.assert_allclose(
                found["probabilities"][row][columns], one.probabilities, atol=atol
            )
            assert found["familiarity"][row] == pytest.approx(one.familiarity, rel=0.02, abs=atol)
            limit = learner.calibration.threshold
            if limit is not None and abs(one.familiarity - limit) > 10 * atol:
                assert found["unknown"][row] == one.is_unknown


@pytest.mark.parametrize(("rule", "parameters"), RULES)
def test_an_export_answers_as_the_learner(
    rule: str, parameters: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    learner = photo_learner(photos, rule, **parameters)
    learner.learn(pictures(5, of=20), "日本の看板")
    state = learner.state
    report = learner.export(tmp_path / "x.onnx")
    assert learner.state is state
    assert report.check.num_other_label == 0
    assert report.check.network_probabilities < 1e-3
    assert report.check.network_familiarity < 1e-3
    assert report.check.batch_sizes == (1, 3, 8)
    assert len(report.check.sizes) >= 3
    assert report.num_bytes == report.path.stat().st_size
    assert_answers_alike(learner, report.path)


def test_the_file_tells_what_it_is_made_of(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    learner.rename("class0", 'Käfer "grün"; بطة')
    path = learner.export(tmp_path / "x.onnx").path
    model = onnx.load(path)
    words = {one.key: one.value for one in model.metadata_props}
    assert json.loads(words["labels"]) == list(learner.labels)
    assert float(words["scale"]) == learner.calibration.scale
    assert float(words["threshold"]) == learner.calibration.threshold
    assert words["backbone"] == "conv4"
    assert words["backbone_digest"] == learner.spec.digest
    assert words["rule"] == "simple_cil"
    assert words["preprocessing"].startswith("shorter side to 16 (bilinear, antialiased); centre")
    assert words["cl_suite_version"] == cl_suite.__version__
    image = model.graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in image.shape.dim] == ["batch", 3, "height", "width"]
    assert [output.name for output in model.graph.output] == [
        "probabilities",
        "familiarity",
        "unknown",
    ]
    # the exporter writes source lines into the nodes
    assert str(ROOT).encode() not in path.read_bytes()


def test_without_a_threshold_nothing_is_called_unknown(photos: Path, tmp_path: Path) -> None:
    learner = tiny_learner()
    learner.learn(pictures(2, of=1), "a")
    assert learner.calibration.threshold is None
    path = learner.export(tmp_path / "x.onnx").path
    assert set(answers(path, pictures(1, of=1))) == {"probabilities", "familiarity"}


def test_float16_halves_the_backbone(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    whole = learner.export(tmp_path / "x.onnx")
    half = learner.export(tmp_path / "half.onnx", half=True)
    assert half.dtype == "float16"
    assert half.num_bytes < 0.6 * whole.num_bytes
    assert_answers_alike(learner, half.path)
    # the learner's own backbone is as it was
    assert next(learner.extractor.backbone.parameters()).dtype == torch.float32


def test_ink_drawings_are_prepared_in_the_graph(photos: Path, tmp_path: Path) -> None:
    learner = learner_on(photos, Compose((InkDrawing(16), ToFloat())), (1, 16, 16))
    report = learner.export(tmp_path / "x.onnx")
    assert report.input == "image"
    assert report.check.prepared == 0
    assert_answers_alike(learner, report.path, atol=1e-3)


def test_preparation_without_onnx_nodes_is_left_to_the_caller(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torchvision resizes no tensors by the one kernel that is missing
    monkeypatch.setattr("cl_suite.learner.export.preparation.RESIZE", {})
    learner = photo_learner(photos)
    report = learner.export(tmp_path / "x.onnx")
    assert report.input == "prepared"
    assert "'prepared': floats of shape (3, 16, 16)" in report.notes[0]
    assert report.notes[0] in report.in_words()
    given = torch.stack(
        [learner.extractor.prepare(torch.from_numpy(p).permute(2, 0, 1)) for p in pictures(3, of=1)]
    )
    (found,) = onnxruntime.InferenceSession(report.path).run(
        ["probabilities"], {"prepared": given.numpy()}
    )
    for row, one in zip(found, learner.predict(pictures(3, of=1), top=1), strict=True):
        assert row.max() == pytest.approx(one.probabilities[0], abs=1e-4)
    words = {one.key: one.value for one in onnx.load(report.path).metadata_props}
    assert words["input"] == "prepared"
    assert json.loads(words["preprocessing"]) == dict(learner.spec.prepare)


def test_a_vision_transformer_with_adapters_is_exported(photos: Path, tmp_path: Path) -> None:
    shape = (3, 32, 32)
    prepare = Compose((ResizeCenterCrop(36, 32, "bicubic"), ToFloat((0.5,) * 3, (0.5,) * 3)))
    learner = learner_on(photos, prepare, shape, "vit_tiny_patch16_224", backbone_args=VIT)
    before = learner.look(pictures(2, of=1))[0].features
    body = learner.extractor.backbone.body
    add_lora(body, LoRASettings(rank=2))
    for name, parameter in body.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    body.eval().requires_grad_(False)
    assert not torch.allclose(before, learner.look(pictures(2, of=1))[0].features)
    learner = Learner(learner.extractor, Rule("simple_cil", {}, learner.extractor.dim), State({}))
    assert_answers_alike(started(learner, photos), learner.export(tmp_path / "x.onnx").path)


def test_the_image_tower_of_a_clip_is_exported(photos: Path, tmp_path: Path) -> None:
    folder = clip_folder()
    learner = Learner.new(f"clip:{folder}", weights=str(folder), photos=photos)
    assert_answers_alike(learner, learner.export(tmp_path / "x.onnx").path)


def test_given_pictures_are_compared(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    report = learner.export(tmp_path / "x.onnx", pictures=pictures(3, of=2, side=24))
    assert report.check.num_pictures == 3
    assert (24, 24) in report.check.sizes
    assert report.as_dict()["check"]["num_pictures"] == 3
    json.dumps(report.as_dict())


def test_an_export_is_silent(
    photos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photo_learner(photos).export(tmp_path / "x.onnx", growing=True)
    assert capfd.readouterr() == ("", "")
    assert [str(one.message) for one in recwarn] == []
    assert [one for one in caplog.records if one.levelname != "DEBUG"] == []


def test_the_random_state_stays(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    learner.export(tmp_path / "x.onnx")
    assert torch.equal(before, torch.random.get_rng_state())


def test_export_takes_a_plain_path(photos: Path, tmp_path: Path) -> None:
    assert export(photo_learner(photos), tmp_path / "new" / "x.onnx").path.is_file()
