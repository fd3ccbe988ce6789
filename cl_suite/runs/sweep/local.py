"""Runs a sweep's jobs as processes of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from cl_suite.errors import UserError
from cl_suite.runs.sweep.child import Child, start_child, stop_children
from cl_suite.runs.sweep.job import Ended, Job
from cl_suite.runs.sweep.needs import machine_threads
from cl_suite.runs.sweep.warm import Fork, serves

LOOK_SECONDS = 0.1
ALMOST = 1e-9


class LocalPool:
    """Processes of this machine, as many as its threads and GPUs allow.

    Args:
        jobs: the most processes at a time.
        gpus: the machine's GPUs, by what CUDA_VISIBLE_DEVICES calls them.
        threads: the machine's threads.
        warm: start jobs as forks of a process that has imported everything, where that can be.
    """

    def __init__(
        self,
        jobs: int,
        gpus: Sequence[str] = (),
        threads: int | None = None,
        *,
        warm: bool = False,
    ) -> None:
        self.jobs = jobs
        self.warm = warm and not gpus  # CUDA does not survive a fork
        self.free_gpus = dict.fromkeys(gpus, 1.0)
        self.free_threads = machine_threads() if threads is None else threads
        self.running: dict[str, tuple[Job, Child, dict[str, float]]] = {}

    def check(self, jobs: Sequence[Job]) -> None:
        """Raise `UserError` for a job that asks for more GPUs than there are."""
        for job in jobs:
            wanted = job.needs.num_gpus(bool(self.free_gpus))
            if wanted > len(self.free_gpus):
                raise UserError(
                    f"'{job.name}' asks for {wanted:g} GPUs, but this machine has "
                    f"{len(self.free_gpus)}; set gpus: 0 and device: cpu, or use --ray"
                )

    def has_room(self, job: Job) -> bool:
        if not self.running:
            return True  # a run that asks for more threads than there are is slow, not stuck
        if len(self.running) >= self.jobs or job.needs.threads > self.free_threads:
            return False
        return self._gpus_for(job) is not None

    def start(self, job: Job) -> None:
        gpus = self._gpus_for(job) or {}
        environment = job.needs.environment()
        if self.free_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        child: Child
        if self.warm and serves(environment):
            child = Fork(job.arguments, job.log)
        else:
            child = start_child(job.arguments, job.log, environment)
        self.running[job.name] = job, child, gpus
        self._give(job, gpus, -1)

    def has_begun(self, job: Job) -> bool:
        return True

    def ended(self, seconds: float) -> list[Ended]:
        until = time.monotonic() + seconds
        while True:
            found = [self._end(name) for name in list(self.running) if self._has_ended(name)]
            if found or not self.running or time.monotonic() >= until:
                return found
            time.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        stop_children(child for _, child, _ in self.running.values())
        self.running.clear()

    def _has_ended(self, name: str) -> bool:
        return self.running[name][1].poll() is not None

    def _end(self, name: str) -> Ended:
        job, child, gpus = self.running.pop(name)
        self._give(job, gpus, 1)
        return Ended(job, child.returncode)

    def _give(self, job: Job, gpus: dict[str, float], sign: int) -> None:
        self.free_threads += sign * job.needs.threads
        for name, share in gpus.items():
            self.free_gpus[name] += sign * share

    def _gpus_for(self, job: Job) -> dict[str, float] | None:
        """Return the share that the job gets of each GPU; None if too little is free."""
        wanted = job.needs.num_gpus(bool(self.free_gpus))
        if not wanted:
            return {}
        share, number = (wanted, 1) if wanted < 1 else (1.0, int(wanted))
        free = [name for name, left in self.free_gpus.items() if left >= share - ALMOST]
        return dict.fromkeys(free[:number], share) if len(free) >= number else None


def machine_gpus() -> list[str]:
    """Return the names of this process's GPUs, as CUDA_VISIBLE_DEVICES takes them."""
    import torch

    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return [name.strip() for name in visible.split(",")][: torch.cuda.device_count()]
    return [str(number) for number in range(torch.cuda.device_count())]
