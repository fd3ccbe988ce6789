"""For each strategy the smallest network that it can work with, and streams to go with it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cl_suite import registry
from cl_suite.data.stream import Stream
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.hub.clip_files import CLIP_MEAN, CLIP_STD
from cl_suite.models.preprocessing import Preprocessing, with_preprocessing
from cl_suite.models.settings import ModelConfig

# where training has a length of the strategy's own, or its state a size
SHORT: dict[str, dict[str, Any]] = {
    "fpf": {"iterations": 3},
    "kfpf": {"iterations": 3},
    "ranpac": {"num_projections": 128},
    "limit": {"meta_epochs": 2},
    "mamlcon": {"meta_epochs": 1, "meta_steps": 2, "meta_batch": 2, "steps": 2, "way": 1},
}


def make_plugin(name: str) -> Any:
    """Return a strategy with the parameters of its YAML file, but for what is in `SHORT`."""
    entry = registry.get("strategy", name)
    return entry.load()(**{**(entry.settings.get("params") or {}), **SHORT.get(name, {})})


def tiny_model(name: str) -> ModelConfig:
    """Return the settings of a small model for a strategy: conv4, or a tiny random CLIP."""
    settings = dict(registry.get("strategy", name).settings.get("model") or {})
    if reads_text(name):
        folder = str(clip_folder())
        settings |= {"backbone": f"clip:{folder}", "weights": folder, "bank": False}
        settings.pop("pretrained", None)
    return ModelConfig(**settings)


def fitting(stream: Stream, name: str) -> Stream:
    """Return the stream as the strategy's small model takes it."""
    if not reads_text(name):
        return stream
    return with_preprocessing(stream, Preprocessing(16, CLIP_MEAN, CLIP_STD))


def tiny_classifier(name: str, stream: Stream, plugin: Any) -> Classifier:
    """Return the small model, prepared by the strategy."""
    info = stream.info
    return build_classifier(tiny_model(name), info.input_shape, info.num_classes, plugin)


def reads_text(name: str) -> bool:
    """Return whether a strategy needs a text tower."""
    return bool(getattr(registry.get("strategy", name).load(), "needs_text", False))


@functools.cache
def clip_folder() -> Path:
    """Return a folder with a tiny random CLIP, made once a process."""
    from helpers.tiny_clip import write_tiny_clip

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_tiny_clip(folder)
    return folder
