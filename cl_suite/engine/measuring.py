"""Measures each session's test data, by the classifier's predictions or by a probe's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.samples import UNLABELLED
from cl_suite.engine.evaluation import Predictions, predictions
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.transductive import refined_head
from cl_suite.features.source import FeatureSource
from cl_suite.models.classifier import Classifier
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.modes import evaluating
from cl_suite.requirements import requirements_of

FILLED = 128  # samples of a joined batch, at least
Predict = Callable[[Tensor], Tensor]  # from features (batch, dim) to class ids (batch,)


class Measuring:
    """Measures a classifier, or the features under it, on each session's test data.

    Args:
        features: features and labels of each session's training and test data.
        class_counts: training samples of each class id, by session; read if it is transductive.
    """

    def __init__(
        self,
        model: Classifier,
        features: FeatureSource,
        settings: EvaluationConfig,
        *,
        num_classes: int,
        session_classes: Sequence[Sequence[int]],
        class_counts: Sequence[Counter[int]],
    ) -> None:
        self.model, self.features = model, features
        self.settings = settings
        self.num_classes, self.session_classes = num_classes, session_classes
        self.class_counts = class_counts

    def predictions(self, session: int, measure: str) -> list[Predictions]:
        """Return the predictions for the test data of each session so far.

        Args:
            session: the last session trained on.
            measure: classifier, linear or knn.
        """
        parts = self.features.batches(range(session + 1), "test")
        if measure != "classifier":
            return self._together(self._fitted(session, measure), parts)
        with evaluating(self.model):
            if self.settings.task_known:
                return [self._of(self._classify(i), part) for i, part in enumerate(parts)]
            return self._together(self._classify(session, self._head(parts)), parts)

    def _head(self, parts: Sequence[Sequence[list[Tensor]]]) -> ClassHead:
        """Return the classifier's head; refined by these test samples if that is asked for."""
        rule = self.settings.transductive
        if rule == "none":
            return self.model.head
        features = torch.cat([batch[0] for part in parts for batch in part])
        # a class may come back: what later sessions have of it is not known yet
        counts = sum(self.class_counts[: len(parts)], Counter[int]())
        return refined_head(self.model.head, features, counts, rule)

    def _of(self, predict: Predict, batches: Iterable[list[Tensor]]) -> Predictions:
        return predictions(predict, batches, self.num_classes, self.features.device)

    def _together(
        self, predict: Predict, parts: Sequence[Sequence[list[Tensor]]]
    ) -> list[Predictions]:
        """Predict for all sessions at once: many small sessions take no longer than one."""
        found = self._of(predict, _filled([b for part in parts for b in part], FILLED))
        sizes = [sum(batch[1].shape[0] for batch in part) for part in parts]
        pairs = zip(
            torch.split(found.labels, sizes), torch.split(found.predicted, sizes), strict=True
        )
        return [Predictions(labels, predicted, self.num_classes) for labels, predicted in pairs]

    def _classify(self, session: int, head: ClassHead | None = None) -> Predict:
        """Return the classifier for this session; if the task is known, among its classes only.

        Args:
            head: the model's own by default.
        """
        scored_by = self.model.head if head is None else head

        @torch.no_grad()
        def predict(features: Tensor) -> Tensor:
            logits: Tensor = scored_by(features)
            if self.settings.task_known:
                own = list(self.session_classes[session])
                logits = torch.full_like(logits, -math.inf).index_copy(
                    1, torch.tensor(own, device=logits.device), logits[:, own]
                )
            return logits.argmax(dim=1)

        return predict

    def _fitted(self, session: int, measure: str) -> Predict:
        from cl_suite.engine import probes

        settings = self.settings
        last = len(self.session_classes) if settings.sessions == "all" else session + 1
        seen = [batch for part in self.features.batches(range(last)) for batch in part]
        features = torch.cat([batch[0] for batch in seen])
        labels = torch.cat([batch[1] for batch in seen])
        known = labels != UNLABELLED
        if measure == "linear":
            return probes.fit_linear(features[known], labels[known])
        return probes.fit_knn(
            features[known],
            labels[known],
            neighbours=settings.neighbours,
            temperature=settings.temperature,
        )


def _filled(batches: Sequence[list[Tensor]], size: int) -> Iterator[list[Tensor]]:
    """Yield the same samples in fewer batches: small ones are joined until they have this size."""
    waiting: list[list[Tensor]] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += batch[1].shape[0]
        if held >= size:
            yield _joined(waiting)
            waiting, held = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[list[Tensor]]) -> list[Tensor]:
    if len(batches) == 1:
        return batches[0]
    return [torch.cat([batch[place] for batch in batches]) for place in (0, 1)]


def measures(plugin: Any, settings: EvaluationConfig) -> tuple[str, list[str]]:
    """Return the measure of a run's main figures, and the probes measured in addition."""
    if requirements_of(plugin).classifier:
        return "classifier", list(settings.probes)
    first, *others = settings.probes or ["linear"]
    return first, list(others)
