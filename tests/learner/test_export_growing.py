"""A growing export takes new classes on a device, without PyTorch and without a new graph."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnx", reason="needs cl-suite[export]")
pytest.importorskip("onnxruntime", reason="needs cl-suite[export]")
pytest.importorskip("onnxscript", reason="needs cl-suite[export]")

import onnx
import onnxruntime

from tests.helpers.learners import SIDE, keys_of, photo_folder, photo_learner, pictures

PROGRAM = Path(__file__).resolve().parents[2] / "examples/edge/learn_on_device.py"
# the device has neither
ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "cl_suite", "onnx")))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
EXACT: list[tuple[str, dict[str, Any]]] = [
    ("simple_cil", {}),
    ("simple_cil", {"centre": True, "normalize_features": True}),
    ("prototype", {"normalize_features": True}),
    ("teen", {}),
    ("teen_whitened", {"margin": 0.05, "shift_weight": 0.3}),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), classes=4, number=6)


def stored(folder: Path, sides: tuple[int, ...]) -> list[Path]:
    """Pictures of a new class in files, of these sides."""
    paths = []
    for row, side in enumerate(sides):
        paths.append(folder / f"{row}.png")
        Image.fromarray(pictures(1, of=50, seed=row, side=side)[0]).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures that are not resized, so a device sees them as the learner does."""
    return stored(tmp_path_factory.mktemp("shots"), (SIDE,) * 5)


def on_device(path: Path, label: str, query: Path, shots: list[Path]) -> list[tuple[str, float]]:
    """Run the example; return the label and probability before and after learning."""
    words = [sys.executable, "-c", ALONE, PROGRAM, path, label, query, *shots]
    result = subprocess.run(
        [*map(str, words)],
        capture_output=True,
        encoding="utf-8",
        cwd=path.parent,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert result.returncode == 0, result.stderr
    lines = [line.removesuffix("(unknown)").rsplit(None, 1) for line in result.stdout.splitlines()]
    return [(label, float(probability)) for label, probability in lines]


def rows(path: Path) -> dict[str, Any]:
    """Return the rows of a growing export; numpy refuses anything pickled."""
    with np.load(path.with_suffix(".classes.npz")) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("rule", "parameters"), EXACT)
def test_a_class_learned_on_a_device_is_the_learners_own(
    rule: str, parameters: dict[str, Any], photos: Path, shots: list[Path], tmp_path: Path
) -> None:
    learner = photo_learner(photos, rule, **parameters)
    path = learner.export(tmp_path / "x.onnx", growing=True).path
    scale = learner.calibration.scale
    graph = path.read_bytes()
    # a temperature of some thousands multiplies the last digits of a cosine
    before, after = on_device(path, "neu: 鳥", shots[-1], shots[:-1])
    assert path.read_bytes() == graph
    (expected,) = learner.predict(shots[-1])
    assert before[0] == expected.labels[0]
    assert before[1] == pytest.approx(expected.probabilities[0], abs=2e-3)

    learner.learn(shots[:-1], "neu: 鳥")
    features = learner.look(shots[-1])[0].features
    found = rows(path)
    assert list(found["labels"]) == list(learner.labels)
    mine = np.stack([key.numpy() for key in keys_of(learner).values()])
    np.testing.assert_allclose(found["keys"], mine[:, :-1], atol=1e-5)
    np.testing.assert_allclose(found["offsets"], mine[:, -1], atol=1e-6)
    table = learner._table
    # the device keeps the temperature of the export
    scores = (scale * table.scores(table.query(features))).softmax(dim=1)[0]
    assert after[0] == learner.predict(shots[-1])[0].labels[0] == "neu: 鳥"
    assert after[1] == pytest.approx(float(scores.max()), abs=2e-3)


def test_a_device_learns_from_pictures_of_any_size(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    path = learner.export(tmp_path / "x.onnx", growing=True).path
    *shots, query = stored(tmp_path, (20, 20, 32, 48, 24))
    _, after = on_device(path, "new", query, shots)
    learner.learn(shots, "new")
    assert after[0] == learner.predict(query)[0].labels[0] == "new"
    # in the graph, resizing differs in single levels of 255
    key = keys_of(learner)["new"][:-1]
    np.testing.assert_allclose(rows(path)["keys"][-1], key, atol=1e-2)


@pytest.mark.parametrize(("rule", "parameters"), [("lda", {}), ("ranpac", {"num_projections": 48})])
def test_pooled_rules_learn_with_the_moments_of_the_export(
    rule: str, parameters: dict[str, Any], photos: Path, shots: list[Path], tmp_path: Path
) -> None:
    learner = photo_learner(photos, rule, **parameters)
    report = learner.export(tmp_path / "x.onnx", growing=True)
    assert "pools second moments" in report.in_words()
    assert report.check.row is not None
    assert report.check.row < 1e-5
    _, after = on_device(report.path, "new", shots[-1], shots[:-1])
    assert after[0] == "new"


def test_the_rows_of_the_export_are_the_learners(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    report = learner.export(tmp_path / "x.onnx", growing=True)
    assert report.classes_path == tmp_path / "x.classes.npz"
    found = rows(report.path)
    mine = np.stack([key.numpy() for key in keys_of(learner).values()])
    np.testing.assert_array_equal(found["keys"], mine[:, :-1])
    assert list(found["labels"]) == list(learner.labels)
    assert float(found["scale"]) == pytest.approx(learner.calibration.scale)
    assert float(found["threshold"]) == pytest.approx(learner.calibration.threshold)
    words = {one.key: one.value for one in onnx.load(report.path).metadata_props}
    assert "labels" not in words


def test_rows_may_go_again(photos: Path, tmp_path: Path) -> None:
    learner = photo_learner(photos)
    path = learner.export(tmp_path / "x.onnx", growing=True).path
    found = rows(path)
    learner.forget("class1")
    fed = {name: found[name] for name in ("scale", "threshold")}
    fed |= {name: np.delete(found[name], 1, axis=0) for name in ("keys", "offsets")}
    picture = pictures(1, of=2)
    image = picture[0].transpose(2, 0, 1)[None]
    (left,) = onnxruntime.InferenceSession(path).run(["probabilities"], {"image": image, **fed})
    assert left.shape == (1, 3)
    assert learner.labels[left[0].argmax()] == learner.predict(picture)[0].labels[0]


def test_the_program_is_short() -> None:
    code = [line for line in PROGRAM.read_text("utf-8").splitlines() if line.strip()]
    assert len(code) <= 28
    assert "import torch" not in "\n".join(code)
