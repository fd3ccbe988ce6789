"""Figures of finished runs, under the names that the tables of results use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import result_file

from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.errors import UserError
from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.metrics.headline import headline
from cl_suite.report.loaded_run import LoadedRun, load
from cl_suite.report.tasks import is_of_tasks, runs_of_tasks
from cl_suite.runs.folder import RunFolder


def finished_runs(path: Path) -> list[LoadedRun]:
    """Return a finished run; of a run over few-shot tasks, each task.

    Raises:
        UserError: if the run is unfinished, or a file is missing or damaged.
    """
    folder = RunFolder(path)
    runs = runs_of_tasks(folder) if is_of_tasks(folder) else [load(folder)]
    if not runs[0].finished:
        raise UserError(f"run '{path}' is unfinished; go on with it by --resume")
    return runs


def figure_of(run: LoadedRun, name: str) -> float:
    """Return a figure after the last session as a fraction; NaN if it is undefined.

    Args:
        run: a finished run.
        name: `average`, `last`, `drop`, `base`, `new`, `harmonic`, `forgetting`, `last_macro`,
            `last_session` (accuracy on the last session's classes), or a cost; the prefix `linear.`
            or `knn.` selects that probe's figure. Costs are `base_seconds` (of the base session's
            training), `seconds` (of all training), and `forward` (thousands of samples through the
            network), all in hundreds, because files hold a hundred times the figure.
    """
    if name == "base_seconds":
        return run.records[0].seconds_train / 100
    if name == "seconds":
        return sum(record.seconds_train for record in run.records) / 100
    if name == "forward":
        return float(run.info["forward_samples"]) / 1e5
    probe, _, own = name.rpartition(".")
    hits = _hits_of(run, probe)
    matrix, num_images = accuracy_matrix(hits)
    if own == "base":
        return float(figures.base_accuracy(matrix, num_images)[-1])
    if own == "new":
        return float(figures.new_accuracy(matrix, num_images)[-1])
    if own == "last_session":
        return float(matrix[-1, -1])
    return float(getattr(headline(hits), own))


def provenance(runs: Sequence[LoadedRun]) -> dict[str, Any]:
    """Return the date, version and machine of these runs."""
    # tasks share a folder
    runs = list({run.folder.path: run for run in runs}.values())
    infos = [run.folder.read_run_info() for run in runs]
    machines = [info.get("machine", {}) for info in infos]
    return {
        # the latest date: a table that was stopped and resumed may span days
        "measured": max(str(info.get("started", ""))[:10] for info in infos) or None,
        "version": result_file.versions(*(str(info["versions"]["cl-suite"]) for info in infos)),
        "machine": {
            "device": ", ".join(
                sorted({_device(run, m) for run, m in zip(runs, machines, strict=True)})
            ),
            "cores": os.cpu_count(),
            "processor": ", ".join(sorted({str(m.get("processor")) for m in machines})),
        },
    }


def _hits_of(run: LoadedRun, probe: str) -> Hits:
    if not probe or run.measured_by == IN_WORDS[probe]:
        return run.hits
    return run.probes[probe]


def _device(run: LoadedRun, machine: dict[str, Any]) -> str:
    device = str(run.config["device"])
    return str(machine.get("cuda")) if device.startswith("cuda") else device
