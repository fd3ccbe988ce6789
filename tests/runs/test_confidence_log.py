"""Runs that measure their probabilities: the figures, what is shown, resuming and refusals."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_runs import interrupt_after, run
from rich.console import Console

import cl_suite
from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.metrics.confidence import brier_score, calibration_error
from cl_suite.report.show import print_runs
from cl_suite.runs.folder import RunFolder

ASKED = {"evaluation.confidence": True}


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "confidence.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_figures_are_those_of_the_finished_classifier(tmp_path: Path) -> None:
    folder = run(tmp_path, "teen", **ASKED)
    found = lines(folder)
    assert [line["session"] for line in found] == [0, 1, 2]
    saved = cl_suite.load_model(folder)
    scenario = registry.get("scenario", "omniglot").load()
    images = scenario(base_classes=12, way=115, shots=2).build()
    transform = images.info.eval_transform
    with torch.no_grad():
        logits = torch.cat(
            [saved.classifier(transform(part.inputs)).double() for part in images.test]  # type: ignore[attr-defined]
        )
    columns = np.array([target for part in images.test for target in part.targets])
    probabilities = logits.softmax(1).numpy()
    hits = (probabilities.argmax(1) == columns).astype(float)
    ece = calibration_error(probabilities.max(1), hits)
    assert found[-1]["ece"] == pytest.approx(ece, abs=1e-4)
    assert found[-1]["brier"] == pytest.approx(brier_score(probabilities, columns), abs=1e-4)
    assert found[-1]["scaled_log_loss"] != found[-1]["log_loss"]


def test_the_bins_of_a_line_give_its_calibration_error(tmp_path: Path) -> None:
    folder = run(tmp_path, **ASKED)
    for line in RunFolder(folder).read_confidence():
        for prefix in ("", "scaled_"):
            bins = [each for each in line[f"{prefix}bins"] if each[0]]
            num = sum(each[0] for each in bins)
            gaps = sum(n * abs(accuracy - confidence) for n, confidence, accuracy in bins)
            assert gaps / num == pytest.approx(line[f"{prefix}ece"])


@pytest.mark.parametrize(
    "bins", [[[1, 2.0, 0.5]], [[-1, 0.5, 0.5]], [[1, 0.5]], 3, [["1", 0.5, 0.5]], [[1, None, 0.5]]]
)
def test_bins_that_cannot_be_are_named(tmp_path: Path, bins: object) -> None:
    folder = RunFolder(tmp_path)
    folder.confidence_file.write_text(json.dumps({"session": 0, "ece": 0.1, "bins": bins}))
    with pytest.raises(UserError, match=r"confidence.jsonl' cannot be read \(line 1"):
        folder.read_confidence()


def test_they_are_shown_on_request(tmp_path: Path) -> None:
    folder = run(tmp_path, **ASKED)
    file = io.StringIO()
    print_runs([folder], Console(file=file, width=80), everything=True)
    assert "its probabilities" in file.getvalue()
    assert f"{100 * lines(folder)[-1]['ece']:.3f}" in file.getvalue()
    print_runs([folder], Console(file=(plain := io.StringIO()), width=80))
    assert "its probabilities" not in plain.getvalue()


def test_an_interrupted_run_ends_with_the_same_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", "finetune", **ASKED)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", "finetune", **ASKED)
    parts = run(tmp_path / "parts", "finetune", resume=True, **ASKED)
    assert lines(parts) == lines(whole)


def test_a_run_that_did_not_ask_has_none(tmp_path: Path) -> None:
    assert not RunFolder(run(tmp_path)).confidence_file.exists()


def test_a_strategy_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'simclr' has no classifier.* leave out evaluation.conf"):
        run(tmp_path, "simclr", **ASKED)


def test_a_figure_that_is_undefined_is_null_and_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undefined(measuring: object, session: int) -> dict[str, float]:
        names = ("ece", "ece_mass", "log_loss", "brier")
        found = {f"{prefix}{name}": math.nan for prefix in ("", "scaled_") for name in names}
        return {"session": session, "scale": 1.0, **found, "log_loss": math.inf}

    monkeypatch.setattr("cl_suite.runs.confidence_log.confidence", undefined)
    folder = run(tmp_path, **ASKED)
    assert lines(folder)[0]["log_loss"] is None
    print_runs([folder], Console(file=(file := io.StringIO()), width=80), everything=True)
    (row,) = (line.split() for line in file.getvalue().splitlines() if line.startswith("log loss"))
    assert row[-2:] == ["-", "-"]
