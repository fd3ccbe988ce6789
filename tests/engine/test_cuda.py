"""What differs on a GPU: repeatable bits, resumed runs, float32, and a classifier there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.learners import photo_folder, photo_learner, pictures
from helpers.tiny_runs import assert_equal_runs, interrupt_after, run
from helpers.tiny_vit import VIT

from cl_suite.learner.learner import Learner
from cl_suite.models.modes import full_float32
from cl_suite.runs.folder import RunFolder

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
TRANSFORMER = {
    "model.backbone": "vit_tiny_patch16_224",
    "model.backbone_args": VIT | {"img_size": 28, "patch_size": 7},
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("finetune", {}),
    ("finetune", {"training.precision": "bfloat16"}),
    ("finetune", {**TRANSFORMER, "model.lora_rank": 4}),
    ("coact", {**TRANSFORMER, "training.lr": 0.01, "training.incremental_lr": 0.01}),
    ("er_ace", {"training.incremental_epochs": 2}),
    ("sycon", {"training.optimizer": "sgd", "training.lr": 0.01}),
    ("teen_whitened", {"model.bank": True, "model.frozen": True}),  # no epoch to stop after
]


def test_float32_is_set_inside_a_block_alone() -> None:
    before = torch.backends.cudnn.allow_tf32
    with full_float32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


@on_gpu
@pytest.mark.parametrize(("strategy", "settings"), CASES)
def test_a_run_repeats_to_the_bit(strategy: str, settings: dict[str, Any], tmp_path: Path) -> None:
    one, other = (run(tmp_path / name, strategy, device="cuda", **settings) for name in "ab")
    assert_equal_runs(one, other)


@on_gpu
@pytest.mark.parametrize(("strategy", "settings"), CASES[:-1])
def test_a_stopped_run_goes_on_to_the_same_bits(
    strategy: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"device": "cuda", **settings}
    whole = run(tmp_path / "whole", strategy, **given)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 1, RuntimeError("killed"))
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path / "cut", strategy, **given)
    assert_equal_runs(whole, run(tmp_path / "cut", strategy, resume=True, **given))


@on_gpu
def test_a_run_on_weights_that_is_stopped_in_its_base_session_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"device": "cuda", "model.weights": str(run(tmp_path / "first", "finetune"))}
    with monkeypatch.context() as patched:
        interrupt_after(patched, 1, RuntimeError("killed"))
        with pytest.raises(RuntimeError, match="killed"):
            run(tmp_path, "finetune", **given)
    assert RunFolder(run(tmp_path, "finetune", resume=True, **given)).read_run_info()["finished"]


@on_gpu
@pytest.mark.parametrize("strategy", ["prototype", "teen", "lda"])
def test_a_gpu_computes_what_a_cpu_does(strategy: str, tmp_path: Path) -> None:
    folders = [
        run(tmp_path / device, strategy, device=device, **{"model.frozen": True})
        for device in ("cpu", "cuda")
    ]
    hits = [RunFolder(folder).read_hits().hits.sum() for folder in folders]
    # a test image that lies between two classes may fall to either side
    assert abs(int(hits[0]) - int(hits[1])) <= 2


@on_gpu
def test_a_classifier_predicts_on_a_gpu_as_on_a_cpu(tmp_path: Path) -> None:
    learner = photo_learner(photo_folder(tmp_path / "photos", classes=3, number=6))
    learner.learn(pictures(3, of=9), "new")
    learner.save(tmp_path / "a.clm")
    there = Learner.load(tmp_path / "a.clm", device="cuda")
    for ours, theirs in zip(
        learner.predict(pictures(4, of=9)), there.predict(pictures(4, of=9)), strict=True
    ):
        assert ours.labels[0] == theirs.labels[0]
        assert ours.probabilities[0] == pytest.approx(theirs.probabilities[0], abs=1e-3)
