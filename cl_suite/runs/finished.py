"""Tells, before the engine is imported, whether a run is finished with the same settings."""

from __future__ import annotations

from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.folder import RunFolder


def finished_folder(config: RunConfig, options: RunOptions) -> RunFolder | None:
    """Return the run's folder if it holds this very run, finished; None leaves it to the run."""
    folder = RunFolder.of(config, options)
    if options.overwrite or not (folder.config_file.is_file() and folder.run_info_file.is_file()):
        return None
    if folder.config_file.read_bytes() != config.text.encode():
        return None  # perhaps the same in other words
    return folder if folder.read_run_info().get("finished") else None


def finished_line(folder: RunFolder) -> str:
    """Return what is said of a run that is finished already."""
    return f"run '{folder.path}' is finished already; nothing to do"
