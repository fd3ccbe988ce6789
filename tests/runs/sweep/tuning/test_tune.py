"""Candidates on a real Ray Tune: bad ones are stopped early, and the winner runs once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.sweeps import write_sweep

from cl_suite.cli import main

pytest.importorskip("ray", reason="needs Ray (the extra `sweep`)")
pytestmark = pytest.mark.slow

CONTENT = {
    "strategies": ["teen"],
    "set": {"scenario.base_classes": 60, "scenario.way": 91, "training.base_epochs": 4},
    # the first is good, and the others learn nothing: they start when its figures are known
    "grid": {"training.lr": [0.05, 1.0e-7, 2.0e-7]},
    "select": {"figure": "average", "grace": 2, "reduction": 2},
    "seeds": [0, 1],
}


def test_bad_candidates_are_stopped_and_the_best_one_is_run_on_the_stream(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(here, CONTENT)
    assert main(["sweep", str(path), "--ray", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "chose training.lr 0.05 among 3 candidates, 2 of them stopped early" in out
    assert "Tuned on fake sessions cut from the base session's training data" in out
    (choice,) = json.loads((here / "out/tuning.json").read_text())["choices"]
    assert choice["chosen"] == {"training.lr": 0.05}
    assert [each["state"] for each in choice["candidates"]] == [
        "finished",
        "stopped early",
        "stopped early",
    ]
    # on the stream there are the winner's runs alone, one a seed
    runs = [p.parent for p in (here / "out").rglob("omniglot/teen/*/run.json")]
    assert sorted(run.name for run in runs) == ["seed0", "seed1"]
    assert all(run.parents[2].name.startswith("lr=0.05-") for run in runs)
    # the choice is made once: a second call needs no Ray
    assert main(["sweep", str(path)]) == 0
    again = capsys.readouterr().out
    assert "2 of 2 are finished already" in again
    assert "chose training.lr 0.05" in again
