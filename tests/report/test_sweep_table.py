"""What is printed while a sweep's jobs run."""

from __future__ import annotations

import io
from pathlib import Path

from helpers.sweeps import job
from rich.console import Console

from cl_suite.report import sweep_table
from cl_suite.runs.sweep.job import Progress


def test_a_job_that_waits_for_its_machine_is_not_said_to_run(tmp_path: Path) -> None:
    names = ("done", "on a machine", "in the cluster's queue", "next")
    progress = [Progress(job(tmp_path, name, "")) for name in names]
    done, runs, queued, _ = progress
    done.state, runs.state, queued.state = "finished", "running", "running"
    runs.begun = True
    text = io.StringIO()
    table = sweep_table.SweepTable(Console(file=text), 1)
    table.starts(progress)
    table.last = -sweep_table.SECONDS_BETWEEN_LINES
    table.ticks()
    last = text.getvalue().splitlines()[-1].strip()
    assert last == "1 finished, 1 running, 1 queued, 1 waiting"
