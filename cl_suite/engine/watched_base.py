"""Measures the network around the base session's training, for `base_watch` to judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from cl_suite.avalanche import api
from cl_suite.data.stream import Stream
from cl_suite.engine.base_watch import BaseWatch, judged_rows
from cl_suite.engine.session import SessionContext
from cl_suite.features.source import FeatureSource
from cl_suite.randomness import seeded


class WatchedBase:
    """The base session's training images, a part of which is judged before and after training.

    Args:
        context: of the engine.
        stream: whose first session it is; no test sample is read.
        lap: returns the seconds since its last call; training's clock leaves the judging out.
    """

    def __init__(self, context: SessionContext, stream: Stream, lap: Callable[[], float]) -> None:
        self.context, self.lap = context, lap
        self.samples, self.transform = stream.train[0], stream.info.eval_transform
        self.watch = BaseWatch(num_classes=len(stream.info.session_classes[0]))

    def begins(self, known: FeatureSource) -> None:
        """Measure the network before its training, if it has learned before and learns now.

        Args:
            known: what the strategy has computed in this session.
        """
        context = self.context
        has_learned = context.model.backbone.weights is not None or context.start is not None
        trains = context.num_epochs(0) > 0 and context.model.num_parameters()[0] > 0
        if has_learned and trains and self.rows:
            context.state.seconds += self.lap()
            self.watch.begins(*self._features(known))
            self.watch.seconds += self.lap()

    def ends(self, known: FeatureSource) -> None:
        """Judge the training."""
        if not self.rows:
            return
        self.context.state.seconds += self.lap()
        self.watch.ends(lambda: self._features(known))
        self.watch.seconds += self.lap()
        if self.watch.record is not None:
            self.watch.record = dataclasses.replace(self.watch.record, seconds=self.watch.seconds)

    @cached_property
    def rows(self) -> list[int]:
        """The images that are judged."""
        return judged_rows(self.samples.targets, self.context.num_epochs(0))

    def _features(self, known: FeatureSource) -> tuple[Tensor, Tensor]:
        """Return features and class ids of the images that are judged.

        If the strategy has computed all features, no image passes the network again.
        """
        device = self.context.device
        labels = torch.tensor([self.samples.targets[row] for row in self.rows], device=device)
        if (features := known.known_features(0)) is not None:
            return features[self.rows], labels
        judged = api.dataset(
            self.samples.select(self.rows), self.transform, self.transform, self.rows
        )
        training = self.context.training
        source = FeatureSource(
            self.context.model,
            lambda session, part: judged,
            batch_size=training.eval_batch_size,
            num_workers=training.num_workers,
            device=device,
        )
        with seeded(0):  # a transform may draw: alike before and after, and without a trace
            return source.features(0)[0], labels
