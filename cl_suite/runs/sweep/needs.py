"""What one run asks of a machine: its device, its threads, its share of a GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cl_suite.errors import UserError

NEEDS = ("device", "threads", "gpus")
MOST_THREADS = 1024


@dataclass(frozen=True)
class Needs:
    """What one run asks for.

    Attributes:
        device: as `--device` takes it.
        threads: of the CPU.
        gpus: share of a GPU in (0, 1], or a whole number of them; None: one if the device is cuda,
            or is auto and the machine has one.
    """

    device: str = "auto"
    threads: int = 1
    gpus: float | None = None

    def num_gpus(self, machine_has: bool) -> float:
        """Return the GPUs that a run takes on a machine with or without any."""
        if self.gpus is not None:
            return self.gpus
        return float(self.device.startswith("cuda") or (self.device == "auto" and machine_has))

    def environment(self) -> dict[str, str]:
        """Return the variables that keep a process to its threads."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return dict.fromkeys(names, str(self.threads))


def read_needs(content: Mapping[str, Any], before: Needs, where: str) -> Needs:
    """Return what these keys ask for, and `before` of what they leave out.

    Raises:
        UserError: for a value that no machine can give.
    """
    given = {name: content[name] for name in NEEDS if name in content}
    device, threads, gpus = given.get("device"), given.get("threads"), given.get("gpus")
    if device is not None and not (isinstance(device, str) and device):
        raise UserError(f"{where}: device must be cpu, cuda or auto, got {device!r}")
    if isinstance(device, str) and re.fullmatch(r"cuda:\d+", device):
        raise UserError(
            f"{where}: device '{device}' puts all runs on one GPU; write cuda, and the sweep gives "
            "each run one that is free"
        )
    if threads is not None and not (_whole(threads) and 1 <= threads <= MOST_THREADS):
        raise UserError(
            f"{where}: threads must be a whole number from 1 to {MOST_THREADS}, got {threads!r}"
        )
    if gpus is not None and not _gpus(gpus):
        raise UserError(
            f"{where}: gpus must be 0, a share of one such as 0.5, or a whole number, got {gpus!r}"
        )
    return replace(before, **given)


def machine_threads() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _gpus(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value <= 1 or (value > 1 and value == int(value))
