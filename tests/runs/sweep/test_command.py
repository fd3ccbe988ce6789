"""The whole command on real runs, with its output and exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.sweeps import job, planned, sweep_process, write_sweep
from helpers.tiny_runs import SETTINGS, assert_equal_runs, run
from rich.console import Console

from cl_suite.cli import main
from cl_suite.report.sweep_table import SweepTable
from cl_suite.runs.sweep.job import Progress
from cl_suite.runs.sweep.progress import Reached

LONG = {"set": {**SETTINGS, "training.base_epochs": 80}, "strategies": ["teen"]}


@pytest.mark.slow
def test_a_failing_run_is_retried_and_reported_and_does_not_end_the_sweep(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"start_from": "nowhere"}
    content = {"strategies": {"prototype": None, "finetune": broken}, "seeds": [0, 1]}
    path = write_sweep(here, {**content, "retries": 1})
    assert main(["sweep", str(path), "--jobs", "2"]) == 1
    out = capsys.readouterr().out
    assert out.count("retried   run") == 2
    assert out.count("failed: run") == 2
    assert "cl-suite: --start-from 'nowhere' does not exist" in out
    assert "2 of 4 failed" in out
    # what finished is compared all the same
    assert "prototype" in out.partition("\nomniglot\n")[2]
    # and is left alone by the next call, which has only the failed ones to try
    seconds = {p: p.stat().st_mtime_ns for p in here.rglob("prototype/*/run.json")}
    assert main(["sweep", str(path), "--jobs", "2"]) == 1
    assert "2 of 4 are finished already" in capsys.readouterr().out
    assert seconds == {p: p.stat().st_mtime_ns for p in seconds}


@pytest.mark.slow
def test_runs_of_a_sweep_are_those_of_the_plain_command(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(here, {"strategies": ["teen", "finetune"], "base": "teen"})
    assert main(["sweep", str(path)]) == 0
    out = capsys.readouterr().out
    assert "difference to" in out
    assert "dashboard: tensorboard" in out
    _, plan = planned(path)
    teen, finetune = (trial.folder.path for trial in plan.trials)
    alone = run(here / "alone", "teen")
    assert_equal_runs(teen, alone)
    assert_equal_runs(finetune, run(here / "alone", "finetune", start_from=alone))


@pytest.mark.slow
def test_ctrl_c_stops_the_runs_gently_and_the_next_call_resumes_them(here: Path) -> None:
    path = write_sweep(here, LONG)
    process = sweep_process(path)
    deadline = time.monotonic() + 300
    while not (saved := list(here.rglob("checkpoint/last.safetensors"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    assert "stopped; repeat the command to continue each run" in out
    folder = saved[0].parents[1]
    assert "stopped; repeat" in (folder / "sweep.log").read_text()
    assert not json.loads((folder / "run.json").read_text())["finished"]
    assert not _running(folder)
    again = sweep_process(path)
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 0, out
    alone = run(here / "alone", "teen", **{"training.base_epochs": 80})
    assert_equal_runs(folder, alone)


@pytest.mark.slow
def test_an_element_of_the_slurm_array_is_a_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(here, {"strategies": ["teen", "finetune"], "base": "teen", "seeds": [0, 1]})
    assert main(["sweep", str(path), "--slurm", "--jobs", "3"]) == 0
    out = capsys.readouterr().out
    assert "sbatch --parsable --dependency=afterok:$job0" in out
    for stage in ("bases", "runs"):
        script = here / "out/slurm" / f"{stage}.sbatch"
        assert "#SBATCH --array=0-1%3" in script.read_text()
        subprocess.run(
            ["bash", str(script)],
            check=True,
            capture_output=True,
            env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"},
        )
    _, plan = planned(path)
    finished = [trial.config.seed for trial in plan.trials if trial.is_finished]
    assert finished == [1, 1]
    # what is finished is in no array any more
    assert main(["sweep", str(path), "--slurm"]) == 0
    assert "#SBATCH --array=0-0\n" in (here / "out/slurm/runs.sbatch").read_text()


def test_progress_tells_how_much_of_a_run_is_done() -> None:
    assert Reached(sessions=1, of=4, epoch=5, of_epochs=10).share == pytest.approx(0.375)
    assert Reached().share == 0.0


def test_a_terminal_gets_a_table(here: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    table = SweepTable(console, 1)
    table.starts([Progress(job(here, "some/run", ""), "running", tries=1, begun=True)])
    console.print(table._table())
    assert "some/run" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 running" in console.file.getvalue()  # type: ignore[attr-defined]


def _running(folder: Path) -> list[str]:
    """Return the processes that were started for a run's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder / "config.yaml").encode() in words:
            found.append(process.name)
    return found
