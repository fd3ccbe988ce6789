"""An option of head rules: class statistics without outliers, as in RCAL.

RCAL also calibrates the covariances of rare classes; `lda` with one covariance a class does that
(see `cl_suite.features.calibrators`), and `c_ranpac`. The samples that
RCAL draws from the calibrated Gaussians, and its training of the network, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from torch import Tensor

from cl_suite.features.outliers import kept_rows
from cl_suite.features.stats import ClassStats, class_stats, unit
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.plugin import Template, Within, session_features, session_stats


@dataclass(kw_only=True, eq=False)
class RobustStatistics(HeadPlugin):
    """A head rule that can leave outliers out of its class statistics.

    What is dropped is seen once, and nothing of it is kept for later sessions.

    Args:
        outliers: samples left out of class statistics: none (keep), those far from their class's
            median (distance), or those with the largest local outlier factors (lof); see
            `cl_suite.features.outliers`.
        outlier_share: largest share of a class that is left out.
        outlier_least: classes of fewer samples keep them all.
    """

    outliers: Literal["keep", "distance", "lof"] = "keep"
    outlier_share: Annotated[float, Within(0, 0.5)] = 0.1
    outlier_least: Annotated[int, Within(2)] = 10
    _left_out: str = field(default="", init=False, repr=False)  # a note on the last session

    def session_note(self, session: int) -> str:
        return "; ".join(filter(None, [super().session_note(session), self._left_out]))

    def session_samples(self, template: Template) -> tuple[Tensor, Tensor]:
        """Return the session's training features `(n, dim)` and labels `(n,)`, without outliers."""
        features, labels = session_features(template)
        if self.outliers == "keep":
            return features, labels
        kept = kept_rows(
            features, labels, self.outliers, share=self.outlier_share, least=self.outlier_least
        )
        num = int((~kept).sum())
        self._left_out = f"left out {num} of {len(kept)} training samples as outliers" * (num > 0)
        return features[kept], labels[kept]

    def session_means(self, template: Template, *, normalize: bool = False) -> ClassStats:
        """Return the first moments of `session_samples`.

        Args:
            normalize: scale the features to unit length first.
        """
        if self.outliers == "keep":
            # they may come with a base session of another run, without features
            return session_stats(template, normalize=normalize)
        features, labels = self.session_samples(template)
        return class_stats(unit(features) if normalize else features, labels)
