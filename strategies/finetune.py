"""Fine-tuning: go on training on each session's data alone, the lower bound of every comparison.

Cross-entropy over all classes seen so far, with no old sample and no other term: what is left of
the old classes is what the new gradient spares. See De Lange et al., "A continual learning survey:
Defying forgetting in classification tasks", TPAMI 2022, arXiv 1909.08383.
"""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.plugin import StrategyPlugin


@dataclass(kw_only=True, eq=False)
class FinetunePlugin(StrategyPlugin):
    """Plain training on each session; how long and how fast is the training recipe's matter."""
