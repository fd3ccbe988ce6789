"""What is looked at before a run: whether the pair fits, and whether its folder is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cl_suite import registry
from cl_suite.data.stream import UNLABELLED, Stream, StreamInfo
from cl_suite.errors import UserError
from cl_suite.plugin import check_bounds
from cl_suite.report.pairs import misfit
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.folder import RunFolder


def check_pair(config: RunConfig) -> None:
    """Raise `UserError` for a parameter out of range, or a model that the strategy cannot use."""
    check_bounds(config.strategy)
    # a class of another library has none of its own; its YAML file states them
    settings = registry.get("strategy", config.strategy_name).settings
    given = {k: v for k, v in settings.get("bounds", {}).items() if k in vars(config.strategy)}
    check_bounds(config.strategy, given)
    needed = getattr(config.strategy, "head", None)
    if needed is not None and config.model.head != needed:
        raise UserError(
            f"strategy '{config.strategy_name}' needs a {needed} head, got "
            f"'{config.model.head}'; pass --model.head {needed}"
        )
    if getattr(config.strategy, "needs_text", False) and not config.model.backbone.startswith(
        "clip:"
    ):
        raise UserError(
            f"strategy '{config.strategy_name}' needs a backbone that reads text, got "
            f"'{config.model.backbone}'; pass --model.backbone clip:openai/clip-vit-base-patch16"
        )
    if config.start_from and getattr(config.strategy, "keeps_base_state", False):
        raise UserError(
            f"strategy '{config.strategy_name}' keeps more of its base session than weights, so it "
            "cannot begin after another run's; leave --start-from out"
        )
    smallest = getattr(config.strategy, "smallest_batch", 1)
    if config.training.batch_size < smallest:
        raise UserError(
            f"strategy '{config.strategy_name}' needs batches of {smallest} samples or more, got "
            f"--training.batch_size {config.training.batch_size}; pass {smallest} at least"
        )
    if not getattr(config.strategy, "has_classifier", True) and not config.evaluation.probes:
        raise UserError(
            f"strategy '{config.strategy_name}' learns no classifier, so that a probe must measure "
            "it; pass --evaluation.probes [linear,knn]"
        )
    if getattr(config.strategy, "needs_task", False) and not config.evaluation.task_known:
        raise UserError(
            f"strategy '{config.strategy_name}' predicts only where a sample's session is told; "
            "pass --evaluation.task_known true"
        )
    if config.model.lora_rank and getattr(config.strategy, "adapts_backbone", False):
        raise UserError(
            f"strategy '{config.strategy_name}' puts adapters or prompts of its own into the "
            "backbone; leave --model.lora_rank out"
        )


def drawn_by_seed(config: RunConfig) -> str | None:
    """Return the scenario's parameter that follows the seed, if it does in this run."""
    name: str | None = getattr(config.scenario, "drawn_by_seed", None)
    return name if name is not None and getattr(config.scenario, name) == config.seed else None


def check_names(config: RunConfig, info: StreamInfo) -> None:
    """Raise `UserError` if a strategy reads class names and a session's are numbers."""
    strategy = config.strategy
    if not getattr(strategy, "needs_text", False) or getattr(strategy, "class_names", None):
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
    """Raise `UserError` for a stream of a kind that the strategy cannot learn from.

    So are sessions with too few samples for a batch, or without labels that it needs.
    """
    if (reason := misfit(config.strategy, stream.info.kind, stream.info.modality)) is not None:
        raise UserError(
            f"strategy '{config.strategy_name}' does not run on scenario '{config.scenario_name}': "
            f"{reason}; `cl-suite list pairs` says what does"
        )
    smallest = getattr(config.strategy, "smallest_batch", 1)
    needs_labels = getattr(config.strategy, "needs_labels", True)
    for session, samples in enumerate(stream.train):
        if len(samples) < smallest:
            raise UserError(
                f"strategy '{config.strategy_name}' needs batches of {smallest} samples or more, "
                f"and session {session} has {len(samples)}; give sessions more samples"
            )
        missing = samples.targets.count(UNLABELLED)
        if missing and needs_labels:
            raise UserError(
                f"strategy '{config.strategy_name}' learns from labels, and {missing} of "
                f"{len(samples)} training samples of session {session} have none; label them, or "
                "take a strategy that needs none, such as sycon"
            )


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


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= (
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
