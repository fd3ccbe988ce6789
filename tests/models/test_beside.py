"""A second network whose features stand beside the first one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from helpers.learners import photo_folder, pictures
from helpers.tiny_runs import refused
from safetensors.torch import save_file

import cl_suite
from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.features.compute import padded_forward
from cl_suite.learner.learner import Learner
from cl_suite.models.backbones import create_backbone
from cl_suite.models.folded import folded
from cl_suite.models.settings import ModelConfig
from cl_suite.models.timm_networks import image_statistics
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.saved_model import load_model

SHAPE = (3, 32, 32)
FIRST, SECOND = "tf_efficientnet_lite0", "resnet10t"  # 0.5 and ImageNet's statistics


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return weights files of both networks."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in (FIRST, SECOND):
        state = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
        save_file(state, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in (FIRST, SECOND)}


def backbone(files: dict[str, Path], **settings: Any) -> Any:
    both = {"beside": SECOND, "beside_weights": str(files[SECOND]), **settings}
    return create_backbone(FIRST, SHAPE, weights=str(files[FIRST]), frozen=True, **both).eval()


def test_a_feature_is_that_of_both_networks_on_their_own_preparation(
    files: dict[str, Path],
) -> None:
    both = backbone(files)
    pixels = torch.rand(4, *SHAPE)
    found = both((pixels - 0.5) / 0.5)
    for name, part in zip((FIRST, SECOND), found.split([1280, 512], dim=1), strict=True):
        alone = create_backbone(name, SHAPE, weights=str(files[name]), frozen=True).eval()
        found_statistics = image_statistics(name)
        assert found_statistics is not None
        mean, std = (each.view(3, 1, 1) for each in found_statistics)
        expected = F.normalize(alone((pixels - mean) / std), dim=1)
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)
    assert both.dim == 1792


def test_the_sources_of_both_are_told() -> None:
    both = {"backbone": FIRST, "beside": SECOND, "frozen": True}
    assert ModelConfig(backbone=FIRST, pretrained=True).sources == f"published for '{FIRST}'"
    words = f"published for '{FIRST}' and published for '{SECOND}'"
    assert ModelConfig(pretrained=True, **both).sources == words
    assert ModelConfig(weights="a", beside_weights="b", **both).sources == "a and b"


def test_the_bank_folds_batchnorm_of_both(files: dict[str, Path]) -> None:
    both = backbone(files)
    x = torch.rand(5, *SHAPE)
    network = folded(both, x[:2])
    assert network is not both
    found = padded_forward(network, x, torch.device("cpu"), 8)
    torch.testing.assert_close(found, both(x), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), classes=6, number=8)


def settings(files: dict[str, Path], photos: Path, **more: Any) -> dict[str, Any]:
    return {
        "scenario.root": str(photos),
        "scenario.base_classes": 4,
        "scenario.way": 1,
        "scenario.shots": 2,
        "model.backbone": FIRST,
        "model.weights": str(files[FIRST]),
        "model.beside": SECOND,
        "model.beside_weights": str(files[SECOND]),
        "model.image_size": 32,
        "model.frozen": True,
        **more,
    }


def run(out: Path, files: dict[str, Path], photos: Path, **more: Any) -> Path:
    given = {"device": "cpu", "listeners": (), **settings(files, photos, **more)}
    return cl_suite.run("image_folder", "simple_cil", out=out, **given)


def test_a_run_from_the_bank_leaves_a_model_that_needs_no_file(
    files: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    moved = {name: tmp_path / path.name for name, path in files.items()}
    for name, path in files.items():
        moved[name].write_bytes(path.read_bytes())
    banked = run(tmp_path / "a", moved, photos)
    direct = run(tmp_path / "b", moved, photos, **{"model.bank": False})
    alone = run(
        tmp_path / "c", moved, photos, **{"model.beside": None, "model.beside_weights": None}
    )
    hits = [RunFolder(folder).read_hits().hits for folder in (banked, direct)]
    assert np.array_equal(*hits)
    for path in moved.values():
        path.unlink()
    saved = load_model(banked).classifier
    assert saved.feature_dim == 1792
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(saved.features(x), backbone(files)(x), rtol=1e-4, atol=1e-5)
    learner = Learner.from_run(banked)
    assert learner.spec.networks == (FIRST, SECOND)
    learner.learn(pictures(3, of=20), "new")
    learner.save(tmp_path / "a.clm")
    again = Learner.load(tmp_path / "a.clm")
    assert again.predict(pictures(2, of=20)) == learner.predict(pictures(2, of=20))
    report = learner.export(tmp_path / "a.onnx")
    assert report.check.num_other_label == 0
    with pytest.raises(UserError, match=r"tf_efficientnet_lite0\.safetensors"):
        Learner.from_run(alone)  # one network rests on its file


def test_a_classifier_starts_on_two_networks_and_needs_neither_file_later(
    files: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    moved = [str(tmp_path / files[name].name) for name in (FIRST, SECOND)]
    for name, place in zip((FIRST, SECOND), moved, strict=True):
        Path(place).write_bytes(files[name].read_bytes())
    path = tmp_path / "a.clm"
    both = ["--backbone", FIRST, "--weights", moved[0], "--beside", SECOND]
    given = [*both, "--beside-weights", moved[1], "--rule", "teen"]
    assert main(["learn", str(path), "--from", str(photos), *given]) == 0
    for place in moved:
        Path(place).unlink()
    learner = Learner.load(path, weights="unused")
    assert learner.spec.networks == (FIRST, SECOND)
    features = learner.look(pictures(2, of=20))[0].features
    assert features.shape == (2, 1792)
    halves = features.split([1280, 512], dim=1)
    for half in halves:
        torch.testing.assert_close(half.norm(dim=1), torch.ones(2), rtol=1e-4, atol=1e-4)
    assert len(learner.predict(pictures(2, of=20))) == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model.frozen": "false"}, "pass --model.frozen true too"),
        ({"model.preprocessing": "scenario"}, "pass --model.preprocessing backbone"),
        ({"model.beside": "null"}, "name it by --model.beside NAME too"),
        ({"model.beside": "conv4"}, "'conv4' is none; see `cl-suite list backbones`"),
        ({"model.beside": "hf-hub:some/body"}, "'hf-hub:some/body' is none"),
        ({"model.backbone": "conv4", "model.weights": "null"}, "joins pretrained networks"),
        ({"model.beside_weights": "no.safetensors"}, "weights file 'no.safetensors' does not"),
    ],
)
def test_what_cannot_stand_beside_is_refused(
    changed: dict[str, str],
    words: str,
    files: dict[str, Path],
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {name: str(value) for name, value in settings(files, photos).items()} | changed
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    out = tmp_path / "runs"
    error = refused(capsys, "run", "image_folder", "teen", *options, "--out", str(out))
    assert words in error
    assert not out.exists()


def test_an_unknown_second_network_is_neither_made_nor_fetched(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    create = timm.create_model

    def counted(name: str, **arguments: Any) -> Any:
        made.append(name)
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", counted)
    with pytest.raises(UserError, match="'hf-hub:some/body' is none"):
        backbone(files, beside="hf-hub:some/body")
    assert made == [FIRST]


def test_a_run_does_not_lend_its_network(
    files: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    first = run(tmp_path / "a", files, photos)
    with pytest.raises(UserError, match="joins published networks"):
        run(
            tmp_path / "b",
            files,
            photos,
            **{"model.weights": str(first), "model.beside": None, "model.beside_weights": None},
        )
