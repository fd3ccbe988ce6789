"""Linear discriminant analysis on features, with calibrated statistics for few-shot classes.

Each class is a Gaussian; all classes have equal priors. The covariance is either shared by all
classes or estimated for each class, diagonal or full, as in FeCAM (Goswami et al., NeurIPS 2023,
arXiv 2309.14062). With a shared one a query goes to the class with the smallest Mahalanobis
distance. Distribution calibration (see `cl_suite.features.calibrators`) pulls the means of few-shot
classes towards the base classes that they resemble. It also mixes per-class covariances with those
of such base classes.

With `shot_midpoint` the score is mixed with the cosine to the class mean, as in HyCal (Lee et al.,
CVPR 2026, arXiv 2604.15678): a class of `K` shots counts

    w = sigmoid((K - shot_midpoint) / shot_width)    of the Gaussian score, 1 - w of the cosine,

because a covariance says little of a class known by five images. Class-dependent weights need
scores of one scale, so both kinds are standardised over the classes, which is our choice.

Differences from the literature:
    - The shared covariance is pooled within the classes of all sessions, as a running sum.
    - Its shrinkage `(1 - g) S + g (tr S / dim) I` and the shift of the means are chosen on fake
      few-shot streams cut from the base session (see `cl_suite.methods.episodes.tuning`).
    - FeCAM's correlation normalisation and power transform are left out (see `teen_whitened`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.data.stream import Kind
from cl_suite.features.calibrators import Calibrator
from cl_suite.features.stats import ClassStats, class_stats
from cl_suite.methods.episodes.tuning import (
    Candidate,
    FakeTask,
    choice_note,
    choose,
    fake_figures,
    fake_tasks,
)
from cl_suite.methods.returning_classes import ReturningClasses
from cl_suite.methods.robust_statistics import RobustStatistics
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.feature_transform import shrunk
from cl_suite.models.heads.gaussian import GaussianHead, Shape
from cl_suite.models.heads.shot_mixed import ShotMixedHead, mixed_scores, shot_shares
from cl_suite.plugin import Above, Requirements, Template, Within

SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHIFTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
DEFAULTS = {"shrinkage": 0.5, "shift_weight": 0.5}


@dataclass(kw_only=True, eq=False)
class LDAPlugin(ReturningClasses, RobustStatistics):
    """One Gaussian per class in feature space; few-shot classes are calibrated.

    Args:
        covariance: shared (one for all classes), or one per class: diagonal or full.
        shrinkage: share of the mean variance in every direction, in [0, 1]; null: chosen on fake
            streams, or 0.5 if the base session is too small for that or each class has its own
            covariance.
        softmax_t: sharpness of the weights over base classes.
        shift_weight: share of the base part in the mean of a few-shot class, in [0, 1]; null: as
            for `shrinkage`.
        shot_midpoint: number of shots at which Gaussian score and cosine count alike; null: the
            Gaussian score alone.
        shot_width: number of shots over which that changes; unused without `shot_midpoint`.
        prior_count: number of samples that a borrowed covariance counts as; unused if shared.
        choice_seed: seed of the fake streams.
        fake_shots: shots of each new class in a fake stream.
    """

    covariance: Shape = "shared"
    shrinkage: Annotated[float, Within(0, 1)] | None = None
    softmax_t: Annotated[float, Within(0)] = 16.0
    shift_weight: Annotated[float, Within(0, 1)] | None = None
    shot_midpoint: Annotated[float, Within(0)] | None = None
    shot_width: Annotated[float, Above(0)] = 5.0
    prior_count: Annotated[float, Within(0)] = 5.0
    choice_seed: Annotated[int, Within(0)] = 0
    fake_shots: Annotated[int, Within(1)] = 5
    # the values in use of shrinkage and shift_weight
    parameters_: dict[str, float] = field(default_factory=dict, init=False)
    choice_: dict[str, Any] = field(default_factory=dict, init=False)  # how the candidates fared
    base_stats_: ClassStats | None = field(default=None, init=False)

    fitted = ("parameters_",)

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # follows from a parameter
        """What it needs; with a covariance of its own a class must come at once."""
        kinds: tuple[Kind, ...] = ("class", "mixed") if self.covariance == "shared" else ("class",)
        return replace(ReturningClasses.requirements, kinds=kinds)

    def session_note(self, session: int) -> str:
        chosen = choice_note(self.choice_) if session == 0 else ""
        return "; ".join(filter(None, [chosen, super().session_note(session)]))

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        if self.shot_midpoint is None:
            return GaussianHead(dim, num_classes, self.covariance, temperature)
        return ShotMixedHead(
            dim,
            num_classes,
            self.covariance,
            temperature,
            midpoint=self.shot_midpoint,
            width=self.shot_width,
        )

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        assert isinstance(head, GaussianHead)
        features, labels = self.session_samples(template)
        if self.base_stats_ is None:
            self.set_up(head, features, labels)
        stats = class_stats(self.averaged(head, features), labels, kind=self.covariance)
        if self.covariance == "shared":
            return self._learn_shared(head, stats)
        if self.base_stats_ is None:
            self.base_stats_ = stats
        else:
            stats = self._calibrated(stats, self.base_stats_)
        head.set_rows(stats.classes, stats.mean)
        self._set_shots(head, stats)
        head.set_covariances(stats.classes, stats.covariance, self.parameters_["shrinkage"])
        return stats.classes

    @property
    def has_rule(self) -> bool:
        # the others need each class's own second moments, its shots, or its samples
        plain = self.shot_midpoint is None and self.outliers == "keep"
        return self.covariance == "shared" and plain

    @property
    def pools_moments(self) -> bool:
        return True

    def set_up(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        self._choose(features, labels)

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        base = self.base_stats_
        return stats.mean if base is None else self._calibrated(stats, base).mean

    def set_base(self, stats: ClassStats) -> None:
        super().set_base(stats)
        self.base_stats_ = stats if stats.classes else None

    def pooled_share(self, stats: ClassStats) -> Tensor:
        return stats.covariance[0] * (stats.count[0] - 1).clamp(min=1)

    def solve(self, head: ClassHead, pooled: Tensor, freedom: float) -> None:
        assert isinstance(head, GaussianHead)
        head.set_shared(pooled / max(freedom, 1.0), self.parameters_["shrinkage"])

    def _calibrated(self, stats: ClassStats, base: ClassStats) -> ClassStats:
        shift = self.parameters_["shift_weight"]
        return Calibrator(self.softmax_t, shift, self.prior_count).calibrate(stats, base)

    def _learn_shared(self, head: GaussianHead, own: ClassStats) -> list[int]:
        """Learn from a session's statistics with one scatter; return the session's classes."""
        stats = self.with_earlier(own)
        assert self.seen_ is not None
        if self.base_stats_ is not None and set(self.base_classes_) & set(stats.classes):
            self.base_stats_ = self.seen_.first_moments.select(self.base_classes_)
        self.write_rows(stats, head)
        if self.base_stats_ is None:
            self.base_stats_ = stats
        self._set_shots(head, stats)
        freedom = float(self.seen_.count.sum()) - len(self.seen_.classes)
        assert self.seen_.scatter is not None
        self.solve(head, self.seen_.scatter, freedom)
        return stats.classes

    def _set_shots(self, head: GaussianHead, stats: ClassStats) -> None:
        if isinstance(head, ShotMixedHead):
            head.set_shots(stats.classes, stats.count)

    def _choose(self, features: Tensor, labels: Tensor) -> None:
        given = {name: getattr(self, name) for name in DEFAULTS}
        self.parameters_ = {n: DEFAULTS[n] if v is None else v for n, v in given.items()}
        if self.covariance != "shared" or None not in given.values():
            return
        generator = torch.Generator().manual_seed(self.choice_seed)
        tasks = fake_tasks(labels, generator=generator, num_tasks=3, shots=self.fake_shots)
        if not tasks:
            return
        candidates = [
            {"shrinkage": shrinkage, "shift_weight": shift}
            for shrinkage in _values(self.shrinkage, SHRINKAGES)
            for shift in _values(self.shift_weight, SHIFTS)
        ]
        choice = choose(
            candidates,
            tasks,
            lambda task: lda_figures(
                candidates, self.softmax_t, features, labels, task, self._shares
            ),
        )
        self.parameters_, self.choice_ = choice.best, choice.state_dict()

    def _shares(self, shots: Tensor) -> Tensor | None:
        """Return the shares of the Gaussian score for these shots; None for it alone."""
        if self.shot_midpoint is None:
            return None
        return shot_shares(shots, self.shot_midpoint, self.shot_width)


def _values(given: float | None, grid: tuple[float, ...]) -> tuple[float, ...]:
    return grid if given is None else (given,)


def lda_figures(
    candidates: Sequence[Candidate],
    softmax_t: float,
    features: Tensor,
    labels: Tensor,
    task: FakeTask,
    shares_of: Callable[[Tensor], Tensor | None] = lambda shots: None,
) -> Tensor:
    """Return the figures `(num_candidates, 2)` of the candidates in a fake stream.

    Args:
        shares_of: maps the classes' shots to the shares of the Gaussian score (see `shot_shares`).
    """
    columns = task.columns(labels)
    base = class_stats(features[task.train], columns[task.train], kind="shared")
    new = class_stats(features[task.shots], columns[task.shots])
    shares = shares_of(torch.cat([base.count, new.count]).to(features))
    centre = base.mean.mean(0)
    # calibrated means are mixtures of these: so one solution serves all shifts
    pulled = Calibrator(softmax_t, 1.0).calibrate(new, base).mean
    rows = (torch.cat([base.mean, new.mean, pulled]) - centre).to(features)
    test = features[task.test] - centre.to(features)
    figures, previous = [], None
    for candidate in candidates:
        if candidate["shrinkage"] != previous:
            previous = candidate["shrinkage"]
            factor = torch.linalg.cholesky(shrunk(base.covariance, previous).to(features))
            solved = torch.cholesky_solve(rows.T, factor)  # (dim, num_rows)
            products, norms = test @ solved, rows @ solved
        mix = _mixture(len(base.mean), len(new.mean), candidate["shift_weight"]).to(features)
        scores = products @ mix.T - ((mix @ norms) * mix).sum(1) / 2
        if shares is not None:
            means = mix @ rows + centre.to(features)
            cosines = F.normalize(features[task.test]) @ F.normalize(means).T
            scores = mixed_scores(scores, cosines, shares)
        figures.append(fake_figures(scores, labels, task))
    return torch.cat(figures)


def _mixture(num_base: int, num_new: int, shift: float) -> Tensor:
    """Return the weights of base, new and pulled means in the means of all classes."""
    base, new = torch.eye(num_base, num_base + 2 * num_new), torch.eye(num_new)
    shifted = torch.cat([new.new_zeros(num_new, num_base), (1 - shift) * new, shift * new], dim=1)
    return torch.cat([base, shifted])
