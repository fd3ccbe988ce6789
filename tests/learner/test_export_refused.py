"""An export that cannot be right is refused in a sentence, and leaves no file."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnx", reason="needs cl-suite[export]")
pytest.importorskip("onnxruntime", reason="needs cl-suite[export]")
pytest.importorskip("onnxscript", reason="needs cl-suite[export]")

from cl_suite.data.transforms import Compose, Flip
from cl_suite.errors import UserError
from cl_suite.learner.export import assemble
from cl_suite.learner.learner import Learner
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from tests.helpers.learners import photo_folder, photo_learner, started, tiny_learner


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), classes=4, number=6)


def refused(learner: Learner, path: Path, **options: Any) -> str:
    """Export what must fail; the folder stays as it was. Return the sentence."""
    present = {p: p.read_bytes() for p in path.parent.iterdir()} if path.parent.is_dir() else {}
    with pytest.raises(UserError) as caught:
        learner.export(path, **options)
    if path.parent.is_dir():
        assert {p: p.read_bytes() for p in path.parent.iterdir()} == present
    return str(caught.value)


@pytest.mark.parametrize("growing", [False, True])
def test_other_answers_than_pytorch_leave_no_file(
    growing: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = photo_learner(photos)
    path = tmp_path / "x.onnx"
    learner.export(path, growing=growing)
    original = assemble.add_preparation
    # pictures are mirrored in the graph alone
    monkeypatch.setattr(
        assemble, "add_preparation", lambda g, t, i: original(g, Compose((Flip(), t)), i)
    )
    message = refused(learner, path, growing=growing)
    assert "was not written: prepared pictures of ONNX Runtime and PyTorch differ by" in message
    assert "more than 0.02" in message


def test_a_backbone_too_large_for_float16_leaves_no_file(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    with torch.no_grad():
        # values beyond 65,504 in the second block, and back to common ones
        learner.extractor.backbone.body[0][0].weight *= 1e6
    learner = started(
        Learner(learner.extractor, Rule("simple_cil", {}, learner.rule.dim), State({})), photos
    )
    message = refused(learner, tmp_path / "x.onnx", half=True)
    assert "differ by nan" in message
    assert "export in float32" in message
    assert learner.export(tmp_path / "x.onnx").check.network_probabilities < 1e-3


def test_a_missing_package_is_named_with_its_extra(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    message = refused(photo_learner(photos), tmp_path / "x.onnx")
    assert message == "an export needs onnxscript; run `pip install 'cl-suite[export]'`"


def test_unusable_input_is_refused_in_a_sentence(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    assert "must end in .onnx; name it x.onnx" in refused(learner, tmp_path / "x.pt")
    assert "knows no class yet" in refused(tiny_learner(), tmp_path / "x.onnx")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert "bad.png" in refused(learner, tmp_path / "x.onnx", pictures=tmp_path / "bad.png")
    assert "does not exist" in refused(learner, tmp_path / "x.onnx", pictures="gone.png")
    message = refused(learner, tmp_path / "bad.png" / "x.onnx")
    assert "bad.png' cannot be written" in message


def test_without_pictures_to_check_on_nothing_is_written(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    for label, record in learner.state.records.items():
        kept = dataclasses.replace(record.kept, thumbnails=(b"",) * len(record.kept))
        learner.state.records[label] = dataclasses.replace(record, kept=kept)  # type: ignore[index]
    assert "pictures=" in refused(learner, tmp_path / "x.onnx")


def test_a_network_without_an_onnx_form_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = photo_learner(photos)
    forward = type(learner.extractor.backbone.body).forward

    def by_value(self: Any, x: torch.Tensor) -> torch.Tensor:
        # which way to go depends on the values
        return forward(self, x) if x.sum() > -1e9 else forward(self, -x)

    monkeypatch.setattr(type(learner.extractor.backbone.body), "forward", by_value)
    message = refused(learner, tmp_path / "x.onnx")
    assert "backbone 'conv4' has a part that ONNX cannot express" in message
    assert "\n" not in message


def test_rows_without_their_graph_do_not_stay(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    (tmp_path / "x.onnx").mkdir()
    beside = tmp_path / "x.classes.npz"
    for old in (None, b"of before"):
        if old is not None:
            beside.write_bytes(old)
        with pytest.raises(UserError, match="it is a folder"):
            learner.export(tmp_path / "x.onnx", growing=True)
        assert (beside.read_bytes() if beside.exists() else None) == old
