"""SIGKILL at random moments, then `--resume`: the result equals that of an uninterrupted run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cl_suite.cli import main

KILLER = Path(__file__).parent / "kill_and_resume.py"
TINY = [
    "--scenario.base_classes",
    "42",
    "--scenario.way",
    "50",
    "--training.base_epochs",
    "4",
    "--training.incremental_epochs",
    "2",
    "--device",
    "cpu",
]


def figures(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.startswith("seconds")} for line in lines
    ]


BATCHES = ["--training.batch_size", "64"]  # its recipe's are of ten
SMALL_SSL = ["--strategy.projector_dim", "64", "--strategy.queue_size", "256"]
STRATEGIES = {
    "teen": [],
    "joint": [],
    "replay": [],
    # a buffer and a teacher
    "coconut": ["--strategy.buffer", "300"],
    # a host within, a reservoir with logits, a random generator of its own
    "cler": ["--strategy.host", "der", "--strategy.host_params", "{buffer: 300}", *BATCHES],
    # queues, a momentum copy, a past copy, a predictor, probes
    "sycon": [*SMALL_SSL, "--strategy.form", "moco", "--strategy.predictor_dim", "64"],
    # phases within a session, dynamics noted
    "kfpf": ["--strategy.iterations", "5", "--evaluation.dynamics", "true"],
}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_killed_at_random_equals_an_uninterrupted_one(strategy: str, tmp_path: Path) -> None:
    seed = 1 + list(STRATEGIES).index(strategy)
    command = ["run", "omniglot", strategy, *TINY, *STRATEGIES[strategy]]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    result = subprocess.run(
        [
            sys.executable,
            str(KILLER),
            str(seed),
            *command,
            "--resume",
            "--out",
            str(tmp_path / "killed"),
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 0, "the run ended before the first kill"
    whole, killed = (
        tmp_path / root / "omniglot" / strategy / "seed0" for root in ("whole", "killed")
    )
    assert figures(killed) == figures(whole)
    assert np.array_equal(
        np.load(killed / "accuracy_matrix.npy"),
        np.load(whole / "accuracy_matrix.npy"),
        equal_nan=True,
    )
    for name in ("hits.npz", "probes/knn/hits.npz", "dynamics.jsonl"):
        if (whole / name).exists():
            assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    model = "model/model.safetensors"
    assert (killed / model).read_bytes() == (whole / model).read_bytes()
    leftovers = [p for p in killed.rglob("*") if p.suffix == ".part"]
    assert len(leftovers) <= 3, "one a kill at most, and only while writing"
