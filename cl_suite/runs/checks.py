"""What is looked at before a run: whether the pair fits, and whether its folder is free."""

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
    """Return the scenario's parameter that follows the seed, if it does in this run."""
    name: str | None = getattr(config.scenario, "drawn_by_seed", None)
    return name if name is not None and getattr(config.scenario, name) == config.seed else None


def check_names(config: RunConfig, info: StreamInfo) -> None:
    """Raise `UserError` if a strategy reads class names and a session's are numbers."""
    strategy = config.strategy
    if not requirements_of(strategy).text_tower or getattr(strategy, "class_names", None):
        return
    for session, classes in enumerate(info.session_classes):
        names = [info.class_names[c].strip() for c in classes]
        if all(name.isnumeric() or not name for name in names):
            raise UserError(
                f"strategy '{config.strategy_name}' reads class names, and those of session "
                f"{session} are numbers ('{names[0]}'); give words by --strategy.class_names, or "
                "take a strategy that needs no names"
            )


def check_stream(config: RunConfig, stream: Stream) -> None:
    """Raise `UserError` for a stream that the strategy cannot learn from."""
    if (problem := unmet(requirements_of(config.strategy), config, stream)) is not None:
        raise UserError(problem)


def prepare_folder(folder: RunFolder, config: RunConfig, options: RunOptions) -> bool:
    """Return whether there is something to run in this folder.

    Raises:
        UserError: if it holds a run of other settings, or an unfinished one without `--resume`.
    """
    if config.start_from and Path(config.start_from).resolve() == folder.path.resolve():
        raise UserError(
            f"--start-from '{config.start_from}' is this very run; give another, or another --out"
        )
    if options.overwrite and options.resume:
        raise UserError("--resume and --overwrite contradict each other; give one of them")
    if options.overwrite or not folder.config_file.exists():
        return True
    if folder.config_file.read_text("utf-8") != config.text:
        raise UserError(
            f"run folder '{folder.path}' holds a run of other settings "
            f"({_difference(folder.config_file.read_text('utf-8'), config.text)}); "
            "choose another --out, or --overwrite it"
        )
    if folder.read_run_info().get("finished"):
        return False
    if not options.resume:
        raise UserError(
            f"run folder '{folder.path}' holds an unfinished run; go on with it by "
            "--resume, or --overwrite it"
        )
    return True


def _difference(old: str, new: str) -> str:
    a, b = yaml.safe_load(old) or {}, yaml.safe_load(new) or {}
    flat_a, flat_b = flatten(a), flatten(b)
    for key in {**flat_b, **flat_a}:
        if flat_a.get(key) != flat_b.get(key):
            return f"{key}: {flat_a.get(key)} there, {flat_b.get(key)} here"
    return "written differently"
