"""For each registered strategy the smallest network that it can work with, and streams for it."""

from __future__ import annotations

from typing import Any

from cl_suite import registry
from cl_suite.data.stream import Stream
from cl_suite.models.classifier import Classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.testing.subject import Subject


def subject_named(name: str) -> Subject:
    """Return a registered strategy as the contract's checks make and train it."""
    entry = registry.get("strategy", name)
    return Subject(entry.load(), settings=entry.settings)


def make_plugin(name: str) -> Any:
    """Return a strategy with the parameters of its YAML file, made short."""
    return subject_named(name).plugin()


def tiny_model(name: str) -> ModelConfig:
    """Return the settings of a small model for a strategy: conv4, or a tiny random CLIP."""
    return subject_named(name).model_config()


def fitting(stream: Stream, name: str) -> Stream:
    """Return the stream as the strategy's small model takes it."""
    return subject_named(name).fitting(stream)


def tiny_classifier(name: str, stream: Stream, plugin: Any) -> Classifier:
    """Return the small model, prepared by the strategy."""
    return subject_named(name).classifier(stream, plugin)


def reads_text(name: str) -> bool:
    """Return whether a strategy needs a text tower."""
    return subject_named(name).requirements.text_tower
