"""Nearest class mean: train on the base session, then only compute prototypes.

The baseline called "Decoupled-Cosine" in the few-shot class-incremental literature (Zhang et al.,
CVPR 2021, arXiv 2104.03047). The network learns on the base classes. Each class is
represented by the mean of its own training features, and a query goes to the class with the largest
cosine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cl_suite.features.stats import ClassStats, unit
from cl_suite.methods.robust_statistics import RobustStatistics
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.plugin import Template


@dataclass(kw_only=True, eq=False)
class PrototypePlugin(RobustStatistics):
    """Train in the first session only; after each one, replace classifier rows by class means.

    Args:
        normalize_features: scale features to unit length before averaging.
    """

    normalize_features: bool = False

    requirements = replace(RobustStatistics.requirements, head="cosine")

    @property
    def has_rule(self) -> bool:
        return self.outliers == "keep"  # sums of a class say nothing of its outliers

    def averaged(self, head: ClassHead, features: torch.Tensor) -> torch.Tensor:
        return unit(features) if self.normalize_features else features

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> torch.Tensor:
        return stats.mean

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        stats = self.session_means(template, normalize=self.normalize_features)
        head.set_rows(stats.classes, self.class_vectors(stats, head))
        return stats.classes
