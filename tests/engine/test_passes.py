"""Samples in forward passes are counted, by copies of the network too, and across a resume."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import interrupt_after, run
from torch import nn

from cl_suite.engine.passes import PassCounter


def test_each_sample_of_a_batch_counts() -> None:
    network = nn.Linear(3, 2)
    passes = PassCounter(network)
    network(torch.zeros(5, 3))
    network(torch.zeros(2, 3))
    assert passes.num == 7


def test_a_copy_of_the_network_counts_too() -> None:
    network = nn.Linear(3, 2)
    passes = PassCounter(network)
    copy.deepcopy(network)(torch.zeros(4, 3))
    assert passes.num == 4


def forward_samples(folder: Path) -> int:
    number = json.loads((folder / "run.json").read_text())["forward_samples"]
    assert isinstance(number, int)
    return number


def test_a_run_counts_training_statistics_and_evaluation(tmp_path: Path) -> None:
    one = forward_samples(run(tmp_path / "one", "prototype", **{"training.base_epochs": 1}))
    two = forward_samples(run(tmp_path / "two", "prototype", **{"training.base_epochs": 2}))
    # an epoch more is one pass over the 12 base classes' ten drawings
    assert two - one == 120


def test_a_resumed_run_keeps_its_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", "finetune")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", "finetune")
    resumed = run(tmp_path / "stopped", "finetune", resume=True)
    assert forward_samples(resumed) == forward_samples(whole)
