"""TEEN in a whitened space, with parameters chosen on fake streams; a method of this suite.

TEEN (see `teen`) scores raw features by cosine, as if every direction of feature space were equally
informative. Directions in which images of one class differ widely carry little information about
the class. This method therefore first whitens the space by the within-class covariance of the base
classes. For a feature `x`:

    z = unit(sign(x) |x|^p)                              p       = power
    y = (z - m) W,  W W^T = ((1 - l) S_w + l (tr S_w / dim) I)^-1      l = shrinkage

`m` is the mean and `S_w` the pooled within-class covariance of the base session. Prototypes are
class means of `y`. Those of few-shot sessions are calibrated as in TEEN (tau = softmax_t, shift =
shift_weight). The score of a class is

    cos(y, w_k) + margin  if it came after the base session,  cos(y, w_k)  if in it

Prototypes of few images lie farther from their class's images than prototypes of many; the margin
compensates for this. It acts like a larger shift, without pulling new classes together.

The power evens out the long tail of non-negative features. It acts on magnitudes, so signed
features keep their sign; the candidates include 1, which changes nothing. The strategy chooses each
parameter that is not given on fake streams cut from the base session's training data (see
`cl_suite.methods.episodes.tuning`); `choice_` keeps the result of every candidate.

On miniImageNet (100 images a base class, frozen EfficientNet-Lite0, three seeds of the choice) it
reached 76.8 +- 0.5 / 74.1 +- 0.6 / 73.0 +- 0.3 % (average, last, harmonic mean), against 72.5 /
69.7 / 68.1 for TEEN; without the margin 76.5 / 73.6 / 71.5. Ridge regression, several centroids a
base class, a between-class prior and mixtures of these scored no better on the fake streams.

A later session costs one pass over its images and a product with the base prototypes, regardless
of the number of classes seen. The whitening matrix, `dim^2` numbers, is saved with the head.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.avalanche.loader import batches
from cl_suite.features.calibrators import calibrate_directions
from cl_suite.features.stats import ClassStats, class_stats, extract
from cl_suite.methods.class_margin import ClassMargin
from cl_suite.methods.episodes.tuning import FakeTask, choice_note, choose, fake_figures, fake_tasks
from cl_suite.methods.returning_classes import ReturningClasses
from cl_suite.methods.robust_statistics import RobustStatistics
from cl_suite.methods.whitening import base_spread, fit_whitening
from cl_suite.models.features import feature_function
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.feature_transform import (
    FeatureTransform,
    shrunk,
    unit_power,
)
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.models.modes import evaluating
from cl_suite.plugin import Template, Within

# candidates for parameters not given, and the values used if the base session is too small
GRID: dict[str, tuple[float, ...]] = {
    "power": (1.0, 0.7, 0.5),
    "shrinkage": (0.1, 0.3, 0.5),
    "softmax_t": (8.0, 16.0),
    "shift_weight": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "margin": (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08),
}
DEFAULTS = {"power": 0.5, "shrinkage": 0.3, "softmax_t": 8.0, "shift_weight": 0.4, "margin": 0.0}
Grid = dict[str, Sequence[float]]


@dataclass(kw_only=True, eq=False)
class TEENWhitenedPlugin(ReturningClasses, RobustStatistics, ClassMargin):
    """Calibrated prototypes in a feature space whitened by the base session.

    Args:
        power: exponent of the features' magnitudes, usually in (0, 1]; null: chosen.
        shrinkage: share of the mean variance in every direction, in [0, 1]; null: chosen.
        softmax_t: sharpness of the weights over base classes; null: chosen.
        shift_weight: share of the base part in a calibrated prototype, in [0, 1]; null: chosen.
        margin: added to the cosine of every class after the base session; null: chosen.
        views: further passes over a few-shot session's images by the training transform, whose
            features join the class mean. They add nothing if that transform is not random, as with
            a feature bank without `--model.bank_views`.
        num_tasks: number of fake streams.
        choice_seed: seed of the fake streams.
        fake_shots: shots of each new class in a fake stream.
    """

    power: Annotated[float, Within(0.01, 10)] | None = None
    shrinkage: Annotated[float, Within(0, 1)] | None = None
    softmax_t: Annotated[float, Within(0)] | None = None
    shift_weight: Annotated[float, Within(0, 1)] | None = None
    margin: Annotated[float, Within(-2, 2)] | None = None
    views: Annotated[int, Within(0)] = 0
    num_tasks: Annotated[int, Within(1)] = 5
    choice_seed: Annotated[int, Within(0)] = 0
    fake_shots: Annotated[int, Within(1)] = 5
    parameters_: dict[str, float] = field(default_factory=dict, init=False)  # the values in use
    choice_: dict[str, Any] = field(default_factory=dict, init=False)  # how the candidates fared

    fitted = ("parameters_",)

    def session_note(self, session: int) -> str:
        chosen = choice_note(self.choice_) if session == 0 else ""
        return "; ".join(filter(None, [chosen, super().session_note(session)]))

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        return OffsetCosineHead(dim, num_classes, temperature, FeatureTransform())

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        assert isinstance(head, OffsetCosineHead)
        features, labels = self.session_samples(template)
        if not self.base_classes_:
            self.set_up(head, features, labels)
        elif self.views:
            features, labels = self._with_views(template, features, labels)
        stats = self.with_earlier(class_stats(self.averaged(head, features), labels))
        later = self.write_rows(stats, head)
        if self.base_classes_:
            head.set_offset(later, self.offset)
            self.set_margins(head, later)
            return stats.classes
        self.learn_margins(head, features, labels)
        if len(stats.classes) == 1:
            warnings.warn(
                "the base session has one class: every new class is pulled towards it", stacklevel=2
            )
        return stats.classes

    @property
    def has_rule(self) -> bool:
        return self.outliers == "keep" and not self.class_margin

    @property
    def needs_base(self) -> bool:
        return True

    @property
    def offset(self) -> float:
        return self.parameters_["margin"]

    def set_up(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        self._choose(features, labels)
        self._whiten(head, features, labels)

    def fit_frame(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        self._whiten(head, features, labels)

    def averaged(self, head: ClassHead, features: Tensor) -> Tensor:
        return head.transformed(features)

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        if not self.base_classes_:
            return stats.mean
        return calibrate_directions(
            stats.mean,
            head.rows(self.base_classes_).double(),
            softmax_t=self.parameters_["softmax_t"],
            shift_weight=self.parameters_["shift_weight"],
            normalize_delta=True,
        )

    def _choose(self, features: Tensor, labels: Tensor) -> None:
        given = {name: getattr(self, name) for name in DEFAULTS}
        self.parameters_ = {n: DEFAULTS[n] if v is None else v for n, v in given.items()}
        if None not in given.values():
            return
        tasks = fake_tasks(
            labels,
            generator=torch.Generator().manual_seed(self.choice_seed),
            num_tasks=self.num_tasks,
            shots=self.fake_shots,
        )
        if not tasks:
            return
        grid: Grid = {n: GRID[n] if v is None else (v,) for n, v in given.items()}
        candidates = [dict(zip(grid, v, strict=True)) for v in itertools.product(*grid.values())]
        choice = choose(
            candidates, tasks, lambda task: whitened_figures(grid, features, labels, task)
        )
        self.parameters_, self.choice_ = choice.best, choice.state_dict()

    def _whiten(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        assert head.transform is not None
        power, shrinkage = self.parameters_["power"], self.parameters_["shrinkage"]
        fit_whitening(head.transform, base_spread(features, labels, power), power, shrinkage)

    def _with_views(
        self, template: Template, features: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the features and labels, extended by those of randomly drawn views."""
        data = template.experience.dataset.train()
        parts = [(features, labels)]
        with evaluating(template.model), torch.no_grad():
            for _ in range(self.views):
                loader = batches(data, template.eval_mb_size)
                network = feature_function(template.model)
                parts.append(extract(network, loader, device=template.device))
        return torch.cat([f for f, _ in parts]), torch.cat([y for _, y in parts])


def whitened_figures(grid: Grid, features: Tensor, labels: Tensor, task: FakeTask) -> Tensor:
    """Return the figures `(num_candidates, 2)` of all candidates of a grid in a fake stream.

    Single precision suffices: candidates that differ only in the last digits are equally good.
    """
    columns = task.columns(labels)
    num_base = len(task.base_classes)
    figures = []
    for power in grid["power"]:
        train, shots, test = (
            unit_power(features[rows].float(), power)
            for rows in (task.train, task.shots, task.test)
        )
        centre = train.mean(0)
        base_means = class_stats(train, columns[task.train]).mean.float()
        deviations = train - base_means[columns[task.train]]
        covariance = deviations.T @ deviations / max(1, len(train) - num_base)
        new_means = class_stats(shots, columns[task.shots]).mean.float()
        rows = torch.cat([base_means, new_means, test]) - centre
        for shrinkage in grid["shrinkage"]:
            factor = torch.linalg.cholesky(shrunk(covariance, shrinkage))
            white = torch.linalg.solve_triangular(factor, rows.T, upper=False).T
            base, new, queries = white.split([num_base, len(new_means), len(test)])
            queries = F.normalize(queries)
            base_scores = queries @ F.normalize(base).T
            for softmax_t, shift in itertools.product(grid["softmax_t"], grid["shift_weight"]):
                prototypes = calibrate_directions(
                    new, base, softmax_t=softmax_t, shift_weight=shift, normalize_delta=True
                )
                new_scores = queries @ F.normalize(prototypes).T
                scores = torch.cat([base_scores, new_scores], dim=1)
                figures.append(fake_figures(scores, labels, task, grid["margin"]))
    return torch.cat(figures)
