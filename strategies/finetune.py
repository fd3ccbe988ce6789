"""Fine-tuning: train on each session's data alone, the lower bound of every comparison.

Cross-entropy over all classes seen so far, without old samples or other terms. Old classes survive
only as far as the new gradients spare them. See De Lange et al., "A continual learning survey:
Defying forgetting in classification tasks", TPAMI 2022, arXiv 1909.08383.
"""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.plugin import StrategyPlugin


@dataclass(kw_only=True, eq=False)
class FinetunePlugin(StrategyPlugin):
    """Plain training on each session; the training recipe sets its epochs and learning rate."""
