"""Checks before a run: the strategy fits the stream, and the run's folder is free."""

from __future__ import annotations

from pathlib import Path

from cl_suite.data.readers.class_words import is_code
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.errors import UserError
from cl_suite.requirements import requirements_of, unmet_by_stream
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.model_file import weights_behind
from cl_suite.runs.reading import read_text
from cl_suite.runs.same_settings import differences


def drawn_by_seed(config: RunConfig) -> str | None:
    """Return the scenario's parameter that follows the seed in this run, None if none does."""
    name: str | None = getattr(config.scenario, "drawn_by_seed", None)
    return name if name is not None and getattr(config.scenario, name) == config.seed else None


def check_names(config: RunConfig, info: StreamInfo) -> None:
    """Raise `UserError` if a strategy reads class names but a session's names are codes."""
    strategy = config.strategy
    if not requirements_of(strategy).text_tower or getattr(strategy, "class_names", None):
        return
    for session, classes in enumerate(info.session_classes):
        names = [info.class_names[c].strip() for c in classes]
        if all(map(is_code, names)):
            raise UserError(
                f"strategy '{config.strategy_name}' reads class names, but those of session "
                f"{session} are numbers or codes ('{names[0]}'); pass words by "
                "--strategy.class_names, or choose a strategy that needs no names"
            )


def check_stream(config: RunConfig, stream: Stream) -> None:
    """Raise `UserError` for a stream that the strategy cannot learn from."""
    required = requirements_of(config.strategy)
    if (problem := unmet_by_stream(required, config, stream)) is not None:
        raise UserError(problem)


def prepare_folder(folder: RunFolder, config: RunConfig, options: RunOptions) -> bool:
    """Return whether anything is left to run in this folder.

    Raises:
        UserError: if it holds a run with other settings, or an unfinished one without `--resume`.
    """
    _check_own_input(folder, config)
    if options.overwrite and options.resume:
        raise UserError("--resume and --overwrite contradict each other; pass only one of them")
    if options.overwrite or not folder.config_file.exists():
        return True
    found = differences(read_text(folder.config_file), config)
    if folder.is_planned:
        # a sweep leaves `auto` to the machine that the run gets
        found = [each for each in found if (each.key, each.there) != ("device", "auto")]
    if real := [each for each in found if not each.is_place]:
        raise UserError(
            f"run folder '{folder.path}' holds a run with other settings ({real[0]}); "
            "choose another --out, or pass --overwrite"
        )
    if found and not options.resume:
        raise UserError(
            f"run folder '{folder.path}' holds a run whose data lie elsewhere ({found[0]}); pass "
            "--resume if they are the same data, choose another --out, or pass --overwrite"
        )
    if folder.is_planned:
        return True
    if folder.read_run_info().get("finished"):
        # if its data have moved, their fingerprint is compared first
        return bool(found)
    if not options.resume:
        raise UserError(
            f"run folder '{folder.path}' holds an unfinished run; pass --resume to "
            "continue it, or --overwrite to replace it"
        )
    return True


def is_finished(folder: RunFolder, info: StreamInfo, weights: str | None) -> bool:
    """Return whether the folder's run is finished.

    Args:
        info: of the stream before any feature bank, as in run.json.
        weights: digest of the backbone's weights.

    Raises:
        UserError: if that run had other data or weights.
    """
    if folder.is_planned:
        return False
    content = folder.read_run_info()
    stream, known = content.get("stream"), content.get("backbone_weights")
    data = stream.get("fingerprint") if isinstance(stream, dict) else None
    if data and data != info.fingerprint:
        raise changed_data(folder)
    if known is not None and known != weights:
        raise other_weights(folder, known, weights)
    return bool(content.get("finished"))


def other_weights(folder: RunFolder, there: object, here: str | None) -> UserError:
    """Return the error for a resumed run that started from other backbone weights."""
    return UserError(
        f"run '{folder.path}' started from other backbone weights (digest {str(there)[:12]} "
        f"there, {str(here)[:12]} here); put the old file back, or start afresh with "
        "--overwrite"
    )


def changed_data(folder: RunFolder) -> UserError:
    """Return the error for a resumed run whose data are not those that it started with."""
    return UserError(
        f"the data of run '{folder.path}' has changed since it was stopped; put the old data "
        "back, or start afresh with --overwrite"
    )


def _check_own_input(folder: RunFolder, config: RunConfig) -> None:
    """Raise `UserError` if the run would start from itself, or from a run that rests on it."""
    own = folder.path.resolve()
    if config.start_from and Path(config.start_from).expanduser().resolve() == own:
        raise UserError(
            f"--start-from '{config.start_from}' is this run; pass another, or another --out"
        )
    for path in weights_behind(config.model):
        resolved = path.resolve()
        if resolved == own or own in resolved.parents:
            raise UserError(
                f"--model.weights '{config.model.weights}' rests on the folder of this very run, "
                f"'{folder.path}', which would be replaced; pass another --out"
            )
