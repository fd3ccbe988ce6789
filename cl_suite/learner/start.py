"""Where learners start: a pretrained backbone, a folder of class folders, a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from cl_suite.data.readers.class_folders import find_images
from cl_suite.errors import UserError, option
from cl_suite.learner.extractor import Extractor, spec_of
from cl_suite.learner.pictures import Skipped
from cl_suite.learner.records import Examples
from cl_suite.models.classifier import build_classifier
from cl_suite.models.networks import OWN_BACKBONES
from cl_suite.models.preprocessing import backbone_preprocessing
from cl_suite.models.settings import ModelConfig

RUN_FILE = Path("model") / "classifier.clm"  # in a run's folder

Look = Callable[[list[Path]], tuple[Examples, tuple[Skipped, ...]]]


def pretrained_settings(
    backbone: str,
    weights: str | None,
    beside: str | None,
    beside_weights: str | None,
    image_size: int | None,
    crop_fraction: float,
) -> ModelConfig:
    """Return the settings of one or two frozen pretrained networks, with paths in full.

    Raises:
        UserError: if the weights are those of a run.
    """
    if weights is not None and Path(weights).expanduser().is_dir() and ":" not in backbone:
        raise UserError(
            f"weights '{weights}' is a folder; pass a .safetensors file, or start from a finished "
            f"run by {option('from_run', weights)}"
        )
    return ModelConfig(
        backbone=backbone,
        pretrained=weights is None,
        weights=_in_full(weights),
        beside=beside,
        beside_weights=_in_full(beside_weights),
        frozen=True,
        preprocessing="backbone",
        image_size=image_size,
        crop_fraction=crop_fraction,
    )


def new_extractor(settings: ModelConfig, device: torch.device | str) -> Extractor:
    """Return frozen pretrained networks with the first one's preparation of pictures.

    Raises:
        UserError: for a backbone without published weights or preparation, or wrong weights.
    """
    preprocessing = None
    if settings.backbone not in OWN_BACKBONES:
        preprocessing = backbone_preprocessing(
            settings.backbone,
            weights=settings.weights,
            image_size=settings.image_size,
            crop_fraction=settings.crop_fraction,
        )
    if preprocessing is None:
        raise UserError(
            f"backbone '{settings.backbone}' does not say how pictures are prepared for it; choose "
            "a pretrained one such as efficientnet_lite0, or start from a finished run"
        )
    prepare = preprocessing.eval_transform()
    shape = (len(preprocessing.mean), preprocessing.size, preprocessing.size)
    model = build_classifier(settings, shape)
    return Extractor(
        spec_of(model, settings, {}, shape, prepare), model.backbone, torch.device(device)
    )


def _in_full(path: str | None) -> str | None:
    # a classifier's file is used from any folder
    return None if path is None else str(Path(path).expanduser().resolve())


def fixed_base(folder: Path, look: Look) -> tuple[dict[str, Examples], list[str]]:
    """Return the examples of a folder's class folders, and notes on what was skipped.

    Raises:
        UserError: if the folder has no class folder with pictures that can be read.
    """
    findings = find_images(folder, str(folder))
    found: dict[str, Examples] = {}
    for label, paths in findings.images.items():
        examples, skipped = look(paths)
        for one in skipped:
            findings.skip("unreadable image", Path(one.name).relative_to(folder).as_posix())
        if len(examples):
            found[label] = examples
        else:
            findings.skip("a class without a readable image", label)
    if not found:
        raise UserError(
            f"folder '{folder}' has no picture that can be read; it must hold one folder of "
            "pictures a class"
        )
    return found, list(findings.notes())


def run_file(folder: Path) -> Path:
    """Return the classifier file of a finished run.

    Raises:
        UserError: if there is none; the message says why.
    """
    path = folder / RUN_FILE
    if path.is_file():
        return path
    if not (folder / "run.json").is_file():
        raise UserError(
            f"'{folder}' is not a run folder; pass one such as runs/omniglot/teen/seed0"
        )
    try:
        info = json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        info = {}
    if not isinstance(info, dict) or not info.get("finished"):
        raise UserError(f"run '{folder}' is not finished; continue it with --resume")
    if reason := info.get("no_learner"):
        raise UserError(f"run '{folder}' left no classifier that goes on learning: {reason}")
    raise UserError(
        f"run '{folder}' left no classifier that goes on learning; it comes from a version before "
        "0.3, so repeat it"
    )
