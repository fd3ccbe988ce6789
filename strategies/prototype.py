"""Nearest class mean: train on the base session, then only compute prototypes.

The baseline called "Decoupled-Cosine" in the few-shot class-incremental literature (Zhang et al.,
CVPR 2021, arXiv 2104.03047). The network learns on the base classes. Each class is
represented by the mean of its own training features, and a query goes to the class with the largest
cosine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from cl_suite.features.stats import ClassStats, unit
from cl_suite.methods.class_margin import ClassMargin
from cl_suite.methods.returning_classes import ReturningClasses
from cl_suite.methods.robust_statistics import RobustStatistics
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.plugin import Template


@dataclass(kw_only=True, eq=False)
class PrototypePlugin(ReturningClasses, RobustStatistics, ClassMargin):
    """Train in the first session only; after each one, replace classifier rows by class means.

    Args:
        normalize_features: scale features to unit length before averaging.
    """

    normalize_features: bool = False

    requirements = replace(ReturningClasses.requirements, head="cosine")

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead | None:
        return OffsetCosineHead(dim, num_classes, temperature) if self.class_margin else None

    @property
    def has_rule(self) -> bool:
        # sums of a class say nothing of its outliers, and a learner has no margin for each class
        return self.outliers == "keep" and not self.class_margin

    def averaged(self, head: ClassHead, features: Tensor) -> Tensor:
        return unit(features) if self.normalize_features else features

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        return stats.mean

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        own = self.session_means(template, normalize=self.normalize_features)
        stats = self.with_earlier(own)
        later = self.write_rows(stats, head)
        if self.base_classes_:
            self.set_margins(head, later)
        elif self.class_margin:
            self.learn_margins(head, *self.session_samples(template))
        return stats.classes
