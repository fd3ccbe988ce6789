"""A sweep's jobs as forks of one process that has imported everything, against processes.

Each job is a run of `prototype` on the packaged characters, on features that the bank holds; all
write to folders of their own, one after another. Either side is a process of its own that starts
the jobs as a sweep does, so the forks' time includes the process that they come from.

    python -m benchmarks forked_jobs [--jobs 12] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from speed_file import in_turns, paired, report
from timing import seconds

from cl_suite.runs.sweep.job import Job
from cl_suite.runs.sweep.local import LocalPool
from cl_suite.runs.sweep.needs import Needs

RUN = ("-m", "cl_suite.cli", "run", "omniglot", "prototype", "--device", "cpu", "--overwrite")
SETTINGS = ("--model.frozen", "true", "--training.base_epochs", "0")


def run_jobs(folder: Path, number: int, *, forked: bool) -> None:
    """Run so many jobs, one at a time."""
    pool = LocalPool(1, warm=forked)
    for place in range(number):
        out = folder / str(place)
        arguments = (*RUN, *SETTINGS, "--out", str(out))
        pool.start(Job(str(place), "run", arguments, out, folder / f"{place}.log", Needs("cpu")))
        (ended,) = pool.ended(600)
        if ended.code:
            raise SystemExit(ended.job.log.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side, folder = options.side
        run_jobs(Path(folder), options.jobs, forked=side == "forks")
        return

    with tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "CL_SUITE_BANK": f"{name}/bank"}
        command = [sys.executable, "-W", "ignore", __file__, "--jobs"]

        def run(side: str, jobs: int = options.jobs) -> None:
            side_command = [*command, str(jobs), "--side", side, name]
            subprocess.run(side_command, env=environment, check=True)

        run("processes", 1)  # fills the bank
        sides = {
            "forks": lambda: seconds(lambda: run("forks")),
            "processes": lambda: seconds(lambda: run("processes")),
        }
        times = in_turns(sides, options.rounds)
    found = [paired(f"{options.jobs} jobs", "forks / processes", times, unit="s")]
    report("forked_jobs", "Jobs as forks of one process, against processes of their own", found)


if __name__ == "__main__":
    main()
