"""Saves and loads a finished classifier: its trained tensors, and the weights they rest on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from cl_suite import registry
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.model_file import checked_settings, read_model, run_path, settings_of
from cl_suite.storage import checkpoint

if TYPE_CHECKING:
    from cl_suite.engine.engine import Engine
    from cl_suite.learner.trained import Album


@dataclass(frozen=True)
class SavedModel:
    """A finished classifier.

    Attributes:
        classifier: accepts images prepared as `preprocessing` describes; in eval mode.
        class_names: name of each class id.
        input_shape: shape of one prepared image.
        preprocessing: the evaluation transform, in words.
    """

    classifier: Classifier
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    preprocessing: str


def save_model(
    folder: RunFolder, config: RunConfig, classifier: Classifier, info: StreamInfo
) -> None:
    """Write a run's classifier: tensors that differ from published ones, and the settings.

    Args:
        info: facts about the image stream, before any feature bank.
    """
    settings = yaml.safe_load(config.text)
    # with paths in full: the model is loaded from any folder
    model = dataclasses.replace(config.model, weights=settings["model"]["weights"])
    state, digest = classifier.trained_state(), classifier.backbone.weights
    if model.beside is not None:
        # who loads it can name one file of weights, not two
        model, state, digest = model.without_files(), classifier.state_dict(), None
    tree = {
        "model": state,
        "settings": dataclasses.asdict(model),
        "strategy": {"name": config.strategy_name, "parameters": settings.get("strategy") or {}},
        "backbone weights": digest,
        "class_names": list(info.class_names),
        "input_shape": list(info.input_shape),
        "preprocessing": info.preprocessing,
    }
    checkpoint.save(folder.model_file, tree)


def save_learner(folder: RunFolder, config: RunConfig, engine: Engine, album: Album) -> str | None:
    """Write the file that `Learner.from_run` continues; return why there can be none, else None."""
    # it imports Avalanche, which who loads a model need not wait for
    from cl_suite.learner.trained import NotTeachableError, save_trained

    settings = yaml.safe_load(config.text)
    try:
        save_trained(
            folder.learner_file,
            model=engine.model,
            settings=dataclasses.replace(config.model, weights=settings["model"]["weights"]),
            strategy={
                "name": config.strategy_name,
                "parameters": settings.get("strategy") or {},
            },
            plugin=config.strategy,
            album=album,
            features=engine.measuring.features.batches(range(len(engine.stream.train))),
        )
    except NotTeachableError as error:
        return str(error)
    return None


def load_model(
    folder: RunFolder | str | os.PathLike[str],
    *,
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> SavedModel:
    """Return a run's finished classifier.

    Args:
        folder: the run's folder, such as `cl_suite.run` returns.
        weights: file (for CLIP: folder) of the backbone's published weights, if they are no
            longer where the run found them.

    Raises:
        UserError: if the run is not finished, its strategy is not installed, or the published
            weights are not those that it was trained from.
    """
    if not isinstance(folder, RunFolder):
        folder = RunFolder(Path(folder))
    return _load(folder, weights, device, ())


def _load(
    folder: RunFolder, weights: str | None, device: torch.device | str, above: tuple[Path, ...]
) -> SavedModel:
    """Return a model that may rest on another run's; `above` are the runs that rest on this one."""
    own = folder.path.resolve()
    if own in above:
        raise UserError(
            f"the model of run '{folder.path}' starts from weights that rest on this run itself; "
            "repeat one of these runs with other --model.weights"
        )
    tree = read_model(folder)
    settings = dict(tree["settings"])
    if weights is not None and settings.get("beside") is None:  # two networks are kept whole
        settings["weights"] = weights
    model = checked_settings(folder, settings)
    classifier = build_classifier(
        model,
        tuple(tree["input_shape"]),
        len(tree["class_names"]),
        _strategy(tree["strategy"]),
        start=_start(model, (*above, own)),
    )
    _check_weights(folder.path, tree["backbone weights"], classifier, settings)
    try:
        classifier.load_trained_state(tree["model"])
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the model of run '{folder.path}' does not fit the network that its settings describe "
            f"({str(error).splitlines()[0]}); it comes from another version of the suite"
        ) from error
    return SavedModel(
        classifier.to(device).eval(),
        tuple(tree["class_names"]),
        tuple(tree["input_shape"]),
        tree["preprocessing"],
    )


def starting_state(settings: ModelConfig) -> Mapping[str, Tensor] | None:
    """Return the tensors that a backbone starts from if `settings.weights` names a run's folder.

    None if it names a file, or the folder of a published model.

    Raises:
        UserError: if the folder holds no finished run.
    """
    return _start(settings, ())


def _start(settings: ModelConfig, above: tuple[Path, ...]) -> Mapping[str, Tensor] | None:
    path = run_path(settings)
    if path is None:
        return None
    folder = RunFolder(path)
    if not folder.is_run:
        raise UserError(
            f"weights folder '{path}' is not a run folder; pass one such as "
            "runs/omniglot/teen/seed0, or a .safetensors file"
        )
    state = _load(folder, None, "cpu", above).classifier.backbone.body.state_dict()
    there = settings_of(folder)
    if settings.beside is not None or there.beside is not None:
        raise UserError(
            f"weights '{path}' are those of a run, and {option('model.beside')} joins published "
            f"networks; pass {option('model.pretrained', 'true')} or files of weights"
        )
    if (own := there.adapter) not in (None, settings.adapter):
        raise UserError(
            f"the network of run '{path}' has an adapter, so pass {option('model.adapter', own)}"
        )
    return state


def _strategy(saved: dict[str, Any]) -> Any:
    entry = registry.get("strategy", saved["name"])
    try:
        return entry.load()(**saved["parameters"])
    except TypeError as error:
        raise UserError(
            f"strategy '{saved['name']}' does not accept the parameters that the model was trained "
            f"with ({error}); it comes from another version of the suite"
        ) from error


def _check_weights(
    path: Path, expected: str | None, classifier: Classifier, settings: dict[str, Any]
) -> None:
    if expected is not None and classifier.backbone.weights != expected:
        given = settings["weights"] or f"the published weights of '{settings['backbone']}'"
        raise UserError(
            f"the model of run '{path}' needs other backbone weights than {given} (digest "
            f"{expected[:12]} there, {str(classifier.backbone.weights)[:12]} here); pass the file "
            "that it was trained from"
        )
