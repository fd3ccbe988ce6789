"""Exports of a published network answer as the learner does on photos."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="needs cl-suite[export]")
pytest.importorskip("onnxruntime", reason="needs cl-suite[export]")
pytest.importorskip("onnxscript", reason="needs cl-suite[export]")

from cl_suite.learner.learner import Learner


@pytest.mark.slow
def test_a_published_network_keeps_its_answers(shared: Path, tmp_path: Path) -> None:
    root = shared / "data/caltech101/caltech101/101_ObjectCategories"
    categories = [root / name for name in ("accordion", "airplanes", "anchor", "ant", "barrel")]
    learner = Learner.new(
        "tf_efficientnet_lite0", weights=str(shared / "weights/tf_efficientnet_lite0.safetensors")
    )
    held_out = []
    for category in categories:
        photos = sorted(category.glob("*.jpg"))
        learner.learn(photos[:6], category.name)
        held_out += photos[6:10]
    assert len(held_out) == 20
    whole = learner.export(tmp_path / "x.onnx", pictures=held_out, growing=True)
    half = learner.export(tmp_path / "half.onnx", pictures=held_out, half=True)
    for report in (whole, half):
        assert report.check.num_other_label == 0
        assert len(report.check.sizes) > 5
    # a level of 255 in one pixel of some hundreds, and rounding in float16
    assert whole.check.probabilities < 5e-3
    assert whole.check.network_probabilities < 1e-4
    assert whole.check.row is not None
    assert whole.check.row < 1e-6
    assert half.check.probabilities < 2e-2
    assert half.num_bytes < 0.55 * whole.num_bytes
