"""KLDA: linear discriminant analysis on random Fourier features of a Gaussian kernel.

Momeni, Mazumder, Liu, "Continual Learning Using a Kernel-Based Method Over Foundation Models",
arXiv 2412.15571 (2024). The network is trained only in the base session, or never. Its features
`x` become

    z(x) = sqrt(2 / D) cos(Omega x + b),   rows of Omega ~ N(0, I / sigma^2),   b ~ U(0, 2 pi)

Then `z(x) z(y)` is near the kernel `exp(-|x - y|^2 / 2 sigma^2)` (Rahimi and Recht, NeurIPS
2007). Linear discriminant analysis with one covariance for all classes then separates classes that
no plane separates in `x`; see `lda` for how it is estimated and few-shot means are calibrated.

Differences from the paper:
    - `sigma` is a multiple of the median distance between base features, chosen on fake few-shot
      streams cut from the base session, together with shrinkage and shift.
    - 2,048 features; the paper has some thousands. The covariance has their square as its size.
    - The paper has no calibration of few-shot means: pass `shift_weight: 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated

import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.methods.episodes.tuning import choose, fake_tasks
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.feature_transform import FourierFeatures
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.plugin import Above, Within
from cl_suite.strategies.lda import SHIFTS, SHRINKAGES, LDAPlugin, lda_figures

WIDTHS = (0.5, 1.0, 2.0, 4.0)  # in medians
MEDIAN_OF = 1000  # base features between which distances are measured
DEFAULTS = {"width": 1.0, "shrinkage": 0.5, "shift_weight": 0.5}
GRIDS = {"width": WIDTHS, "shrinkage": SHRINKAGES, "shift_weight": SHIFTS}


@dataclass(kw_only=True, eq=False)
class KLDAPlugin(LDAPlugin):
    """One Gaussian per class on random Fourier features, with a shared covariance.

    Args:
        num_features: number of random features, D.
        width: `sigma` in medians of the distance between two base features; null: chosen on fake
            streams, or 1 if the base session is too small for that.
        projection_seed: seed of the random features.
    """

    num_features: Annotated[int, Within(1)] = 2048
    width: Annotated[float, Above(0)] | None = None
    projection_seed: Annotated[int, Within(0)] = 0

    def check(self) -> None:
        super().check()
        if self.covariance != "shared":
            raise UserError(f"covariance must be shared in klda, got {self.covariance!r}")
        if self.shot_midpoint is not None:
            raise UserError(f"shot_midpoint must be null in klda, got {self.shot_midpoint:g}")

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        transform = FourierFeatures(dim, self.num_features, self.projection_seed)
        return GaussianHead(
            self.num_features, num_classes, "shared", temperature, transform=transform
        )

    def averaged(self, head: ClassHead, features: Tensor) -> Tensor:
        return head.transformed(features)

    def set_up(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        assert isinstance(head.transform, FourierFeatures)
        head.transform.fit(centre=features.mean(0))
        median = median_distance(features)
        given = {name: getattr(self, name) for name in GRIDS}
        chosen = {name: DEFAULTS[name] if v is None else v for name, v in given.items()}
        generator = torch.Generator().manual_seed(self.choice_seed)
        tasks = fake_tasks(labels, generator=generator, num_tasks=3, shots=self.fake_shots)
        if tasks and None in given.values():
            grids = {n: GRIDS[n] if v is None else (v,) for n, v in given.items()}
            candidates = [
                dict(zip(grids, values, strict=True)) for values in product(*grids.values())
            ]
            found = []
            for width in grids["width"]:
                head.transform.fit_width(width * median, features)
                of_width = [each for each in candidates if each["width"] == width]
                seen = self.averaged(head, features)
                found.append(
                    [lda_figures(of_width, self.softmax_t, seen, labels, task) for task in tasks]
                )
            figures = {
                id(task): torch.cat(own)
                for task, own in zip(tasks, zip(*found, strict=True), strict=True)
            }
            choice = choose(candidates, tasks, lambda task: figures[id(task)])
            chosen, self.choice_ = choice.best, choice.state_dict()
        self.parameters_ = chosen
        head.transform.fit_width(chosen["width"] * median, features)


def median_distance(features: Tensor) -> float:
    """Return the median distance between two of the first features `(n, dim)`; 1 if it is 0."""
    # every n-th: classes follow each other
    some = features[:: max(1, len(features) // MEDIAN_OF)].double()
    median = float(torch.pdist(some).median()) if len(some) > 1 else 0.0
    return median or 1.0
