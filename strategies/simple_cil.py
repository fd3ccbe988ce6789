"""SimpleCIL: class means on a frozen network, without any training (Zhou et al., IJCV 2024).

arXiv 2303.07338: with a pre-trained network, the mean feature of each class, scored by cosine, is a
baseline that many trained methods do not reach. Features after a ReLU are all non-negative and lie
in a narrow cone; `centre` spreads them by first subtracting the mean base feature.

Differences from the paper: it has no `centre`. The mean is over the base session's training
images and then fixed, because later sessions bring too few images to move it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from cl_suite.features.stats import ClassStats, class_stats
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.models.heads.feature_transform import FeatureTransform
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.plugin import Template
from cl_suite.strategies.prototype import PrototypePlugin


@dataclass(kw_only=True, eq=False)
class SimpleCILPlugin(PrototypePlugin):
    """Class means of frozen features as prototypes; the network is never trained.

    Args:
        centre: subtract the mean feature of the base session's training images.
        normalize_features: scale features to unit length before averaging and centring.
    """

    centre: bool = False

    requirements = replace(PrototypePlugin.requirements, head=None)

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        kind = OffsetCosineHead if self.class_margin else CosineHead
        return kind(dim, num_classes, temperature, FeatureTransform())

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        template.stop_training()

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        if not self.base_classes_:
            stats = self.session_means(template, normalize=self.normalize_features)
            self._centre_on(head, stats)
        return super().learn(template, head)

    @property
    def needs_base(self) -> bool:
        return self.centre

    def set_up(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        self._centre_on(head, class_stats(self.averaged(head, features), labels))

    def fit_frame(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        self.set_up(head, features, labels)

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        assert head.transform is not None
        return stats.mean - head.transform.centre if self.centre else stats.mean

    def base_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        return self.class_vectors(stats, head)

    def _centre_on(self, head: ClassHead, stats: ClassStats) -> None:
        assert head.transform is not None
        if self.centre:
            power = 1.0 if self.normalize_features else None
            head.transform.fit(power=power, centre=stats.total.sum(0) / stats.count.sum())
