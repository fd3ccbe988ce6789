"""The streams of a run's few-shot tasks, and fresh models for them: each as in a single run."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from cl_suite.data.stream import Stream
from cl_suite.models.beside import check_beside
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.mirrored import check_mirrors
from cl_suite.randomness import random_state, seed_everything, set_random_state
from cl_suite.runs.assemble import Progress, frozen_part, of_features
from cl_suite.runs.config import RunConfig
from cl_suite.runs.saved_model import starting_state

TASKS_AT_ONCE = 32  # whose images are looked up in the feature bank together


class FreshModels:
    """Makes the network and the strategy that a task starts from, with its random numbers.

    A single run seeds the generators and builds a network, which draws from them. Here this
    happens once; each task gets a copy of the result, and the generators' state behind it.

    Args:
        stream: the stream of any task.
    """

    def __init__(self, config: RunConfig, stream: Stream) -> None:
        self.config, self.shape = config, _shape(stream)
        check_mirrors(config.model, stream.info)
        check_beside(config.model, stream.info.input_shape)
        seed_everything(config.seed)
        # loading another run's network draws numbers too
        self.start, self.loaded = starting_state(config.model), random_state()
        self.untouched = copy.deepcopy(config.strategy)
        self.model, self.strategy = self._build(self.shape)
        self.random = random_state()

    def make(self, stream: Stream) -> tuple[Classifier, Any]:
        """Return a task's network and strategy, and set the generators for it."""
        shape = _shape(stream)
        if shape != self.shape or _has_hooks(self.model):
            model, strategy = self._build(shape)
        else:
            # together: the strategy may know parts of the network; a part that the bank replaces
            # is never run, so the tasks share it
            body, settings = self.model.backbone.body, self.config.model
            shared = {id(body): body} if settings.frozen and settings.uses_bank else {}
            model, strategy = copy.deepcopy((self.model, self.strategy), shared)
            set_random_state(self.random)
        return model, strategy

    def _build(self, shape: tuple[tuple[int, ...], int]) -> tuple[Classifier, Any]:
        strategy = copy.deepcopy(self.untouched)
        set_random_state(self.loaded)
        return build_classifier(self.config.model, *shape, strategy, start=self.start), strategy


class TaskStreams:
    """Yields the tasks' streams, of images or of the bank's features.

    Args:
        draw: makes the stream of images of a task.
        model: a network as the tasks start from it.
    """

    def __init__(
        self,
        config: RunConfig,
        draw: Callable[[int], Stream],
        model: Classifier,
        on_images: Progress | None = None,
    ) -> None:
        self.config, self.draw, self.model, self.on_images = config, draw, model, on_images

    def of(self, tasks: Sequence[int]) -> Iterator[tuple[int, Stream, Stream]]:
        """Yield each task with its stream of images and the one that is learned from.

        Raises:
            UserError: if an image cannot be read, or the bank cannot be used.
        """
        if not self.config.model.uses_bank:
            for task in tasks:
                images = self.draw(task)
                yield task, images, images
            return
        for first in range(0, len(tasks), TASKS_AT_ONCE):
            chosen = tasks[first : first + TASKS_AT_ONCE]
            images_of = [self.draw(task) for task in chosen]
            yield from zip(chosen, images_of, self._features(images_of), strict=True)

    def enter_behind_bank(self, model: Classifier) -> None:
        """Let a fresh network take the bank's features, if there is a bank."""
        if self.config.model.uses_bank:
            model.backbone.enter_behind(self.part)

    def _features(self, streams: Sequence[Stream]) -> list[Stream]:
        self.part = frozen_part(self.config, self.model, streams[0])
        banked = of_features(self.config, self.part, _joined(streams), self.on_images)
        return list(_parted(banked, streams))


def _joined(streams: Sequence[Stream]) -> Stream:
    """Return all sessions of these streams as those of one."""
    info = dataclasses.replace(
        streams[0].info,
        session_classes=tuple(c for s in streams for c in s.info.session_classes),
        kind="mixed",
    )
    train = tuple(samples for stream in streams for samples in stream.train)
    return Stream(info, train, tuple(samples for stream in streams for samples in stream.test))


def _parted(joined: Stream, streams: Sequence[Stream]) -> Iterator[Stream]:
    first = 0
    for stream in streams:
        end = first + stream.info.num_sessions
        info = dataclasses.replace(
            stream.info,
            input_shape=joined.info.input_shape,
            train_transform=joined.info.train_transform,
            eval_transform=joined.info.eval_transform,
            notes=joined.info.notes,
        )
        yield Stream(info, joined.train[first:end], joined.test[first:end])
        first = end


def _shape(stream: Stream) -> tuple[tuple[int, ...], int]:
    return stream.info.input_shape, stream.info.num_classes


def _has_hooks(model: nn.Module) -> bool:
    """Return whether a module calls functions that a copy might share with the original."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        for module in model.modules()
    )
