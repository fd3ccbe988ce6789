"""Features that are averaged over an image and its mirror image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.learners import photo_folder, pictures
from helpers.tiny_runs import refused

import cl_suite
from cl_suite.errors import UserError
from cl_suite.features.compute import padded_forward
from cl_suite.learner.learner import Learner
from cl_suite.models.backbones import create_backbone
from cl_suite.models.digest import weights_digest
from cl_suite.models.folded import folded
from cl_suite.models.settings import ModelConfig
from cl_suite.runs.folder import RunFolder

SHAPE = (3, 16, 16)
STREAM: dict[str, Any] = {
    "scenario.base_classes": 4,
    "scenario.way": 1,
    "scenario.shots": 2,
    "scenario.image_size": 16,
    "model.frozen": True,
}


def backbone(**settings: Any) -> Any:
    torch.manual_seed(0)
    return create_backbone("conv4", SHAPE, frozen=True, **settings).eval()


def test_a_feature_is_the_mean_of_an_image_and_its_mirror_image() -> None:
    plain, mirrored = backbone(), backbone(mirrored=True)
    x = torch.rand(5, *SHAPE)
    expected = (plain(x) + plain(x.flip(3))) / 2
    torch.testing.assert_close(mirrored(x), expected)
    torch.testing.assert_close(mirrored(x.flip(3)), mirrored(x))
    assert mirrored.dim == plain.dim
    # the bank and a classifier file must not take one for the other
    assert weights_digest(mirrored.body) != weights_digest(plain.body)


def test_the_bank_folds_its_batchnorm() -> None:
    mirrored = backbone(mirrored=True)
    x = torch.rand(5, *SHAPE)
    mirrored.body.train()
    mirrored.body(x)  # statistics that are not 0 and 1
    mirrored.body.eval()
    network = folded(mirrored, x[:2])
    assert network is not mirrored
    found = padded_forward(network, x, torch.device("cpu"), 8)
    torch.testing.assert_close(found, mirrored(x), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), classes=6, number=8)


def run(out: Path, photos: Path, strategy: str = "simple_cil", **settings: Any) -> Path:
    given = {"device": "cpu", "listeners": (), "scenario.root": str(photos), **STREAM, **settings}
    return cl_suite.run("image_folder", strategy, out=out, **given)


def test_a_run_is_the_same_from_the_bank_and_starts_a_classifier(
    photos: Path, tmp_path: Path
) -> None:
    banked = run(tmp_path / "a", photos, **{"model.mirrored": True})
    direct = run(tmp_path / "b", photos, **{"model.mirrored": True, "model.bank": False})
    plain = run(tmp_path / "c", photos)
    hits = [RunFolder(folder).read_hits().hits for folder in (banked, direct)]
    assert np.array_equal(*hits)
    learner, other = Learner.from_run(banked), Learner.from_run(plain)
    assert learner.extractor.spec.identity != other.extractor.spec.identity
    learner.learn(pictures(3, of=20), "new")
    learner.save(tmp_path / "a.clm")
    again = Learner.load(tmp_path / "a.clm")
    assert again.predict(pictures(2, of=20)) == learner.predict(pictures(2, of=20))
    report = learner.export(tmp_path / "a.onnx")
    assert report.check.num_other_label == 0


def test_a_mirrored_network_starts_another_run(photos: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "a", photos, **{"model.mirrored": True})
    for name, mirrored in (("b", False), ("c", True)):
        again = run(
            tmp_path / name, photos, **{"model.weights": str(first), "model.mirrored": mirrored}
        )
        # networks of one seed are alike
        fresh = run(tmp_path / f"{name}_fresh", photos, **{"model.mirrored": mirrored})
        hits = [RunFolder(folder).read_hits().hits for folder in (again, fresh)]
        assert np.array_equal(*hits)


def test_what_cannot_be_mirrored_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model.frozen", "true", "--model.mirrored", "true", "--out", str(tmp_path))
    error = refused(capsys, "run", "omniglot", "teen", *given)
    assert "a mirrored image may belong to another class" in error
    error = refused(capsys, "run", "omniglot", "teen", "--model.mirrored", "true")
    assert "pass --model.frozen true too" in error
    with pytest.raises(UserError, match="clip:x' is neither"):
        create_backbone("clip:x", SHAPE, frozen=True, mirrored=True)
    assert not list(tmp_path.iterdir())
    ModelConfig(frozen=True, mirrored=True).check()
