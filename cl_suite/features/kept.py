"""Features of whole sessions, computed anew only where the backbone has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from cl_suite.avalanche.loader import batches
from cl_suite.models.classifier import Classifier
from cl_suite.models.digest import state_digest
from cl_suite.models.modes import evaluating

Batches = list[list[Tensor]]  # of [features (batch, dim), class ids (batch,)]


class KeptFeatures:
    """Features of each session's data, for as long as the backbone stays the same.

    Args:
        model: the classifier.
        data: from a session to its data set, evaluation transform in force.
        batch_size, num_workers: of the forward passes.
    """

    def __init__(
        self,
        model: Classifier,
        data: Callable[[int], Any],
        *,
        batch_size: int,
        num_workers: int,
        device: torch.device,
    ) -> None:
        self.model = model
        self.data = data
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.of_session: dict[int, Batches] = {}
        self.backbone = b""

    def of(self, sessions: Iterable[int]) -> list[Batches]:
        """Return the batches of features of each of these sessions.

        Batches never span sessions: features do not depend on which sessions were computed before.
        """
        backbone = self.model.backbone
        current = b"passed by" if backbone.is_passed_by else state_digest(backbone)
        if current != self.backbone:
            self.of_session, self.backbone = {}, current
        found = []
        for session in sessions:
            if session not in self.of_session:
                self.of_session[session] = self._compute(session)
            found.append(self.of_session[session])
        return found

    @torch.no_grad()
    def _compute(self, session: int) -> Batches:
        data = self.data(session)
        if not len(data):
            return []
        loader = batches(data, self.batch_size, num_workers=self.num_workers)
        with evaluating(self.model):
            return [
                [self.model.features(batch[0].to(self.device)), batch[1].to(self.device)]
                for batch in loader
            ]
