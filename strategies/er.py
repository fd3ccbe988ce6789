"""Experience replay: plain training on each session's data and a few samples of earlier ones.

Cross-entropy over all classes seen so far (Chaudhry et al., 2019, arXiv 1902.10486, "On tiny
episodic memories"): the baseline of every method that keeps samples. As in the paper, each batch of
the stream is joined by as many samples from the memory; both go through the network in one pass:

    L = mean over the joint batch of CE(f(x), y)

The paper's form is `replay: batch`, the default. With `replay: union` kept samples are shuffled
into the session's data, each once an epoch. Speech papers call this form rehearsal, and `coconut`
and `kd_replay` have it, so compare those with `--strategy.replay union`.

Differences from the paper:
    - The memory has a quota for each class and is filled at the end of a session, so replay begins
      with the second session. The paper compares reservoirs, ring buffers and means of features;
      `memory: reservoir` is its first: filled as samples pass, and replayed from the second step.
    - The stream may be passed over for several epochs; the paper's is seen once.
"""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.methods.replay.rehearsal import RehearsalPlugin


@dataclass(kw_only=True, eq=False)
class ERPlugin(RehearsalPlugin):
    """Cross-entropy on new and kept samples."""
