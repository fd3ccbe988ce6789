"""Probabilities and the unknown, from leave-one-out scores of the training pictures.

Each picture is scored as if its class had been learned without it (see `leave_one_out`). Weights
make all classes count equally, whatever their number of pictures.

    temperature  the factor on scores with the smallest mean negative log-likelihood; one picture
                 more, whose class is drawn by chance, keeps it finite if every picture is right
                 (as in Platt's scaling, 1999)
    familiarity  `s_1 + (s_1 - s_2) / 2` of the largest scores `s_1`, `s_2`: how well a picture
                 fits its best class, and how much better than the next
    unknown      a query whose familiarity lies below the `rate` quantile of those of the pictures

If a picture's leave-one-out familiarity were distributed as a new picture's familiarity, the share
of known pictures called unknown would be at most the rate (conformal prediction, Vovk et al.,
2005). The condition holds only roughly, so the rate is not guaranteed. A class that lost one of
five pictures fits worse than a whole one, which lowers the share. A network trained on the pictures
themselves makes them look more familiar than new ones are, which raises it. The share is 2 to 7 %
for a rate of 5 % (`benchmarks/learner_calibration.py`).

The familiarity was chosen without test pictures. Half of the known classes were held out of the
training features and had to be told from leave-one-out scores of the others. Area under the curve,
mean over Omniglot, miniImageNet (EfficientNet-Lite0) and GTSRB (EfficientNet-Lite0, DeiT-tiny):

                               class means   LDA
    largest score                    0.720  0.688
    log-sum-exp at the temperature   0.707  0.676
    lead over the second score       0.662  0.646
    largest probability              0.682  0.679
    largest less mean score          0.700  0.708
    largest plus half the lead       0.734  0.704

Before that, its author had seen the first and the fourth compared on test pictures, of one seed on
two grounds; that decided nothing here. For class means and TEEN the last is best. For LDA the
largest score less the mean of all is as good, but it says nothing with one class and depends on
which other classes are known.

One threshold serves base classes and classes of a few shots, so the rate is meant for all classes
together: fewer of the former's pictures are called unknown, and more of the latter's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cl_suite.learner.leave_one_out import LeftOut, left_out
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.scale import DEFAULT_SCALE, fitted_scale

LEAST_SCORED = 4
FALSE_ALARMS = 0.05  # share of pictures of known classes that may be called unknown
LEAD = 0.5  # weight of the best score's lead over the second


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities, and which are too low for a known class.

    Attributes:
        scale: factor on scores before the softmax.
        threshold: familiarity below which a picture is unknown; None if too few examples tell.
        num_scored: examples that both were fitted to.
    """

    scale: float
    threshold: float | None
    num_scored: int


def calibrated(rule: Rule, table: Table, state: State, rate: float) -> Calibration:
    """Return the calibration of a state, to whose classes `table` is up to date.

    Args:
        rate: share of pictures of known classes that may be called unknown, in [0, 1).
    """
    left = left_out(rule, table, state)
    default = 1.0 if isinstance(rule.head, GaussianHead) else DEFAULT_SCALE
    if left is None or len(left.columns) < LEAST_SCORED:
        return Calibration(default, None, 0 if left is None else len(left.columns))
    weights = equal_classes(left.columns)
    return Calibration(
        fitted_scale(left.scores, left.columns, weights, default),
        threshold(left_out_familiarity(rule, left), rate, weights),
        len(left.columns),
    )


def familiarity(rule: Rule, queries: Tensor, scores: Tensor) -> Tensor:
    """Return how well a picture fits its best class `(n,)`.

    Args:
        queries: `(n, width)`.
        scores: `(n, num_classes)`, before any temperature.
    """
    return _familiarity(rule, scores, queries.square().sum(1) / 2)


def left_out_familiarity(rule: Rule, left: LeftOut) -> Tensor:
    """Return the familiarity `(n,)` of examples, each left out of its class."""
    return _familiarity(rule, left.scores, left.half_squares)


def _familiarity(rule: Rule, scores: Tensor, half_squares: Tensor) -> Tensor:
    # the last of two, or the only one: a single class has no lead
    best = scores.topk(min(2, scores.shape[1]), dim=1).values
    found = best[:, 0] + LEAD * (best[:, 0] - best[:, -1])
    # the scores of Gaussians lack the query's own length, which `-d^2 / 2` contains
    return found - half_squares if isinstance(rule.head, GaussianHead) else found


def equal_classes(columns: Tensor) -> Tensor:
    """Return weights `(n,)` of mean 1 by which all classes of `columns` count equally.

    Example:
        >>> equal_classes(torch.tensor([3, 3, 3, 7])).tolist()
        [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    _, row, counts = torch.unique(columns, return_inverse=True, return_counts=True)
    weights: Tensor = len(columns) / len(counts) / counts.double()[row]
    return weights


def threshold(familiarities: Tensor, rate: float, weights: Tensor | None = None) -> float | None:
    """Return the value below which at most a share `rate` of new ones falls; None if unknowable.

    Args:
        familiarities: `(n,)`.
        weights: `(n,)` of mean 1; all equal by default.

    Example:
        >>> threshold(torch.arange(99.0), 0.05)
        4.0
        >>> threshold(torch.arange(10.0), 0.05) is None
        True
    """
    weights = torch.ones(len(familiarities)) if weights is None else weights
    values, order = familiarities.sort()
    below = weights.double()[order].cumsum(0) - weights.double()[order]
    # a new value counts too: it may lie below all
    shares = (below + 1) / (len(values) + 1)
    rank = int((shares <= rate + 1e-9).sum())
    return float(values[rank - 1]) if rank else None
