"""Head rules whose rows follow from sums: a class may come back with more samples.

The network stays as it is after the base session. So the features of all samples of a class so far
are summed up without the samples, and a row of a class that comes back is the one that all of its
samples would have given at once. Rows of other classes stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
        return self.seen_.first_moments.select(stats.classes)

    def write_rows(self, stats: ClassStats, head: ClassHead) -> list[int]:
        """Write the rows of these classes; return those that are no base classes.

        A base class that comes back is not calibrated, and it is written first, so it calibrates
        the others by all of its samples.

        Args:
            stats: what `with_earlier` returned.
        """
        base = set(self.base_classes_)
        again = [class_id for class_id in stats.classes if class_id in base]
        if again:
            head.set_rows(again, self.base_vectors(stats.select(again), head))
            stats = stats.select(set(stats.classes) - base)
        if stats.classes:
            head.set_rows(stats.classes, self.class_vectors(stats, head))
        return stats.classes

    def base_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        """Return rows `(num_classes, width)` as the rule writes them for base classes."""
        return stats.mean
