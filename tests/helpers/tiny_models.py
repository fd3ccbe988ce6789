"""For each strategy the smallest network that it can work with, and streams to go with it."""

from __future__ import annotations

import atexit
import functools
import inspect
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
from cl_suite.requirements import requirements_of
from helpers.numeric_parameters import numbers_of

# what a strategy trains by itself ends like this, and need not be longer here
LENGTHS, LONGEST = ("epochs", "iterations"), 3


def make_plugin(name: str) -> Any:
    """Return a strategy with the parameters of its YAML file, made short.

    What the file says under `tiny` goes first; lengths that it does not name are cut.
    """
    entry = registry.get("strategy", name)
    cls, params = entry.load(), entry.settings.get("params") or {}
    defaults = inspect.signature(cls).parameters
    short: dict[str, Any] = {}
    for parameter, number in numbers_of(entry).items():
        value = params.get(parameter, defaults[parameter].default)
        if parameter.endswith(LENGTHS) and isinstance(value, int):
            low = max([LONGEST, *(limit.low for limit in number.limits)])
            short[parameter] = min(value, low)
    return cls(**{**params, **short, **entry.settings.get("tiny", {})})


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
    return requirements_of(make_plugin(name)).text_tower


@functools.cache
def clip_folder() -> Path:
    """Return a folder with a tiny random CLIP, made once a process."""
    from helpers.tiny_clip import write_tiny_clip

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_tiny_clip(folder)
    return folder
