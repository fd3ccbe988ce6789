"""Builds a run's parts: the scenario's stream, the classifier, and the feature bank."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.data.transforms import Compose, CornerCrop, Flip, Transform
from cl_suite.errors import UserError, option
from cl_suite.features.bank import banked_stream
from cl_suite.features.one_draw import OneDraw
from cl_suite.methods.self_supervised.views import ssl_views
from cl_suite.models.beside import check_beside
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.frozen_part import FrozenPart
from cl_suite.models.mirrored import check_mirrors
from cl_suite.models.preprocessing import (
    Preprocessing,
    backbone_preprocessing,
    takes_images,
    with_preprocessing,
)
from cl_suite.models.settings import DRAWN_VIEWS, ModelConfig
from cl_suite.models.stages import cut
from cl_suite.randomness import seed_everything
from cl_suite.runs.config import RunConfig
from cl_suite.runs.model_file import prepares_as_backbone
from cl_suite.runs.saved_model import starting_state

Progress = Callable[[int, int], None]


def build_stream(config: RunConfig) -> Stream:
    """Return the scenario's stream, with images prepared as the backbone expects.

    Raises:
        UserError: if data or parameters do not fit.
    """
    scenario, prepared = _prepared_scenario(config)
    return prepared(scenario.build())


def build_tasks(config: RunConfig) -> Callable[[int], Stream]:
    """Return what makes the stream of each task of a range; the data are read once, here.

    Each stream is the one that `build_stream` returns for that task alone.

    Raises:
        UserError: if data or parameters do not fit; so does the function returned.
    """
    scenario, prepared = _prepared_scenario(config)
    draw: Callable[[int], Stream] = scenario.read_tasks()
    return lambda task: prepared(draw(task))


def _prepared_scenario(config: RunConfig) -> tuple[Any, Callable[[Stream], Stream]]:
    """Return the scenario for the backbone's image size, and what prepares its streams."""
    preprocessing = _preprocessing(config.model)
    scenario = config.scenario
    if preprocessing is None:
        return scenario, lambda stream: stream
    if hasattr(scenario, "image_size"):
        # the stored form of an image depends on the requested size
        scenario = copy.copy(scenario)
        scenario.image_size = preprocessing.size

    def prepared(stream: Stream) -> Stream:
        if config.model.preprocessing == "auto" and not takes_images(stream):
            return stream
        return with_preprocessing(stream, preprocessing)

    return scenario, prepared


def build_model(
    config: RunConfig, stream: Stream, on_progress: Progress | None = None
) -> tuple[Classifier, Stream]:
    """Return the classifier and the stream that it learns from: images, or frozen features.

    Args:
        on_progress: called with the number of images that the bank has computed, and the total.

    Raises:
        UserError: if the model is not available, or the pair cannot use the bank.
    """
    info, settings = stream.info, config.model
    check_mirrors(settings, info)
    check_beside(settings, info.input_shape)
    seed_everything(config.seed)
    model = build_classifier(
        settings,
        info.input_shape,
        info.num_classes,
        config.strategy,
        start=starting_state(settings),
    )
    if not settings.uses_bank:
        return model, stream
    part = frozen_part(config, model, stream)
    banked = of_features(config, part, stream, on_progress)
    model.backbone.enter_behind(part)
    return model, banked


def frozen_part(config: RunConfig, model: Classifier, stream: Stream) -> FrozenPart:
    """Return the part of a network that the bank stores; `UserError` if the strategy trains it."""
    _check_bank(config, model)
    return model.backbone.frozen_part(stream.info.input_shape)


def of_features(
    config: RunConfig, part: FrozenPart, stream: Stream, on_progress: Progress | None = None
) -> Stream:
    """Return the stream with its images replaced by their features, from the bank.

    Raises:
        UserError: if an image cannot be read, or the bank cannot be used.
    """
    settings = config.model
    return banked_stream(
        stream,
        part,
        weights_key=part.key(),
        views=_views(settings.bank_views, stream.info),
        dtype=settings.bank_dtype,
        device=config.device,
        on_progress=on_progress,
    )


def _preprocessing(settings: ModelConfig) -> Preprocessing | None:
    if not prepares_as_backbone(settings):
        return None
    found = backbone_preprocessing(
        settings.backbone,
        weights=settings.weights,
        image_size=settings.image_size,
        crop_fraction=settings.crop_fraction,
    )
    if found is None and settings.preprocessing == "backbone":
        raise UserError(
            f"backbone '{settings.backbone}' does not define its preprocessing; pass "
            "--model.preprocessing scenario"
        )
    return found


def _check_bank(config: RunConfig, model: Classifier) -> None:
    """Raise `UserError` if the strategy trains a part that the bank would store."""
    backbone = model.backbone
    stages = cut(backbone.body)
    first = stages.num_blocks + 1 if backbone.frozen else backbone.num_frozen_blocks
    for name, parameter in backbone.body.named_parameters():
        if parameter.requires_grad and stages.stage_of(name) < first:
            raise UserError(
                f"strategy '{config.strategy_name}' trains '{name}', which is in the part of the "
                "backbone that the bank stores; pass --model.bank false"
            )


def _views(names: Sequence[str], info: StreamInfo) -> list[Transform]:
    """Return the views with these names; none is mirrored if that may be another class.

    Raises:
        UserError: if random views are wanted of a stream that is not augmented.
    """
    steps = getattr(info.eval_transform, "steps", (info.eval_transform,))
    made: list[Transform] = []
    for name in names:
        if drawn := DRAWN_VIEWS.fullmatch(name):
            transform = _random_transform(drawn["kind"], info)
            made += [OneDraw(transform, number) for number in range(int(drawn["num"]))]
        elif name == "corners":
            made += [Compose((CornerCrop(place), *steps)) for place in range(5)]
        elif info.mirror_symmetric:
            made.append(Compose((Flip(), *steps)))
    return made


def _random_transform(kind: str, info: StreamInfo) -> Transform:
    if kind == "simclr":
        return ssl_views(info)
    if repr(info.train_transform) == repr(info.eval_transform):
        raise UserError(
            f"scenario '{info.name}' does not augment its training samples, so it has no random "
            f"views; leave random:N out of {option('model.bank_views')}"
        )
    return info.train_transform
