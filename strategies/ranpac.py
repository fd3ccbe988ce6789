"""Streaming ridge regression on random features, after RanPAC.

McDonnell et al., "RanPAC: Random Projections and Pre-trained Models for Continual Learning",
NeurIPS 2023, arXiv 2307.02251. The network is trained only in the base session, or never. Its
features pass a fixed random matrix and a ReLU. Ridge regression onto the one-hot labels of
everything seen so far is solved exactly from running sums (see `cl_suite.models.heads.ridge`).

Differences from the paper:
    - Sample weights make every class count equally. With equal sample weights, as in the paper,
      few-shot sessions fail: against 500 images of a base class, 5 shots hardly affect the fit,
      and accuracy on the new classes stays near 0. `balanced=False` shows it.
    - The ridge is chosen in the base session, on fake few-shot streams cut from its training data
      (see `cl_suite.methods.episodes.tuning`), and then fixed. The paper chooses it in each task by
      the squared error on part of the task's samples; five shots are too few to hold any out.
    - 2,048 random features instead of 10,000: their matrix takes 32 MiB instead of 800. Few are
      worse than none: on miniImageNet (100 images a base class, EfficientNet-Lite0) the last
      session ends at 70.4 % with them and at 72.0 % with `num_projections=0`.
    - The training recipe replaces the paper's first-session adaptation by prompts or adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.features.stats import ClassStats
from cl_suite.methods.episodes.tuning import FakeTask, choice_note, choose_value, fake_figures
from cl_suite.methods.robust_statistics import RobustStatistics
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.ridge import RidgeHead, ridge_factor
from cl_suite.plugin import Template, Within

RIDGES = [10 ** (exponent / 2) for exponent in range(-4, 5)]
DEFAULT_RIDGE = 1.0


@dataclass(kw_only=True, eq=False)
class RanPACPlugin(RobustStatistics):
    """Balanced ridge regression on random features, solved exactly over a stream.

    Args:
        num_projections: number of random features; 0 uses the network's own features.
        ridge: ridge, in units of the mean eigenvalue of the features' second moments; null: chosen
            on fake streams, or 1 if the base session is too small for that.
        balanced: weigh every class equally, regardless of its number of samples.
        projection_seed: seed of the random matrix.
        choice_seed: seed of the fake streams.
        fake_shots: shots of each new class in a fake stream.
    """

    num_projections: Annotated[int, Within(0)] = 2048
    ridge: Annotated[float, Within(0)] | None = None
    balanced: bool = True
    projection_seed: Annotated[int, Within(0)] = 0
    choice_seed: Annotated[int, Within(0)] = 0
    fake_shots: Annotated[int, Within(1)] = 5
    ridge_: float = field(default=DEFAULT_RIDGE, init=False)  # the value in use
    choice_: dict[str, Any] = field(default_factory=dict, init=False)  # how the candidates fared

    fitted = ("ridge_",)

    def session_note(self, session: int) -> str:
        chosen = choice_note(self.choice_) if session == 0 else ""
        return "; ".join(filter(None, [chosen, super().session_note(session)]))

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        return RidgeHead(
            dim,
            num_classes,
            self.num_projections,
            self.projection_seed,
            self.balanced,
            temperature,
        )

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        assert isinstance(head, RidgeHead)
        features, labels = self.session_samples(template)
        if not self.base_classes_:
            self.set_up(head, features, labels)
        head.learn(features, labels)
        head.solve(self.ridge_)
        classes: list[int] = torch.unique(labels).tolist()
        return classes

    @property
    def has_rule(self) -> bool:
        return self.outliers == "keep"

    @property
    def pools_moments(self) -> bool:
        return True

    def averaged(self, head: ClassHead, features: Tensor) -> Tensor:
        assert isinstance(head, RidgeHead)
        return head.projected(head.transformed(features))

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        return stats.mean if self.balanced else stats.total

    def pooled_share(self, stats: ClassStats) -> Tensor:
        assert stats.scatter is not None
        return stats.scatter[0] / stats.count[0] if self.balanced else stats.scatter[0]

    def solve(self, head: ClassHead, pooled: Tensor, freedom: float) -> None:
        assert isinstance(head, RidgeHead)
        head.gram = pooled.to(head.gram)
        head.solve(self.ridge_)

    def set_up(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        assert isinstance(head, RidgeHead)
        if self.ridge is not None:
            self.ridge_ = self.ridge
            return
        choice = choose_value(
            "ridge",
            RIDGES,
            labels,
            lambda task: self.figures(head, features, labels, task),
            seed=self.choice_seed,
            shots=self.fake_shots,
        )
        if choice is not None:
            self.ridge_, self.choice_ = choice.best["ridge"], choice.state_dict()

    def figures(self, head: RidgeHead, features: Tensor, labels: Tensor, task: FakeTask) -> Tensor:
        """Return the figures `(len(RIDGES), 2)` of each ridge in a fake stream."""
        return ridge_figures(head, features, labels, task)


def ridge_figures(
    head: RidgeHead,
    features: Tensor,
    labels: Tensor,
    task: FakeTask,
    shots: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the figures `(len(RIDGES), 2)` of each ridge in a fake stream.

    Args:
        shots: features `(n, dim)` and class ids `(n,)` to learn the new classes from; None: their
            shots.
    """
    if shots is None:
        shots = features[task.shots], labels[task.shots]
    seen = torch.cat([features[task.train], shots[0]])
    h, h_test = head.projected(seen), head.projected(features[task.test])
    columns = task.columns(torch.cat([labels[task.train], shots[1]]))
    targets = F.one_hot(columns, len(task.classes)).to(h)
    weights = 1 / targets.sum(0)[columns] if head.balanced else torch.ones_like(h[:, 0])
    weighted = weights[:, None] * h
    gram, sums = h.T @ weighted, weighted.T @ targets
    solved = [torch.cholesky_solve(sums, ridge_factor(gram, ridge)) for ridge in RIDGES]
    return torch.cat([fake_figures(h_test @ rows, labels, task) for rows in solved])
