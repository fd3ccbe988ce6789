"""Head rules whose rows follow from sums, so that a class may come back with more samples.

The network stays as it is after the base session. So the features of all samples of a class so far
are summed up without the samples, and a row of a class that comes back is the one that all of its
samples would have given at once. Rows of other classes stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cl_suite.features.stats import ClassStats
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead


@dataclass(kw_only=True, eq=False)
class ReturningClasses(HeadPlugin):
    """A head rule that keeps the sums of each class, and no sample."""

    seen_: ClassStats | None = field(default=None, init=False)  # of all samples so far

    requirements = replace(HeadPlugin.requirements, kinds=("class", "mixed"))

    def with_earlier(self, stats: ClassStats) -> ClassStats:
        """Return the statistics of all samples so far, of the classes in `stats`; keep all sums.

        Args:
            stats: of the session's samples.
        """
        self.seen_ = stats if self.seen_ is None else self.seen_.merge(stats)
        return replace(self.seen_, scatter=None, kind="none").select(stats.classes)

    def later_classes(self, stats: ClassStats) -> list[int]:
        """Return the classes of `stats` that are not base classes; none in the base session."""
        if not self.base_classes_:
            return []
        return [class_id for class_id in stats.classes if class_id not in self.base_classes_]

    def vectors_of(self, stats: ClassStats, head: ClassHead) -> Tensor:
        """Return the rows `(num_classes, width)` of classes of which some may be base classes."""
        again = torch.tensor([class_id in self.base_classes_ for class_id in stats.classes])
        if not again.any():
            return self.class_vectors(stats, head)
        base = self.base_vectors(stats, head)
        again = again.to(base.device)
        return (
            base
            if again.all()
            else torch.where(again[:, None], base, self.class_vectors(stats, head))
        )

    def base_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        """Return rows `(num_classes, width)` as a rule writes them for base classes."""
        return stats.mean
