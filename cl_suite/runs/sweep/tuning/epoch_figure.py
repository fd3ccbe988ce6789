"""How good a network is in the middle of its base session: class means on all fake sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.avalanche import api
from cl_suite.data.cut import rows_by_class
from cl_suite.data.samples import Samples
from cl_suite.data.stream import Stream
from cl_suite.features.source import Batches, FeatureSource, Part
from cl_suite.methods.episodes.tuning import FakeTask, fake_figures
from cl_suite.models.classifier import Classifier

MOST_IMAGES = 20  # of a base class, for its mean


class ClassMeanFigure:
    """Measures a network by the nearest class mean, by cosine, on a whole fake stream.

    The network learns nothing from it. No random number is drawn.

    Args:
        stream: from `base_classes`; of images, or of their features.
    """

    def __init__(self, stream: Stream, model: Classifier, batch_size: int, device: Any) -> None:
        self.stream = stream
        self.sets: dict[str, list[Samples]] = {
            "train": [_first(samples) for samples in stream.train],
            "test": list(stream.test),
        }
        self.source = FeatureSource(model, self._data, batch_size=batch_size, device=device)
        base, *later = stream.info.session_classes
        self.base, self.new = list(base), [c for classes in later for c in classes]

    def __call__(self) -> tuple[float, float, float]:
        """Return average accuracy over the sessions, the last one, and the last harmonic mean.

        Each class has the same weight.
        """
        sessions = range(len(self.stream.train))
        learned, classes = _whole(self.source.batches(sessions, "train"))
        features, labels = _whole(self.source.batches(sessions, "test"))
        means = torch.stack([learned[classes == c].mean(0) for c in (*self.base, *self.new)])
        scores = features @ F.normalize(means, dim=1).T
        task = FakeTask(
            base_classes=torch.tensor(self.base, device=labels.device),
            new_classes=torch.tensor(self.new, device=labels.device),
            train=labels[:0],
            shots=labels[:0],
            test=torch.arange(len(labels), device=labels.device),
            way=self.stream.info.way or len(self.new),
        )
        average, harmonic = fake_figures(scores, labels, task)[0].tolist()
        right = (scores.argmax(dim=1) == task.columns(labels)).double()
        last = torch.stack([right[labels == c].mean() for c in torch.unique(labels)]).mean()
        return average, float(last), harmonic

    def _data(self, session: int, part: Part) -> Any:
        samples = self.sets[part][session]
        transform = self.stream.info.eval_transform
        return api.dataset(samples, transform, transform, range(len(samples)))


def _whole(sessions: Sequence[Batches]) -> tuple[Tensor, Tensor]:
    """Return the features of unit length `(n, dim)` and the class ids `(n,)` of all batches."""
    parts = [batch for batches in sessions for batch in batches]
    features = torch.cat([part[0] for part in parts]).double()
    return F.normalize(features, dim=1), torch.cat([part[1] for part in parts])


def _first(samples: Samples) -> Samples:
    """Return the first images of each class; a mean of few is near enough while training."""
    rows = [row for own in rows_by_class(samples.targets).values() for row in own[:MOST_IMAGES]]
    return samples.select(sorted(rows))
