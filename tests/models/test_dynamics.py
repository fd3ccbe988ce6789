"""Dynamics: how much parameters move, and which of them move when the session changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cl_suite.cli import main
from cl_suite.models.dynamics import Dynamics, mean_change, most_sensitive, sensitivities

TINY = [
    "run",
    "omniglot",
    "finetune",
    "--scenario.base_classes",
    "42",
    "--scenario.way",
    "100",
    "--training.base_epochs",
    "2",
    "--training.incremental_epochs",
    "2",
    "--evaluation.dynamics",
    "true",
    "--device",
    "cpu",
]


def record(session: int, epoch: int, **changes: float) -> dict[str, Any]:
    return {"session": session, "epoch": epoch, "sizes": dict.fromkeys(changes, 10)} | {
        "changes": changes
    }


def test_the_change_of_a_tensor_by_hand() -> None:
    before, after = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, -1.0, 3.0])
    assert mean_change(before, after) == 0.5
    assert mean_change(-4 * before, -4 * after) == 2.0
    assert mean_change(before, before) == 0.0


def test_what_grows_is_compared_as_far_as_both_have_it() -> None:
    before, after = torch.zeros(2, 3), torch.ones(4, 3)
    assert mean_change(before, after) == 1.0
    assert mean_change(torch.zeros(0, 3), after) == 0.0


@pytest.mark.parametrize(("across", "score"), [(0.5, 5.0), (0.1, 1.0)])
def test_the_score_by_hand(across: float, score: float) -> None:
    records = [record(0, 0, a=9.0), record(0, 1, a=0.1), record(0, 2, a=0.1)]
    records += [record(1, 0, a=across), record(1, 1, a=0.1)]
    (found,) = sensitivities(records)
    assert found.score == pytest.approx(score)


def test_the_most_sensitive_come_first_within_the_budget() -> None:
    records = [record(0, 1, a=1.0, b=1.0, c=1.0), record(1, 0, a=2.0, b=5.0, c=0.0)]
    records[-1]["sizes"] = {"a": 1, "b": 50, "c": 49}
    found = sensitivities(records)
    assert [each.name for each in found] == ["b", "a", "c"]
    assert most_sensitive(found, 0.6) == ["b", "a"]
    assert most_sensitive(found, 0.1) == ["a"]  # b does not fit
    assert most_sensitive(found, 1.0) == ["b", "a"]  # c does not move


def test_too_little_to_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="two sessions"):
        sensitivities([record(0, 0, a=1.0), record(0, 1, a=1.0)])


def test_statistics_of_normalisation_are_noted_and_a_session_starts_from_its_end() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    dynamics = Dynamics(model)
    with torch.no_grad():
        model[1].running_mean += 0.5
    first = dynamics.epoch(0, 0)
    assert first["changes"]["1.running_mean"] == 0.5
    assert first["changes"]["0.weight"] == 0.0
    assert "1.num_batches_tracked" not in first["changes"]
    with torch.no_grad():
        model[0].bias += 3.0  # what a strategy writes when a session ends
    dynamics.session_ends()
    assert dynamics.epoch(1, 0)["changes"]["0.bias"] == 0.0


def test_a_run_notes_its_dynamics_and_a_command_ranks_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "omniglot/finetune/seed0"
    lines = [json.loads(line) for line in (folder / "dynamics.jsonl").read_text().splitlines()]
    assert [(line["session"], line["epoch"]) for line in lines] == [
        (session, epoch) for session in range(3) for epoch in range(2)
    ]
    capsys.readouterr()
    assert main(["sensitivity", str(folder), "--all"]) == 0
    printed = capsys.readouterr().out
    assert "head.weight" in printed
    assert "running_mean" in printed
    assert (folder / "sensitivity.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_dynamics_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "run.json").write_text("{}")
    assert main(["sensitivity", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "--evaluation.dynamics true" in error
    assert main(["sensitivity", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "dynamics.jsonl").write_text('{"session": 0}\n')
    assert main(["sensitivity", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("cl-suite: ") == 2
