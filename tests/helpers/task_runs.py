"""Runs over few-shot tasks from a program, and the networks that they drop."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import cl_suite
from cl_suite.runs.saved_model import load_model
from cl_suite.runs.task_run import TaskRun

QUICK: dict[str, Any] = {
    "scenario.support_sets": 2,
    "training.base_epochs": 3,
    "training.incremental_epochs": 3,
}


def run_tasks(out: Path, tasks: str | int, *, pair: tuple[str, str], **changed: Any) -> Path:
    """Run these tasks in silence; return the run's folder."""
    settings = {"device": "cpu", "listeners": (), **QUICK, "scenario.task": tasks, **changed}
    return cl_suite.run(*pair, out=out, **settings)


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return what the tasks' file holds."""
    return [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]


def digest(model: torch.nn.Module) -> str:
    """Return a digest of a network's tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def digest_of_single(folder: Path) -> str:
    """Return the digest of the network that a single run has left."""
    return digest(load_model(folder).classifier)


def note_networks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that each task's final network is noted in, by its digest."""
    found: list[str] = []
    monkeypatch.setattr(TaskRun, "ends", lambda self, model: found.append(digest(model)))
    return found
