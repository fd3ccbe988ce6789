"""Checks before a run: the strategy fits the scenario, and the run's folder is free."""

from __future__ import annotations

from pathlib import Path

import yaml

from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.errors import UserError
from cl_suite.requirements import requirements_of, unmet
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.flat import flatten
from cl_suite.runs.folder import RunFolder


def check_pair(config: RunConfig) -> None:
    """Raise `UserError` for settings that the strategy cannot use."""
    if (problem := unmet(requirements_of(config.strategy), config)) is not None:
        raise UserError(problem)


def drawn_by_seed(config: RunConfig) -> str | None:
    """Return the scenario's parameter that follows the seed in this run, None if none does."""
    name: str | None = getattr(config.scenario, "drawn_by_seed", None)
    return name if name is not None and getattr(config.scenario, name) == config.seed else None


def check_names(config: RunConfig, info: StreamInfo) -> None:
    """Raise `UserError` if a strategy reads class names but a session's names are numbers."""
    strategy = config.strategy
    if not requirements_of(strategy).text_tower or getattr(strategy, "class_names", None):
        return
    for session, classes in enumerate(info.session_classes):
        names = [info.class_names[c].strip() for c in classes]
        if all(name.isnumeric() or not name for name in names):
            raise UserError(
                f"strategy '{config.strategy_name}' reads class names, but those of session "
                f"{session} are numbers ('{names[0]}'); pass words by --strategy.class_names, or "
                "choose a strategy that needs no names"
            )


def check_stream(config: RunConfig, stream: Stream) -> None:
    """Raise `UserError` for a stream that the strategy cannot learn from."""
    if (problem := unmet(requirements_of(config.strategy), config, stream)) is not None:
        raise UserError(problem)


def prepare_folder(folder: RunFolder, config: RunConfig, options: RunOptions) -> bool:
    """Return whether anything is left to run in this folder.

    Raises:
        UserError: if it holds a run with other settings, or an unfinished one without `--resume`.
    """
    if config.start_from and Path(config.start_from).resolve() == folder.path.resolve():
        raise UserError(
            f"--start-from '{config.start_from}' is this run; pass another, or another --out"
        )
    if options.overwrite and options.resume:
        raise UserError("--resume and --overwrite contradict each other; pass only one of them")
    if options.overwrite or not folder.config_file.exists():
        return True
    if folder.config_file.read_text("utf-8") != config.text:
        raise UserError(
            f"run folder '{folder.path}' holds a run with other settings "
            f"({_difference(folder.config_file.read_text('utf-8'), config.text)}); "
            "choose another --out, or pass --overwrite"
        )
    if folder.read_run_info().get("finished"):
        return False
    if not options.resume:
        raise UserError(
            f"run folder '{folder.path}' holds an unfinished run; pass --resume to "
            "continue it, or --overwrite to replace it"
        )
    return True


def _difference(old: str, new: str) -> str:
    a, b = yaml.safe_load(old) or {}, yaml.safe_load(new) or {}
    flat_a, flat_b = flatten(a), flatten(b)
    for key in {**flat_b, **flat_a}:
        if flat_a.get(key) != flat_b.get(key):
            return f"{key}: {flat_a.get(key)} there, {flat_b.get(key)} here"
    return "written differently"
