"""A method under test: how to make it, and the smallest streams and networks that suit it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.hub.clip_files import CLIP_MEAN, CLIP_STD
from cl_suite.models.preprocessing import Preprocessing, with_preprocessing
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything
from cl_suite.requirements import Requirements, requirements_of
from cl_suite.testing.numbers import numbers_of
from cl_suite.testing.streams import make_stream
from cl_suite.testing.tiny_clip import clip_folder

# what a method trains by itself ends like this, and need not be longer here
LENGTHS, LONGEST = ("epochs", "iterations"), 3
# of a network with a class token
VIT = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
# where the network comes from: here it is small and random
SOURCES = ("backbone", "backbone_args", "weights", "pretrained", "image_size", "crop_fraction")


class DoesNotApply(Exception):  # noqa: N818  # it is no fault
    """What a check asks for is beside the method's point; the message says why."""


def claim(condition: bool, message: str) -> None:
    """Raise `AssertionError` unless a condition holds; unlike `assert`, under `python -O` too."""
    if not condition:
        raise AssertionError(message)


@dataclass(frozen=True)
class Subject:
    """A method as the checks make and train it.

    Attributes:
        cls: its class.
        given: parameters to make it with.
        settings: its recipe, with the sections of `default_config`.
    """

    cls: type
    given: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.cls.__name__

    @property
    def is_ours(self) -> bool:
        """Whether it is a `StrategyPlugin`, not a plugin of Avalanche's."""
        return issubclass(self.cls, StrategyPlugin)

    @property
    def requirements(self) -> Requirements:
        return requirements_of(self.plugin())

    def plugin(self) -> Any:
        """Return a new plugin with the recipe's parameters, made short.

        What the recipe says under `tiny` goes before that; lengths that it does not name are cut.
        """
        params = self.settings.get("params") or {}
        defaults = inspect.signature(self.cls).parameters
        short: dict[str, Any] = {}
        for parameter, number in numbers_of(self.cls, self.settings.get("bounds")).items():
            value = params.get(parameter, defaults[parameter].default)
            if parameter.endswith(LENGTHS) and isinstance(value, int):
                low = max([LONGEST, *(limit.low for limit in number.limits)])
                short[parameter] = min(value, int(low))
        tiny = self.settings.get("tiny") or {}
        return self.cls(**{**params, **short, **tiny, **self.given})

    def stream(
        self, session_classes: Sequence[Sequence[int]] | None = None, **sizes: int
    ) -> Stream:
        """Return a tiny stream of a kind that the method learns from; see `make_stream`."""
        needs = self.requirements
        kind = "class" if "class" in needs.kinds else needs.kinds[0]
        modality = "image" if "image" in needs.modalities else needs.modalities[0]
        return self.fitting(make_stream(session_classes, kind=kind, modality=modality, **sizes))

    def fitting(self, stream: Stream) -> Stream:
        """Return the stream as the method's small network takes it."""
        if not self.requirements.text_tower:
            return stream
        return with_preprocessing(stream, Preprocessing(16, CLIP_MEAN, CLIP_STD))

    def model_config(self) -> ModelConfig:
        """Return the settings of a small random network.

        It is conv4, a tiny CLIP if it must read text, or a tiny vision transformer if it must have
        a class token.
        """
        settings = dict(self.settings.get("model") or {})
        if self.requirements.text_tower:
            kept = {k: v for k, v in settings.items() if k not in SOURCES}
            folder = str(clip_folder())
            kept |= {"backbone": f"clip:{folder}", "weights": folder, "bank": False}
            return ModelConfig(**kept, crop_fraction=settings.get("crop_fraction", 1.0))
        if self.requirements.class_token:
            kept = {k: v for k, v in settings.items() if k not in SOURCES}
            return ModelConfig(**kept, backbone="vit_tiny_patch16_224", backbone_args=VIT)
        small = settings.get("backbone") == "identity"  # the network lies in the method's head
        kept = {k: v for k, v in settings.items() if small or k not in SOURCES}
        return ModelConfig(**kept)

    def classifier(self, stream: Stream, plugin: Any) -> Classifier:
        """Return the small network for a stream, prepared by the plugin."""
        info = stream.info
        return build_classifier(self.model_config(), info.input_shape, info.num_classes, plugin)

    def engine(self, stream: Stream | None = None, **training: Any) -> Engine:
        """Return an engine with a new plugin and network; every call gives the same one.

        Args:
            training: settings that are others than the recipe's.
        """
        stream = stream or self.stream()
        recipe = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": 16, "lr": 0.02}
        # of the method's own recipe the form, not the length, and no rate that a run must choose
        settings = self.settings.get("training") or {}
        own = {k: v for k, v in settings.items() if "epochs" not in k or v in (0, None)}
        own = {k: v for k, v in own.items() if v != "auto"}
        seed_everything(0)
        plugin = self.plugin()
        model = self.classifier(stream, plugin)
        return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **own, **training}))

    def trained(self, stream: Stream | None = None, **training: Any) -> Engine:
        """Return such an engine after its last session."""
        return train(self.engine(stream, **training))


def train(engine: Engine, start: int = 0) -> Engine:
    """Train the sessions from `start` on; return the engine."""
    for session in range(start, engine.stream.info.num_sessions):
        engine.train_session(session)
    return engine


def weights(engine: Engine) -> dict[str, Tensor]:
    """Return copies of the network's tensors, by name."""
    return {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}


def differences(engine: Engine, expected: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that the network lacks, or has with other bits."""
    found = engine.model.state_dict()
    return [k for k in expected if k not in found or not found[k].equal(expected[k])]
