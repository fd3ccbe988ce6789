"""SIGKILL at random moments, then `--resume`: the result equals that of an uninterrupted run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cl_suite.cli import main

KILLER = Path(__file__).parents[1] / "helpers" / "kill_and_resume.py"
ATTEMPTS = 5
# session, epochs done and whether it is finished, in the checkpoints that kills left behind
Left = list[list[Any]]
Ask = Callable[[dict[str, Any]], Left]

OMNIGLOT = {
    "--scenario.base_classes": "22",
    "--scenario.way": "110",
    "--scenario.shots": "2",
    "--training.base_epochs": "4",
    "--training.incremental_epochs": "3",
}
# of two classes each; the third and fourth can use modules of those before
PROBLEMS = {
    "--scenario.length": "4",
    "--scenario.plus_items": "80",
    "--scenario.test_items": "40",
    "--training.base_epochs": "4",
    "--training.incremental_epochs": "10",
}


def within(session: int, epochs: range) -> Callable[[Left], bool]:
    """Whether a kill left a session behind at one of these numbers of epochs, unfinished."""
    return lambda left: any(s == session and e in epochs and not end for s, e, end in left)


def within_a_later_session(left: Left) -> bool:
    return any(session > 0 and epochs > 0 and not end for session, epochs, end in left)


@dataclass
class Case:
    """Settings of a run, and where one of its kills must fall, at least."""

    settings: dict[str, str] = field(default_factory=dict)
    strikes: Callable[[Left], bool] = within_a_later_session
    scenario: str = "omniglot"
    apart: int = 3  # checkpoints between two kills, at most


SMALL_SSL = {
    "--strategy.projector_dim": "64",
    "--strategy.predictor_dim": "64",
    "--strategy.queue_size": "256",
}
BASE_ALONE = {"--training.base_epochs": "3", "--training.incremental_epochs": "0"}
CASES = {
    # trains in its base session alone
    "teen": Case(strikes=within(0, range(1, 5))),
    "joint": Case(),
    "replay": Case(),
    # a buffer and a teacher
    "coconut": Case({"--strategy.buffer": "300"}),
    # a host within, a reservoir with logits, a random generator of its own
    "cler": Case(
        {
            "--strategy.host": "der",
            "--strategy.host_params": "{buffer: 300}",
            "--training.batch_size": "64",  # its recipe's are of ten
        },
        apart=2,
    ),
    # queues, a momentum copy, a past copy, a predictor, probes
    "sycon": Case({**SMALL_SSL, "--strategy.form": "moco"}),
    # phases within a session, dynamics noted
    "kfpf": Case(
        {
            "--strategy.phases": "5",
            "--strategy.iterations": "5",
            "--evaluation.dynamics": "true",
        }
    ),
    # the support sets remembered
    "cfsl": Case(),
    # running sums of class means, episodes
    "protonet": Case({"--strategy.way": "8"}, strikes=within(0, range(1, 5))),
    # a host's buffer, movements of tensors that are noted from epoch to epoch
    "fpf": Case(
        {
            "--strategy.host": "er",
            "--strategy.host_params": "{buffer: 300}",
            "--strategy.groups": "sensitive",
            "--strategy.iterations": "5",
        }
    ),
    # epochs of its own: their rates, rows of means, a loader of fake sessions
    "limit": Case(
        {
            **BASE_ALONE,
            "--strategy.meta_epochs": "5",
            "--strategy.num_tasks": "2",
            "--strategy.sample_way": "8",
        },
        within(0, range(4, 8)),
    ),
    # epochs of its own: an optimiser beside the recipe's, a loader of episodes
    "mamlcon": Case(
        {
            **BASE_ALONE,
            "--strategy.meta_epochs": "5",
            "--strategy.meta_steps": "2",
            "--strategy.meta_batch": "2",
            "--strategy.steps": "2",
            "--strategy.episode_classes": "4",
            "--strategy.way": "2",
            "--strategy.shots": "1",
            "--strategy.queries": "1",
        },
        within(0, range(4, 8)),
    ),
    # the search for a path, past its first
    "picle": Case(
        {"--strategy.path_epochs": "3", "--strategy.maps": "4", "--strategy.hidden": "8"},
        lambda left: any(within(session, range(4, 10))(left) for session in (1, 2, 3)),
        scenario="problem_sequence",
        apart=5,
    ),
}


@pytest.fixture(scope="module")
def kill_and_resume() -> Iterator[Ask]:
    """Runs that are killed and resumed, by a program that has imported everything once."""
    program = subprocess.Popen(
        [sys.executable, str(KILLER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        stdin, stdout = program.stdin, program.stdout

        def ask(job: dict[str, Any]) -> Left:
            stdin.write(json.dumps(job) + "\n")
            stdin.flush()
            answer = stdout.readline()
            assert answer, "the killing program has ended; its reason is on standard error"
            return [left for left in json.loads(answer) if left is not None]

        yield ask


def figures(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.startswith("seconds")} for line in lines
    ]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", CASES)
def test_a_run_killed_at_random_equals_an_uninterrupted_one(
    strategy: str, tmp_path: Path, kill_and_resume: Ask
) -> None:
    case = CASES[strategy]
    length = PROBLEMS if case.scenario == "problem_sequence" else OMNIGLOT
    settings = {**length, **case.settings, "--device": "cpu"}
    command = [
        "run",
        case.scenario,
        strategy,
        *(word for pair in settings.items() for word in pair),
    ]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    whole = tmp_path / "whole" / case.scenario / strategy / "seed0"
    # where a kill falls depends on the machine: once more, if none fell where it matters
    for attempt in range(ATTEMPTS):
        root = tmp_path / f"killed{attempt}"
        killed = root / case.scenario / strategy / "seed0"
        left = kill_and_resume(
            {
                "seed": 1 + list(CASES).index(strategy) + 100 * attempt,
                "arguments": [*command, "--resume", "--out", str(root)],
                "checkpoint": str(killed / "checkpoint" / "last.safetensors"),
                "apart": case.apart,
            }
        )
        if case.strikes(left):
            break
    assert case.strikes(left), f"no kill where it matters: {left}"
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
