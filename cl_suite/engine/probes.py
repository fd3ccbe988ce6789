"""Probes: simple classifiers fitted on frozen features to measure a representation's quality.

Their labels serve only the measurement: probes measure a learner without labels after each
session (Fini et al., "Self-Supervised Models are Continual Learners", CVPR 2022, section 5).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_suite.errors import UserError, option

Weights = Literal["cosine", "distance"]
Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]
# on held-out training drawings of Omniglot, 1e-3 to 1e-1 give similar figures, 1 much lower ones
STRENGTH = 1e-2
MOST_STEPS = 500  # of L-BFGS; a few dozen are typical
DECIMALS = 9  # sums that differ only by rounding are equal: the lowest class id wins


@dataclass(frozen=True)
class Probe:
    """A fitted classifier of features.

    Attributes:
        classes: class ids, ascending.
        scores: maps features `(batch, dim)` to one score per class, `(batch, num_classes)`, each
            sample independently.
    """

    classes: Ids
    scores: Callable[[Floats], Floats] = field(repr=False)

    def __call__(self, features: Tensor) -> Tensor:
        """Return class ids `(batch,)` for features `(batch, dim)`, on their device."""
        if len(features):
            best = np.round(self.scores(_as_array(features)), DECIMALS).argmax(axis=1)
            found = torch.from_numpy(self.classes[best])
        else:
            found = torch.zeros(0, dtype=torch.int64)
        return found.to(features.device)


def fit_knn(
    features: Tensor,
    labels: Tensor,
    *,
    neighbours: int = 20,
    temperature: float = 0.07,
    weights: Weights = "cosine",
) -> Probe:
    """Return a probe that lets the nearest training samples vote.

    Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR
    2018, section 3.4. A neighbour's vote weighs `exp(cosine / temperature)`, or
    `1 / (distance + 1e-5)` by Euclidean distance. A feature of zeros has a separate direction:
    its cosine with any other is 0.

    Args:
        features: `(num_samples, dim)`.
        labels: class ids `(num_samples,)`, any integers.
        neighbours: number of voting samples; all samples if there are fewer.
        temperature: temperature of the cosine weights.

    Raises:
        ValueError: for a value out of range.
        UserError: if there is no sample, or a feature is not finite.
    """
    from sklearn.neighbors import NearestNeighbors

    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
    if weights not in ("cosine", "distance"):
        raise ValueError(f"weights must be 'cosine' or 'distance', got '{weights}'")
    rows, classes, indices = _in_order(features, labels)
    rows = _directions(rows) if weights == "cosine" else rows
    voters = min(neighbours, len(rows))
    # find more than vote, to break ties between equally near ones ourselves
    search = NearestNeighbors(n_neighbors=min(2 * voters, len(rows)), algorithm="brute").fit(rows)

    def scores(queries: Floats) -> Floats:
        queries = _directions(queries) if weights == "cosine" else queries
        distances, nearest = search.kneighbors(queries)  # (batch, candidates)
        order = np.lexsort((nearest, distances))[:, :voters]
        distances = np.take_along_axis(distances, order, axis=1)
        voted = indices[np.take_along_axis(nearest, order, axis=1)]  # (batch, voters)
        if weights == "cosine":
            # the squared distance of unit vectors is 2 - 2 cosine; subtracting the
            # nearest one's cosine changes no order and keeps the votes from vanishing
            excess = distances**2 - distances[:, :1] ** 2
            votes = np.exp(-excess / 2 / temperature)
        else:
            votes = 1 / (distances + 1e-5)
        total = np.zeros((len(queries), len(classes)))
        np.add.at(total, (np.arange(len(queries))[:, None], voted), votes)
        # as shares of the largest: a remote query's small votes are not rounding errors
        return np.asarray(total / total.max(axis=1, keepdims=True))

    return Probe(classes, scores)


def fit_linear(features: Tensor, labels: Tensor, *, strength: float = STRENGTH) -> Probe:
    """Return multinomial logistic regression on standardised features, fitted by L-BFGS.

    It minimises `mean cross-entropy + strength / 2 * |weights|^2`; intercepts are not penalised.
    The solution is unique, whereas the usual SGD probe depends on its schedule. The strength is a
    fixed number, not chosen on any data that is measured.

    Args:
        features: `(num_samples, dim)`.
        labels: class ids `(num_samples,)`, any integers.

    Raises:
        ValueError: for a value out of range.
        UserError: if there is no sample, or a feature is not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not 0 < strength < math.inf:
        raise ValueError(f"strength must be above 0 and finite, got {strength}")
    rows, classes, indices = _in_order(features, labels)
    if len(classes) == 1:
        return Probe(classes, lambda queries: np.zeros((len(queries), 1)))
    regression = LogisticRegression(C=1 / (strength * len(rows)), max_iter=MOST_STEPS)
    model = make_pipeline(StandardScaler(), regression)
    with warnings.catch_warnings():
        # close enough to the solution for a figure, and equally close at every repetition
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows.astype(np.float64), indices)

    def scores(queries: Floats) -> Floats:
        logits = np.asarray(model.decision_function(queries.astype(np.float64)))
        # for two classes it returns only the difference
        return np.stack([-logits, logits], axis=1) if logits.ndim == 1 else logits

    return Probe(classes, scores)


def _in_order(features: Tensor, labels: Tensor) -> tuple[Floats, Ids, Ids]:
    """Return features, class ids and each sample's place among them, sorted by label and feature.

    Otherwise sums of floats and ties would depend on the order of the samples.
    """
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features but {len(labels)} labels")
    if not len(features):
        raise UserError(
            "no training sample has a label, and a probe needs some; label some, or leave out "
            f"{option('evaluation.probes')}"
        )
    rows = _as_array(features)
    classes, indices = np.unique(labels.cpu().numpy().astype(np.int64), return_inverse=True)
    contents = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    order = np.argsort(contents, kind="stable")
    order = order[np.argsort(indices[order], kind="stable")]
    return rows[order], classes, indices[order]


def _as_array(features: Tensor) -> Floats:
    if not features.isfinite().all():
        raise UserError(
            "the features to be probed are not finite: the network has diverged; lower "
            f"{option('training.lr')}"
        )
    return np.ascontiguousarray(features.detach().float().cpu().numpy())


def _directions(features: Floats) -> Floats:
    """Return unit vectors `(num, dim + 1)`; a row of zeros points along the last axis."""
    largest = np.abs(features).max(axis=1, keepdims=True)
    scaled = features / np.where(largest > 0, largest, 1)  # the square of a tiny number is zero
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.hstack([scaled / np.where(norms > 0, norms, 1), (norms == 0).astype(norms.dtype)])
