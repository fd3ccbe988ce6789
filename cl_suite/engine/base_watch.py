"""Judges a base session's training: whether it made a network that had learned before worse.

Before and after training, class means judge the features of the base session's training images,
each image by means that leave it out. It learns nothing from this, and no result depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_suite.data.samples import UNLABELLED
from cl_suite.metrics.class_means import left_out_hits, mean_cosine
from cl_suite.metrics.paired_test import chance_of_at_least, chance_of_losing

LEVEL = 0.01  # a lost accuracy that chance explains more rarely than this is told
LEVEL_WITH_A_SIGN = 0.05  # the same, if features or training loss tell something too
EQUAL = 0.1  # 1 minus the mean cosine, below which the features of all images are nearly equal
SHRUNK = 0.2  # share of it that may be left of what there was before
# images that are judged: a tenth of those that training passes, within these bounds; with three
# passes a training step, both measurements cost a fifteenth of it, or less
LEAST, MOST = 200, 1000
OF_A_CLASS = 5  # images of a class, at least; with too many classes, only some are judged
LAST_EPOCHS = 3
TOLERANCE = 0.02  # share of ln C by which the loss of equal features may differ from it

Verdict = Literal["fine", "worse", "collapsed", "diverged"]


@dataclass(frozen=True)
class BaseTraining:
    """What a base session's training did to the network's features.

    Attributes:
        verdict: worse: it lost more than chance explains; collapsed: the features are also nearly
            equal for all images, or the loss is that of equal features; diverged: not finite.
        before, after: leave-one-out accuracy of class means; None if it was not measured.
        images, classes: training images that were judged, and their classes.
        lost, gained: images that are right only before, and only after.
        chance: that as many are lost if training changes nothing on average.
        cosine_before, cosine_after: mean cosine of two images' features.
        loss: mean training loss of the last epoch.
        seconds: duration of both measurements.
    """

    verdict: Verdict
    before: float | None = None
    after: float | None = None
    images: int = 0
    classes: int = 0
    lost: int = 0
    gained: int = 0
    chance: float = 1.0
    cosine_before: float | None = None
    cosine_after: float | None = None
    loss: float | None = None
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: object) -> BaseTraining | None:
        """Return the record that `state_dict` returned, None for anything else."""
        if not isinstance(state, Mapping) or state.get("verdict") not in get_args(Verdict):
            return None
        numbers = {key: value for key, value in state.items() if key != "verdict"}
        if any(
            isinstance(v, bool) or not isinstance(v, (int, float, type(None)))
            for v in numbers.values()
        ):
            return None
        try:
            return cls(**state)
        except TypeError:  # of another version
            return None


@dataclass
class BaseWatch:
    """Judges the base session of one run.

    Args:
        num_classes: classes of the base session.

    Attributes:
        hits: whether each judged image was right before training; None if it was not measured.
        first, losses: mean losses of the first epoch, and of the last ones.
        record: the outcome; None before the session's end, and if there is nothing to compare.
    """

    num_classes: int
    hits: Tensor | None = None
    cosine: float | None = None
    first: float | None = None
    losses: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    record: BaseTraining | None = None

    def begins(self, features: Tensor, labels: Tensor) -> None:
        """Note the features `(n, dim)` of the judged images before training."""
        self.hits = _hits(features, labels)
        self.cosine = mean_cosine(_array(features.nan_to_num(0.0, 0.0, 0.0)))

    def epoch(self, loss: float | None) -> None:
        """Note an epoch's mean loss."""
        if not self.losses:
            self.first = loss
        self.losses = [*self.losses, loss][-LAST_EPOCHS:]

    @property
    def has_diverged(self) -> bool:
        """Whether the last epoch's loss is not finite."""
        return bool(self.losses) and not _is_finite(self.losses[-1])

    @property
    def has_flat_loss(self) -> bool:
        """Whether the last epochs' cross-entropy is that of equal features, `ln C`."""
        level = math.log(self.num_classes)
        return (
            len(self.losses) == LAST_EPOCHS
            and level > 0
            and all(
                loss is not None and abs(loss - level) <= TOLERANCE * level for loss in self.losses
            )
        )

    @property
    def has_risen_loss(self) -> bool:
        """Whether the last epochs' losses are all above that of an earlier, first one."""
        first = self.first
        return (
            first is not None
            and len(self.losses) == LAST_EPOCHS
            and all(loss is not None and loss > first for loss in self.losses)
        )

    def ends(self, measure: Callable[[], tuple[Tensor, Tensor]]) -> None:
        """Judge the training, if there is a measurement before it or the loss tells something.

        Args:
            measure: returns features and class ids of the judged images after training.
        """
        before = None if self.hits is None else _mean(self.hits)
        if self.has_diverged:
            self.record = BaseTraining("diverged", before)
        elif self.hits is not None or self.has_flat_loss:
            features, labels = measure()
            is_finite = bool(features.isfinite().all())
            diverged = BaseTraining("diverged", before, images=len(labels))
            self.record = self._judged(features, labels) if is_finite else diverged

    def _judged(self, features: Tensor, labels: Tensor) -> BaseTraining:
        hits = _hits(features, labels)
        before = hits if self.hits is None else self.hits
        lost, gained = int((before & ~hits).sum()), int((hits & ~before).sum())
        found = BaseTraining(
            "fine",
            before=None if self.hits is None else _mean(before),
            after=_mean(hits),
            images=len(labels),
            classes=len(torch.unique(labels)),
            lost=lost,
            gained=gained,
            chance=chance_of_losing(lost, gained),
            cosine_before=self.cosine,
            cosine_after=mean_cosine(_array(features)),
            loss=self.losses[-1] if self.losses else None,
        )
        return replace(found, verdict=self._verdict(found, hits, labels))

    def _verdict(self, found: BaseTraining, hits: Tensor, labels: Tensor) -> Verdict:
        is_flat = _became_equal(found) or self.has_flat_loss
        level = LEVEL_WITH_A_SIGN if is_flat or self.has_risen_loss else LEVEL
        if found.chance <= level:
            return "collapsed" if is_flat else "worse"
        largest = float(torch.unique(labels, return_counts=True)[1].max()) / len(labels)
        guesses = chance_of_at_least(int(hits.sum()), len(hits), largest) > LEVEL
        return "collapsed" if is_flat and guesses else "fine"

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a stop, as tensors and plain values."""
        record = None if self.record is None else self.record.state_dict()
        return {
            "hits": self.hits,
            "cosine": self.cosine,
            "first": self.first,
            "losses": list(self.losses),
            "seconds": self.seconds,
            "record": record,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        hits = state["hits"]
        # a checkpoint's tensors come on the network's device
        self.hits = None if hits is None else hits.cpu()
        self.cosine = state["cosine"]
        self.first, self.losses = state["first"], list(state["losses"])
        self.seconds = state["seconds"]
        self.record = BaseTraining.from_state_dict(state["record"])


def judged_rows(targets: Sequence[int], epochs: int) -> list[int]:
    """Return the samples to judge: as many of each class as there are, or as the cost allows.

    They are drawn at random, alike in every run. Empty if no two classes have two samples each.

    Args:
        targets: class id of each training sample.
        epochs: epochs of the training.
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(targets), generator=generator).tolist()
    rows: dict[int, list[int]] = {}
    for row in order:
        if targets[row] != UNLABELLED:
            rows.setdefault(targets[row], []).append(row)
    classes = [found for found in rows.values() if len(found) > 1]
    if len(classes) < 2:
        return []
    most = min(MOST, max(LEAST, epochs * len(targets) // 10))
    classes = classes[: max(2, most // OF_A_CLASS)]
    # the first of each class before the second of any
    ranked = [(rank, row) for found in classes for rank, row in enumerate(found)]
    return sorted(row for _, row in sorted(ranked)[:most])


def _became_equal(found: BaseTraining) -> bool:
    """Return whether features have become nearly equal; some networks' always are."""
    assert found.cosine_after is not None
    spread = 1 - found.cosine_after
    before = 1.0 if found.cosine_before is None else 1 - found.cosine_before
    return spread < EQUAL and spread < SHRUNK * before


def _hits(features: Tensor, labels: Tensor) -> Tensor:
    return torch.from_numpy(left_out_hits(_array(features), labels.cpu().numpy()))


def _mean(hits: Tensor) -> float:
    return float(hits.double().mean())


def _is_finite(loss: float | None) -> bool:
    return loss is None or math.isfinite(loss)


def _array(features: Tensor) -> NDArray[np.float64]:
    # numpy has no bfloat16
    return features.detach().double().cpu().numpy()
