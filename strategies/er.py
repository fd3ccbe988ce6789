"""Experience replay: plain training on each session's data and a few samples of earlier ones.

Cross-entropy over all classes seen so far, on the union of both, shuffled (Chaudhry et al., 2019,
arXiv 1902.10486, "On tiny episodic memories"): the baseline of every method that keeps samples.

Differences from the paper:
    - Kept samples join the session's data, so each epoch contains each of them once. The paper
      passes over its stream once and adds to each batch a batch drawn from the memory.
    - The memory is filled at the end of a session, with a quota for each class and a choice of
      samples. The paper compares reservoirs, ring buffers and means of features.
"""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.methods.replay.rehearsal import RehearsalPlugin


@dataclass(kw_only=True, eq=False)
class ERPlugin(RehearsalPlugin):
    """Cross-entropy on new and kept samples."""
