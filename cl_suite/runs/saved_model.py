"""The finished classifier on disk: what was trained, and by name and digest what it rests on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from cl_suite import registry
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError
from cl_suite.models.classifier import Classifier, ModelConfig, build_classifier
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.storage import checkpoint


@dataclass(frozen=True)
class SavedModel:
    """A finished classifier.

    Attributes:
        classifier: takes images that are prepared as `preprocessing` says; in eval mode.
        class_names: name of each class id.
        input_shape: of one prepared image.
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
        info: of the stream of images, before any feature bank.
    """
    settings = yaml.safe_load(config.text)
    tree = {
        "model": classifier.trained_state(),
        "settings": dataclasses.asdict(config.model),
        "strategy": {"name": config.strategy_name, "parameters": settings.get("strategy") or {}},
        "backbone weights": classifier.backbone.weights,
        "class_names": list(info.class_names),
        "input_shape": list(info.input_shape),
        "preprocessing": info.preprocessing,
    }
    checkpoint.save(folder.model_file, tree)


def load_model(
    folder: RunFolder, *, weights: str | None = None, device: torch.device | str = "cpu"
) -> SavedModel:
    """Return a run's finished classifier.

    Args:
        weights: file (for CLIP: folder) of the backbone's published weights, where they are not
            where the run had them.

    Raises:
        UserError: if the run is not finished, its strategy is not installed, or the published
            weights are not those that it was trained from.
    """
    if not folder.model_file.exists():
        raise UserError(f"run '{folder.path}' has no finished model; go on with it by --resume")
    tree = checkpoint.load(folder.model_file)
    settings = dict(tree["settings"])
    if weights is not None:
        settings["weights"] = weights
    classifier = build_classifier(
        ModelConfig(**settings),
        tuple(tree["input_shape"]),
        len(tree["class_names"]),
        _strategy(tree["strategy"]),
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


def _strategy(saved: dict[str, Any]) -> Any:
    entry = registry.get("strategy", saved["name"])
    try:
        return entry.load()(**saved["parameters"])
    except TypeError as error:
        raise UserError(
            f"strategy '{saved['name']}' does not take the parameters that the model was trained "
            f"with ({error}); it comes from another version of the suite"
        ) from error


def _check_weights(
    path: Path, expected: str | None, classifier: Classifier, settings: dict[str, Any]
) -> None:
    if expected is not None and classifier.backbone.weights != expected:
        given = settings["weights"] or f"the published weights of '{settings['backbone']}'"
        raise UserError(
            f"the model of run '{path}' rests on other backbone weights than {given} (digest "
            f"{expected[:12]} there, {str(classifier.backbone.weights)[:12]} here); give the file "
            "that it was trained from"
        )
