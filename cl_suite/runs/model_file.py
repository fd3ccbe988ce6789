"""Reads a run's model file, and follows the runs that it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cl_suite import __version__
from cl_suite.errors import UserError
from cl_suite.models.backbones import HUB_MODELS
from cl_suite.models.settings import ModelConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.storage import checkpoint

_KINDS: dict[str, type | tuple[type, ...]] = {  # of a model file
    "model": dict,
    "settings": dict,
    "strategy": dict,
    "backbone weights": (str, type(None)),
    "class_names": list,
    "input_shape": list,
    "preprocessing": str,
}


def read_model(folder: RunFolder) -> dict[str, Any]:
    """Return the content of a run's model file, with every entry of the right kind.

    Raises:
        UserError: if the run keeps none, or it comes from another version.
    """
    if folder.tasks_file.exists():
        raise UserError(
            f"run '{folder.path}' is one over many tasks, whose networks are not kept; repeat the "
            "task that you need alone, with --scenario.task N"
        )
    if not folder.model_file.exists():
        raise UserError(f"run '{folder.path}' has no finished model; continue it with --resume")
    tree = checkpoint.load(folder.model_file)
    for key, kind in _KINDS.items():
        if not isinstance(tree.get(key), kind):
            raise _other_version(folder, f"its '{key}' is missing or of another kind")
    shape, strategy = tree["input_shape"], tree["strategy"]
    if not shape or not all(type(side) is int and side > 0 for side in shape):
        raise _other_version(folder, f"its input shape is {shape}")
    if not all(isinstance(name, str) for name in tree["class_names"]):
        raise _other_version(folder, "its class names are no texts")
    if not isinstance(strategy.get("name"), str) or not isinstance(
        strategy.get("parameters"), dict
    ):
        raise _other_version(folder, "its 'strategy' is missing or of another kind")
    if not all(isinstance(tensor, Tensor) for tensor in tree["model"].values()):
        raise _other_version(folder, "its 'model' holds no tensors")
    return tree


def settings_of(folder: RunFolder) -> ModelConfig:
    """Return a run's settings of the model, without reading its tensors."""
    settings = checkpoint.load_values(folder.model_file).get("settings")
    if not isinstance(settings, dict):
        raise _other_version(folder, "its 'settings' is missing or of another kind")
    return checked_settings(folder, settings)


def checked_settings(folder: RunFolder, settings: Mapping[str, Any]) -> ModelConfig:
    """Return settings of a run's model file, checked.

    Raises:
        UserError: if they are those of another version.
    """
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    if unknown := sorted(set(map(str, settings)) - known):
        raise UserError(
            f"the model of run '{folder.path}' has setting '{unknown[0]}', which this version "
            f"({__version__}) does not know; it comes from a newer version of cl-suite, so update "
            "cl-suite"
        )
    try:
        return ModelConfig(**settings)
    except (TypeError, ValueError) as error:
        raise _other_version(folder, str(error)) from error


def run_path(settings: ModelConfig) -> Path | None:
    """Return the run whose network these settings start from; None if they name none."""
    # a published CLIP, wav2vec2 or Whisper is a folder too
    if settings.weights is None or settings.backbone.startswith(HUB_MODELS):
        return None
    path = Path(settings.weights).expanduser()
    return path if path.is_dir() else None


def prepares_as_backbone(settings: ModelConfig) -> bool:
    """Return whether images are prepared as in the backbone's training, if that is known."""
    for model in _models_behind(settings):
        if model.preprocessing != "auto":
            return model.preprocessing == "backbone"
        path = run_path(model)
        if path is None or not RunFolder(path).model_file.is_file():
            return model.pretrained or model.weights is not None
    return True


def weights_behind(settings: ModelConfig) -> Iterator[Path]:
    """Yield the file or run that the weights come from, the one behind that run, and so on."""
    for model in _models_behind(settings):
        if model.weights is not None:
            yield Path(model.weights).expanduser()


def _models_behind(settings: ModelConfig) -> Iterator[ModelConfig]:
    seen: set[Path] = set()
    while True:
        yield settings
        path = run_path(settings)
        if path is None or path.resolve() in seen or not RunFolder(path).model_file.is_file():
            return
        seen.add(path.resolve())
        settings = settings_of(RunFolder(path))


def _other_version(folder: RunFolder, reason: str) -> UserError:
    return UserError(
        f"the model of run '{folder.path}' cannot be used ({reason}); it comes from another "
        "version of the suite, or was edited"
    )
